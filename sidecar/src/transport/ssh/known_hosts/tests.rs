//! The matcher against `ssh-keygen`, which is OpenSSH's own.

use std::fmt::Write as _;
use std::process::Command;

use proptest::prelude::*;
use russh::keys::{EcdsaCurve, PrivateKey};

use super::*;

fn key(algorithm: Algorithm) -> PublicKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).expect("a key can be made").public_key().clone()
}

fn ed25519() -> PublicKey {
    key(Algorithm::Ed25519)
}

fn ecdsa() -> PublicKey {
    key(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })
}

fn body(key: &PublicKey) -> String {
    format!("{} {}", kind(&key.algorithm()), key.public_key_base64())
}

fn file(text: impl Into<String>) -> File {
    File { path: PathBuf::from("known_hosts"), text: text.into() }
}

const ALL: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
];

/// Returns the lines that `ssh-keygen -F` finds for a name.
fn found_by_keygen(path: &Path, name: &str) -> Vec<usize> {
    let output = Command::new("ssh-keygen").args(["-F", name, "-f"]).arg(path).output().expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = text.lines().filter_map(|line| line.strip_prefix("# Host ")?.split("line ").nth(1));
    numbers.map(|rest| rest.split(' ').next().unwrap_or_default().parse().expect("a number")).collect()
}

/// Returns the lines that we find.
fn found_by_us(file: &File, name: &str) -> Vec<usize> {
    lines(std::slice::from_ref(file), name).map(|(_, line)| line.number).collect()
}

fn pattern() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "alpha",
        "beta",
        "alpha.example",
        "10.0.0.7",
        "[alpha]:2200",
        "[10.0.0.7]:2200",
        "*",
        "a*",
        "?lpha",
        "*.example",
        "[al*]:22??",
        "10.0.0.*",
        "a?p*a",
        "*a*a",
        "ALPHA",
        "[*]:*",
        "**",
        "al?",
        "fe80::1",
        "[fe80::1]:2200",
    ]);
    (any::<bool>(), any::<bool>(), plain)
        .prop_map(|(not, rare, plain)| format!("{}{plain}", if not && rare { "!" } else { "" }))
}

fn line(keys: Vec<PublicKey>) -> impl Strategy<Value = String> {
    let hosts = prop::collection::vec(pattern(), 1..4).prop_map(|patterns| patterns.join(","));
    let marker = prop::sample::select(vec!["", "", "", "@revoked ", "@cert-authority "]);
    let space = prop::sample::select(vec![" ", "\t", "  "]);
    let comment = prop::sample::select(vec!["", " a comment", "\tx"]);
    let normal = (marker, hosts, space, prop::sample::select(keys), comment)
        .prop_map(|(marker, hosts, space, key, comment)| format!("{marker}{hosts}{space}{}{comment}", body(&key)));
    let other = prop::sample::select(vec!["", "# alpha", "   ", "alpha", "alpha ssh-ed25519"]);
    prop_oneof![5 => normal, 1 => other.prop_map(str::to_owned)]
}

const NAMES: [&str; 8] =
    ["alpha", "beta", "alpha.example", "10.0.0.7", "[alpha]:2200", "[10.0.0.7]:2200", "gamma", "[fe80::1]:2200"];

#[test]
fn finds_the_lines_that_openssh_finds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("known_hosts");
    let keys = vec![ed25519(), ecdsa(), ed25519()];
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(written in prop::collection::vec(line(keys), 0..12))| {
        std::fs::write(&path, written.join("\n") + "\n").expect("it can be written");
        // Half of it is hashed by OpenSSH itself, which leaves patterns and markers as they are.
        for hashed in [false, true] {
            if hashed {
                Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&path).output().expect("it is installed");
            }
            let file = file(std::fs::read_to_string(&path).expect("it can be read"));
            for name in NAMES {
                prop_assert_eq!(found_by_us(&file, name), found_by_keygen(&path, name), "{} in\n{}", name, file.text);
            }
        }
    });
}

