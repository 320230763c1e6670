//! The keychain: a real Secret Service that is there, locked, opened with another password, or gone.

use std::process::Command;

use harness::cli::{Ran, finish};
use harness::keyring::Keyring;
use harness::or_skip;
use harness::work::Work;
use protocol::editor::{SecretGetOutput, SecretPlace, SecretSetOutput};
use sidecar::secrets::{Keychain, contract};

use super::{PASSPHRASE, given};

/// Set in the process that has to keep the contract with the keychain of its environment.
const CHILD: &str = "MLT_KEYCHAIN_CONTRACT";

fn sidecar(keyring: &Keyring<'_>, arguments: &[&str]) -> Command {
    let mut command = keyring.command(harness::binary::sidecar());
    command.args(arguments).stdin(std::process::Stdio::null()).env("MLTOOLBOX_SECRETS_PASSPHRASE", PASSPHRASE);
    command
}

fn set(keyring: &Keyring<'_>, value: &str) -> Ran {
    given(&mut sidecar(keyring, &["secret", "set", "hf-token", "--json"]), value.as_bytes())
}

#[test]
fn a_real_secret_service_keeps_the_contract() {
    if std::env::var_os(CHILD).is_some() {
        return contract(&Keychain);
    }
    let work = Work::new();
    let keyring = or_skip!("a_real_secret_service_keeps_the_contract", Keyring::open(&work));
    // The environment of a process that has threads is not changed: it is another process that keeps the contract.
    let mut child = keyring.command(std::env::current_exe().expect("this program"));
    let name = "secrets::keychain::a_real_secret_service_keeps_the_contract";
    let ran = finish(child.args(["--exact", name, "--nocapture"]).env(CHILD, "1"));
    assert!(ran.code == 0 && ran.stdout.contains("1 passed"), "{}", ran.text());
}

#[test]
fn a_keychain_is_used_when_it_can_be_and_passed_over_when_not() {
    let work = Work::new();
    let mut keyring = or_skip!("a_keychain_is_used_when_it_can_be_and_passed_over_when_not", Keyring::without(&work));
    // Nobody on the bus: the file, and why.
    let stored: SecretSetOutput = set(&keyring, "in the file").json();
    assert_eq!(stored.place, SecretPlace::File);
    assert!(stored.notes[0].contains("no Secret Service"), "{:?}", stored.notes);
    let ran = given(&mut sidecar(&keyring, &["secret", "set", "other", "--store", "keychain"]), b"x");
    assert!(ran.code == 3 && ran.stderr.contains("--store file"), "{}", ran.text());
    // One that is open; what is stored there wins.
    keyring.start("the login password");
    let ran = given(&mut sidecar(&keyring, &["secret", "set", "hf-token", "--store", "keychain"]), b"in the keychain");
    assert_eq!(ran.code, 0, "{}", ran.text());
    let reveal = |keyring: &Keyring<'_>| finish(&mut sidecar(keyring, &["secret", "get", "hf-token", "--reveal"]));
    assert_eq!(reveal(&keyring).stdout, "in the keychain\n");
    let got: SecretGetOutput = finish(&mut sidecar(&keyring, &["secret", "get", "hf-token", "--json"])).json();
    assert_eq!(got.places, [SecretPlace::Keychain, SecretPlace::File]);
    // Locked, with nobody who could unlock it: the file's value is taken, and storing there is refused.
    keyring.lock();
    assert_eq!(reveal(&keyring).stdout, "in the file\n");
    let ran = set(&keyring, "new");
    assert!(ran.code == 3 && ran.stdout.contains("locked"), "{}", ran.text());
    let ran = finish(&mut sidecar(&keyring, &["secret", "list"]));
    assert!(ran.code == 0 && ran.stdout.contains("hf-token"), "{}", ran.text());
    // Opened with another password it stays locked.
    keyring.start("another password");
    assert_eq!(reveal(&keyring).stdout, "in the file\n");
    let ran = finish(&mut sidecar(&keyring, &["secret", "list"]));
    assert!(ran.code == 0 && ran.stdout.contains("locked"), "{}", ran.text());
    keyring.start("the login password");
    assert_eq!(reveal(&keyring).stdout, "in the keychain\n");
    assert_eq!(finish(&mut sidecar(&keyring, &["secret", "remove", "hf-token"])).code, 0);
    let ran = reveal(&keyring);
    assert!(ran.code == 3 && ran.stderr.contains("does not hold the secret"), "{}", ran.text());
    // Gone, and the bus with it.
    keyring.stop();
    let mut nobody = sidecar(&keyring, &["secret", "get", "hf-token"]);
    let ran = finish(nobody.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus"));
    assert!(ran.code == 3 && ran.stderr.contains("there is no keychain here"), "{}", ran.text());
}
