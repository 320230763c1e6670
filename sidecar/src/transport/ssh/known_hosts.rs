//! Which host keys are known: the reading of `known_hosts` files, without any input or output.
//!
//! Patterns, hashes, markers and several files mean what OpenSSH means by them; what it does not understand is
//! skipped with a warning. What they say of a certificate is in `certificate.rs`.

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyBase64 as _};
use sha1::Sha1;

pub mod certificate;

/// Mark of a hashed host name.
const HASH_MARK: &str = "|1|";
/// Length of the salt of a hashed host name, that of the hash itself.
pub const SALT_LENGTH: usize = 20;

/// One `known_hosts` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds; bytes that are no UTF-8 are replaced and match nothing.
    pub text: String,
}

/// What the files say of a host's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is recorded.
    Known,
    /// Nothing is recorded for the host.
    Unknown,
    /// Another key is recorded.
    Changed(Place),
    /// It is marked as revoked.
    Revoked(Place),
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// `SHA256:…` of the key there.
    pub fingerprint: String,
}

/// Returns the name under which a host is recorded: `host`, or `[host]:port` away from port 22.
pub fn recorded_name(host: &str, port: u16) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// Returns what `files` say of `key` for the host recorded as `name`. `supported` are the algorithms that the
/// server was offered: a recorded key of one of them that the server did not use counts as changed, since
/// otherwise whoever stands in between would only have to offer another kind of key.
pub fn check(files: &[File], name: &str, key: &PublicKey, supported: &[Algorithm]) -> Verdict {
    let mut known = false;
    let mut changed = None;
    for (file, line) in lines(files, name) {
        let place = || Place {
            file: file.to_owned(),
            line: line.number,
            fingerprint: line.key.fingerprint(HashAlg::Sha256).to_string(),
        };
        let same = line.key.key_data() == key.key_data();
        let comparable = supported.iter().any(|algorithm| same_kind(algorithm, &line.key.algorithm()));
        match line.marker {
            Some(Marker::Revoked) if same => return Verdict::Revoked(place()),
            None if same => known = true,
            None if comparable => _ = changed.get_or_insert_with(place),
            Some(Marker::Revoked | Marker::Authority) | None => {}
        }
    }
    match changed {
        _ if known => Verdict::Known,
        Some(place) => Verdict::Changed(place),
        None => Verdict::Unknown,
    }
}

/// Returns `preferred` with the algorithms first for which a key of the host is recorded.
pub fn reorder(files: &[File], name: &str, preferred: &[Algorithm]) -> Vec<Algorithm> {
    let recorded: Vec<_> =
        lines(files, name).filter(|(_, line)| line.marker.is_none()).map(|(_, line)| line.key.algorithm()).collect();
    let is_recorded = |algorithm: &&Algorithm| recorded.iter().any(|one| same_kind(one, algorithm));
    let first = preferred.iter().filter(is_recorded);
    first.chain(preferred.iter().filter(|algorithm| !is_recorded(algorithm))).cloned().collect()
}

/// Returns a warning for every line that names the host but cannot be understood.
pub fn warnings(files: &[File], name: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if let Parsed::Malformed { hosts, why } = parse(line)
                && hosts.is_none_or(|hosts| matches(hosts, name))
            {
                warnings.push(format!("line {} of `{}` was skipped: {why}", index + 1, file.path.display()));
            }
        }
    }
    warnings
}

/// Returns the line that records `key` for `name`, hashed when a salt is given.
pub fn entry(name: &str, key: &PublicKey, salt: Option<&[u8; SALT_LENGTH]>) -> String {
    let name = match salt {
        Some(salt) => {
            format!("{HASH_MARK}{}|{}", Base64::encode_string(salt), Base64::encode_string(&hash(salt, name)))
        }
        None => name.to_owned(),
    };
    format!("{name} {} {}", kind(&key.algorithm()), key.public_key_base64())
}

/// Returns whether the file keeps its host names hashed.
pub fn is_hashed(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with(HASH_MARK))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    Revoked,
    Authority,
}

struct Line<'a> {
    number: usize,
    marker: Option<Marker>,
    hosts: &'a str,
    key: PublicKey,
}

enum Parsed<'a> {
    Nothing,
    Line(Line<'a>),
    Malformed { hosts: Option<&'a str>, why: &'static str },
}

/// Returns every line that names the host, with its file.
fn lines<'a>(files: &'a [File], name: &'a str) -> impl Iterator<Item = (&'a Path, Line<'a>)> {
    files.iter().flat_map(move |file| {
        file.text.lines().enumerate().filter_map(move |(index, text)| match parse(text) {
            Parsed::Line(line) if matches(line.hosts, name) => {
                Some((file.path.as_path(), Line { number: index + 1, ..line }))
            }
            Parsed::Line(_) | Parsed::Nothing | Parsed::Malformed { .. } => None,
        })
    })
}

fn parse(text: &str) -> Parsed<'_> {
    let malformed = |hosts, why| Parsed::Malformed { hosts, why };
    let text = text.trim_matches([' ', '\t', '\r']);
    if text.is_empty() || text.starts_with('#') {
        return Parsed::Nothing;
    }
    let mut fields = text.split([' ', '\t']).filter(|field| !field.is_empty());
    let mut hosts = fields.next().unwrap_or_default();
    let mut marker = None;
    if hosts.starts_with('@') {
        marker = match hosts {
            "@revoked" => Some(Marker::Revoked),
            "@cert-authority" => Some(Marker::Authority),
            _ => return malformed(fields.next(), "its marker is not known"),
        };
        hosts = fields.next().unwrap_or_default();
    }
    let (Some(algorithm), Some(blob)) = (fields.next(), fields.next()) else {
        return malformed(Some(hosts), "it has too few fields");
    };
    let Ok(key) = russh::keys::parse_public_key_base64(blob) else {
        return malformed(Some(hosts), "its key is not understood");
    };
    if kind(&key.algorithm()) != algorithm {
        return malformed(Some(hosts), "its key is of another kind than it says");
    }
    Parsed::Line(Line { number: 0, marker, hosts, key })
}

/// Returns whether the host field of a line names `name`.
fn matches(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix(HASH_MARK) {
        return matches_hash(hashed, name);
    }
    let mut matched = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(pattern.to_lowercase().as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => matched |= glob(pattern.to_lowercase().as_bytes(), name.as_bytes()),
        }
    }
    matched
}

fn matches_hash(hashed: &str, name: &str) -> bool {
    let Some((salt, expected)) = hashed.split_once('|') else { return false };
    match (Base64::decode_vec(salt), Base64::decode_vec(expected)) {
        (Ok(salt), Ok(expected)) => hash(&salt, name) == expected,
        _ => false,
    }
}

fn hash(salt: &[u8], name: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).expect("HMAC takes a key of any length");
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Returns whether `pattern` (`*`, `?`) matches all of `text`, in time proportional to the product of both.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
            }
            Some(one) if *one == b'?' || *one == text[from] => {
                at += 1;
                from += 1;
            }
            Some(_) | None => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    at = after;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at.min(pattern.len())..].iter().all(|one| *one == b'*')
}

/// Returns the name of a key's kind as it stands in files: `ssh-rsa` whatever the hash.
fn kind(algorithm: &Algorithm) -> String {
    match algorithm {
        Algorithm::Rsa { .. } => "ssh-rsa".to_owned(),
        other => other.to_string(),
    }
}

fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    kind(one) == kind(other)
}

#[cfg(test)]
mod tests;
