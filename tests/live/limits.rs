//! The harness' poor machines are as poor as other tests believe.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;

use harness::limits::{SmallDisk, offline};
use harness::or_skip;
use harness::work::Work;

#[test]
fn a_small_disk_is_soon_full_and_can_be_read_only() {
    let work = Work::new();
    let test = SmallDisk::mount(&work.path().join("disk"), 1 << 20);
    let disk = or_skip!("a_small_disk_is_soon_full_and_can_be_read_only", test);
    let error = fs::write(disk.path().join("big"), vec![1; 2 << 20]).expect_err("2 MiB do not fit into 1");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    disk.read_only(true);
    let error = fs::write(disk.path().join("small"), "1").expect_err("nothing can be written");
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn offline_there_is_a_loopback_and_nothing_else() {
    let work = Work::new();
    let outside = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = outside.local_addr().expect("a bound socket").port();
    let mut shell = work.command("bash");
    // The listener out here is not reachable from in there; the loopback device is another one.
    shell.args(["-c", &format!("echo $HOME; ip -o link | wc -l; (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null; echo $?")]);
    let mut shell = or_skip!("offline_there_is_a_loopback_and_nothing_else", offline(&shell));
    let output = shell.output().expect("unshare starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, format!("{}\n1\n1\n", work.home().display()), "{}", String::from_utf8_lossy(&output.stderr));
}
