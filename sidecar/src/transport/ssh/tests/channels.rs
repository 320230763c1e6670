//! Commands and their streams.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::frontend::TerminalSize;
use crate::transport::ssh::SlowReader;
use crate::transport::{Control, Pty};

/// More than a connection's window and than what any buffer on the way holds.
const LARGE: usize = 64 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_run_commands_alike() {
    let embedded = Embedded::start().await;
    let home = Home::with_key();
    let sshd = Sshd::start(&[&home.public("id_ed25519")], &["ed25519"], "");
    let real = reach(sshd.address, &home.accepting()).await.expect("sshd lets the key in");
    for ssh in [embedded.reach().await, real] {
        let said = run(&ssh, "echo out; echo err >&2; exit 7").await;
        assert_eq!(said, Said { out: "out\n".into(), err: "err\n".into(), exit: Exit::Status(7) });
        // The status comes when the shell ends, the data of what it left behind after that.
        let said = run(&ssh, "(sleep 0.3; echo late) & exit 3").await;
        assert_eq!((said.out.as_str(), said.exit), ("late\n", Exit::Status(3)));
        let said = run(&ssh, "kill -TERM $$").await;
        assert_eq!(said.exit, Exit::Signal("TERM".into()));
        let mut process = ssh.exec("wc -c", None).await.expect("it runs");
        process.stdin.write_all(&vec![b'x'; 3_000_000]).await.expect("it is read");
        assert_eq!(finish(process).await.out.trim(), "3000000");
        assert!(ssh.round_trip().await.expect("it is alive") < Duration::from_secs(5));
        assert!(ssh.about().cipher.contains("aes128-gcm"), "{:?}", ssh.about());
        assert!(!ssh.about().interactive && ssh.about().host_key.starts_with("SHA256:"));
        ssh.close().await;
        ssh.closed().await;
        assert!(matches!(ssh.exec("true", None).await, Err(TransportError::Lost { .. })));
    }
    embedded.server.stop().await;
}
