//! What `known_hosts` files say of a host certificate: who may vouch for the host, and whether this one does.
//!
//! The rules are those of OpenSSH (`PROTOCOL.certkeys`, `SSH_KNOWN_HOSTS FILE FORMAT` in sshd(8)); nothing here
//! asks a clock. Names in a certificate are whole names, and none stands for all, as with every OpenSSH up to 10.2;
//! from 10.3 on it takes them for patterns and none for nobody, which is neither stricter nor laxer in all cases.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg};

use super::{File, Line, Marker, Place, lines};

/// What the files say of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An authority that may vouch for the host does so.
    Accepted,
    /// An authority that may vouch for the host made it, and it does not hold: why. The plain key decides.
    Invalid(String),
    /// No such authority made it. The plain key decides.
    Foreign,
    /// Its key or its authority is marked as revoked.
    Revoked(Place),
}

/// Returns whether there is an authority that may vouch for the host recorded under one of `names`.
pub fn has_authority(files: &[File], names: &[String]) -> bool {
    names.iter().any(|name| lines(files, name).any(|(_, line)| line.marker == Some(Marker::Authority)))
}

/// Returns what `files` say of `certificate` for the host that is recorded under one of `names` and that the
/// user calls `principal`, at `now` (seconds since 1970).
pub fn check(files: &[File], names: &[String], certificate: &Certificate, principal: &str, now: u64) -> Verdict {
    let mut vouched = false;
    for (file, line) in names.iter().flat_map(|name| lines(files, name)) {
        let is_authority = line.key.key_data() == certificate.signature_key();
        let is_key = line.key.key_data() == certificate.public_key();
        match line.marker {
            Some(Marker::Revoked) if is_authority || is_key => return Verdict::Revoked(place(file, &line)),
            Some(Marker::Authority) => vouched |= is_authority,
            Some(Marker::Revoked) | None => {}
        }
    }
    if !vouched {
        return Verdict::Foreign;
    }
    match flaw(certificate, principal, now) {
        Some(flaw) => Verdict::Invalid(flaw),
        None => Verdict::Accepted,
    }
}

fn place(file: &std::path::Path, line: &Line<'_>) -> Place {
    Place { file: file.to_owned(), line: line.number, fingerprint: line.key.fingerprint(HashAlg::Sha256).to_string() }
}

/// Returns why a certificate of an authority does not hold for the host, if so.
fn flaw(certificate: &Certificate, principal: &str, now: u64) -> Option<String> {
    if certificate.cert_type() != CertType::Host {
        return Some("it is made for a user and not for a host".to_owned());
    }
    if now < certificate.valid_after() {
        return Some("it is not valid yet".to_owned());
    }
    if now >= certificate.valid_before() {
        return Some("it expired".to_owned());
    }
    let principals = certificate.valid_principals();
    // An authority that names no host vouches for every host.
    if !principals.is_empty() && !principals.iter().any(|one| one == principal) {
        let others: Vec<_> = principals.iter().take(3).map(|one| printable(one)).collect();
        return Some(format!("it is made for `{}`", others.join("`, `")));
    }
    if let Some((name, _)) = certificate.critical_options().iter().next() {
        return Some(format!("it demands `{}`, which is not understood", printable(name)));
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None } | Algorithm::Dsa) {
        return Some("it is signed in a way that can be forged".to_owned());
    }
    let authority = KeyData::fingerprint(certificate.signature_key(), HashAlg::Sha256);
    if certificate.validate_at(now, [&authority]).is_err() {
        return Some("its signature is wrong".to_owned());
    }
    None
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(100).collect()
}