#[test]
fn writes_what_openssh_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("known_hosts");
    let key = ecdsa();
    for (name, salt) in
        [("alpha", None), ("[alpha]:2200", Some([7; SALT_LENGTH])), ("10.0.0.7", Some([9; SALT_LENGTH]))]
    {
        std::fs::write(&path, entry(name, &key, salt.as_ref()) + "\n").expect("it can be written");
        assert_eq!(found_by_keygen(&path, name), [1]);
        let listed = Command::new("ssh-keygen").args(["-l", "-f"]).arg(&path).output().expect("it is installed");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains(&key.fingerprint(HashAlg::Sha256).to_string()), "{listed}");
        assert!(
            Command::new("ssh-keygen").args(["-R", name, "-f"]).arg(&path).output().is_ok_and(|o| o.status.success())
        );
        assert_eq!(found_by_keygen(&path, name), Vec::<usize>::new(), "our help removes it");
    }
}

#[test]
fn judges_keys() {
    let (one, other, third) = (ed25519(), ed25519(), ecdsa());
    let (a, b, c) = (body(&one), body(&other), body(&third));
    let judge = |text: &str| check(&[file(text)], "h", &one, ALL);
    let at = |line, key: &PublicKey| Place {
        file: PathBuf::from("known_hosts"),
        line,
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
    };
    assert_eq!(judge(&format!("h {a}")), Verdict::Known);
    assert_eq!(judge(&format!("h {b}\nh {a}")), Verdict::Known);
    assert_eq!(judge(&format!("h {c}\nh\t{a}\tcomment")), Verdict::Known);
    assert_eq!(judge(""), Verdict::Unknown);
    assert_eq!(judge(&format!("g {a}\nh,!h {a}")), Verdict::Unknown);
    assert_eq!(judge(&format!("\n# h\nh {b}")), Verdict::Changed(at(3, &other)));
    // Another kind of key than the recorded one is no way around it.
    assert_eq!(judge(&format!("h {c}")), Verdict::Changed(at(1, &third)));
    // Unless we could not have asked for the recorded kind.
    assert_eq!(check(&[file(format!("h {c}"))], "h", &one, &[Algorithm::Ed25519]), Verdict::Unknown);
    assert_eq!(judge(&format!("h {a}\n@revoked * {a}")), Verdict::Revoked(at(2, &one)));
    assert_eq!(judge(&format!("@revoked h {b}\nh {a}")), Verdict::Known);
    assert_eq!(judge(&format!("@cert-authority h {a}")), Verdict::Unknown);
    assert_eq!(judge(&format!("@unknown h {a}")), Verdict::Unknown);
    // Every file counts, and a revocation in the last one too.
    let files = [file(format!("h {a}")), file(format!("@revoked h {a}"))];
    assert!(matches!(check(&files, "h", &one, ALL), Verdict::Revoked(_)));
}

#[test]
fn asks_first_for_what_is_recorded() {
    let files = [file(format!("h {}\n@revoked h {}", body(&ecdsa()), body(&ed25519())))];
    let order = reorder(&files, "h", ALL);
    assert_eq!((order.len(), &order[0]), (ALL.len(), &ALL[1]));
    assert_eq!(reorder(&files, "g", ALL), ALL);
}

#[test]
fn warns_of_lines_about_the_host_only() {
    let wrong = format!("h ssh-rsa {}", ed25519().public_key_base64());
    let files = [file(format!("h ssh-ed25519 %%%\ng ssh-ed25519 %%%\nh\n{wrong}\n@new h x y\n"))];
    let warnings = warnings(&files, "h");
    assert_eq!(warnings.len(), 4, "{warnings:#?}");
    assert!(warnings[0].starts_with("line 1 of `known_hosts` was skipped"));
}

#[test]
fn survives_any_text() {
    let key = ed25519();
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in "(?s)[|@!*? ,1a=\\[\\]\n\t\\PC]{0,200}")| {
        let files = [file(text.clone())];
        prop_assert_eq!(check(&files, "h", &key, ALL), Verdict::Unknown, "{}", text);
        warnings(&files, "h");
    });
    // A pattern that would make a backtracking matcher run for ever.
    let stars = "*a".repeat(2000) + "b";
    assert!(!glob(stars.as_bytes(), "a".repeat(250).as_bytes()));
    let mut many = String::new();
    for index in 0..10_000 {
        writeln!(many, "host{index} {}", body(&key)).expect("a string takes it");
    }
    assert_eq!(check(&[file(many)], "host9999", &key, ALL), Verdict::Known);
}
