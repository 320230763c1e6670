//! The encrypted file when something is wrong with it, its key, or who else writes it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use protocol::error::{Code, Error};
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn name(name: &str) -> Name {
    name.parse().expect("a name")
}

fn key(passphrase: &str) -> Key {
    Key::passphrase(KeySource::Variable, secret(passphrase))
}

/// A key that opens without the work of a passphrase.
fn quick(identity: &Identity) -> Key {
    Key { source: KeySource::KeyFile("/key".into()), material: Material::Identities(vec![identity.clone()]) }
}

fn filled(path: &Path, identity: &Identity) -> FileStore {
    let store = FileStore::new(path, vec![quick(identity)]);
    store.set(&name("one"), &secret("1")).expect("stored");
    store.set(&name("two"), &secret("2")).expect("stored");
    store
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, SecretError>) -> Error {
    result.expect_err("refused").into()
}

#[test]
fn storing_needs_no_passphrase_once_there_is_a_file() {
    let folder = folder();
    let path = folder.path().join("deep/secrets.yaml");
    let error = refused(FileStore::new(&path, Vec::new()).set(&name("one"), &secret("1")));
    assert_eq!(error.code, Code::SecretLocked);
    assert!(!path.exists());
    FileStore::new(&path, vec![key("correct horse")]).set(&name("one"), &secret("1")).expect("stored");
    FileStore::new(&path, Vec::new()).set(&name("two"), &secret("2")).expect("stored");
    assert_eq!(refused(FileStore::new(&path, Vec::new()).get(&name("two"))).code, Code::SecretLocked);
    let error = refused(FileStore::new(&path, vec![key("wrong")]).get(&name("two")));
    assert_eq!(error.code, Code::SecretLocked);
    assert!(error.message.contains("MLTOOLBOX_SECRETS_PASSPHRASE` does not open"), "{error:?}");
    let opened = FileStore::new(&path, vec![key("wrong"), key("correct horse")]);
    assert_eq!(opened.get(&name("two")).expect("opened"), Some(secret("2")));
}

#[test]
fn files_and_folders_are_for_their_owner_alone() {
    let folder = folder();
    let path = folder.path().join("deep/er/secrets.yaml");
    let store = filled(&path, &Identity::generate());
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
    for loose in [0o644, 0o640, 0o604, 0o620] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(loose)).expect("ours");
        for error in [refused(store.get(&name("one"))), refused(store.set(&name("one"), &secret("x")))] {
            assert_eq!(error.help, format!("Run `chmod 600 {}`.", path.display()), "{loose:o}");
        }
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
    let parent = path.parent().expect("a folder");
    std::fs::set_permissions(parent, PermissionsExt::from_mode(0o770)).expect("ours");
    let error = refused(store.set(&name("one"), &secret("x")));
    assert_eq!(error.help, format!("Run `chmod 700 {}`.", parent.display()));
    assert_eq!(store.get(&name("one")).expect("reading is safe"), Some(secret("1")));
}

#[test]
fn a_damaged_file_is_neither_read_nor_written() {
    let folder = folder();
    let path = folder.path().join("secrets.yaml");
    let store = filled(&path, &Identity::generate());
    let whole = std::fs::read(&path).expect("it is there");
    for damaged in [&whole[..whole.len() / 2], &whole[..whole.len() - 4], b"HF_TOKEN=hunter2\n", b"", b"\xff\xfe\0"] {
        std::fs::write(&path, damaged).expect("ours");
        for error in [refused(store.get(&name("one"))), refused(store.set(&name("one"), &secret("x")))] {
            assert_eq!(error.code, Code::SecretStore);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
        assert_eq!(refused(store.remove(&name("one"))).code, Code::SecretStore);
        assert_eq!(std::fs::read(&path).expect("it is there"), damaged);
    }
}

#[test]
fn what_is_no_file_of_ours_is_refused() {
    let folder = folder();
    let path = folder.path().join("secrets.yaml");
    let store = FileStore::new(&path, vec![quick(&Identity::generate())]);
    std::fs::create_dir(&path).expect("a folder");
    assert!(refused(store.get(&name("one"))).message.ends_with("is not a file"));
    std::fs::remove_dir(&path).expect("ours");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    assert!(refused(store.get(&name("one"))).message.ends_with("is not a file"));
    std::fs::remove_file(&path).expect("ours");
    let large = std::fs::File::create(&path).expect("a file");
    large.set_len(50 << 20).expect("a hole");
    assert!(refused(store.get(&name("one"))).message.contains("too large"));
}

#[test]
fn a_link_stays_one() {
    let folder = folder();
    let (real, link) = (folder.path().join("dotfiles/secrets.yaml"), folder.path().join("secrets.yaml"));
    let identity = Identity::generate();
    filled(&real, &identity);
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    FileStore::new(&link, vec![quick(&identity)]).set(&name("three"), &secret("3")).expect("stored");
    assert!(link.is_symlink());
    assert_eq!(FileStore::new(&real, vec![quick(&identity)]).get(&name("three")).expect("opened"), Some(secret("3")));
}

#[test]
fn a_changed_recipient_is_noticed() {
    let folder = folder();
    let path = folder.path().join("secrets.yaml");
    FileStore::new(&path, vec![key("correct horse")]).set(&name("one"), &secret("1")).expect("stored");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let start = text.find("age1").expect("a recipient");
    let old = text[start..].lines().next().expect("a line");
    std::fs::write(&path, text.replace(old, &Identity::generate().recipient())).expect("ours");
    let error = refused(FileStore::new(&path, vec![key("correct horse")]).get(&name("one")));
    assert!(error.help.contains(old), "{error:?}");
}

#[test]
fn a_key_file_opens_what_was_stored_with_it() {
    let folder = folder();
    let path = folder.path().join("secrets.yaml");
    let identity = Identity::generate();
    filled(&path, &identity);
    let stranger = FileStore::new(&path, vec![quick(&Identity::generate())]);
    assert_eq!(refused(stranger.get(&name("one"))).code, Code::SecretLocked);
    let error = refused(FileStore::new(&path, vec![key("a passphrase")]).get(&name("one")));
    assert!(error.help.contains(&identity.recipient()), "{error:?}");
}

#[test]
fn threads_that_write_at_once_lose_nothing() {
    let folder = folder();
    let path = folder.path().join("secrets.yaml");
    let identity = Identity::generate();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (path, identity) = (&path, &identity);
            scope.spawn(move || {
                let store = FileStore::new(path, vec![quick(identity)]);
                for number in 0..10 {
                    store.set(&name(&format!("n{writer}-{number}")), &secret("x")).expect("stored");
                }
            });
        }
    });
    assert_eq!(FileStore::new(&path, vec![quick(&identity)]).names().expect("names").len(), 40);
}
