//! The files of `RevokedHostKeys`: a plain list of keys is read here, a binary one by `ssh-keygen`.
//!
//! What cannot be read lets no host in, as with OpenSSH.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use russh::keys::{Certificate, HashAlg, PublicKey};
use tokio::process::Command;
use tokio::time::timeout;

use crate::transport::TransportError;
use crate::transport::ssh::known_hosts::Place;

/// First bytes of a binary list (`PROTOCOL.krl` of OpenSSH).
const MAGIC: &[u8] = b"SSHKRL\n\0";
/// A list larger than this is none; a hundred thousand keys need 10 MiB.
const MAX_LIST: u64 = 64 * 1024 * 1024;
/// Looking a key up in a list takes milliseconds.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Returns where the key, or the authority of its certificate, is revoked.
pub(super) async fn find(
    files: &[PathBuf],
    key: &PublicKey,
    certificate: Option<&Certificate>,
) -> Result<Option<Place>, TransportError> {
    for file in files {
        let failed = |source| TransportError::KnownHosts { file: file.clone(), source };
        let bytes = read(file.clone()).await.map_err(failed)?;
        let revoked = if bytes.starts_with(MAGIC) {
            is_listed(file, key, certificate).await.map_err(failed)?.then_some(0)
        } else {
            line(&String::from_utf8_lossy(&bytes), key, certificate)
        };
        if let Some(line) = revoked {
            let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
            return Ok(Some(Place { file: file.clone(), line, fingerprint }));
        }
    }
    Ok(None)
}

async fn read(file: PathBuf) -> io::Result<Vec<u8>> {
    let reading = tokio::task::spawn_blocking(move || {
        if std::fs::metadata(&file)?.len() > MAX_LIST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
        }
        std::fs::read(&file)
    });
    reading.await.expect("reading a file does not panic")
}

/// Returns the line of a plain list that holds the key, its certificate's authority or the certificate itself.
fn line(text: &str, key: &PublicKey, certificate: Option<&Certificate>) -> Option<usize> {
    let is_revoked = |line: &str| {
        let Ok(listed) = line.parse::<PublicKey>() else { return false };
        let authority = certificate.is_some_and(|certificate| certificate.signature_key() == listed.key_data());
        authority || listed.key_data() == key.key_data()
    };
    text.lines().position(|line| is_revoked(line.trim())).map(|index| index + 1)
}

/// Asks `ssh-keygen` about a binary list.
async fn is_listed(file: &Path, key: &PublicKey, certificate: Option<&Certificate>) -> io::Result<bool> {
    let text = match certificate {
        Some(certificate) => certificate.to_openssh(),
        None => key.to_openssh(),
    };
    let text = text.map_err(io::Error::other)?;
    let question = tempfile::Builder::new().prefix("mltoolbox-key-").tempfile()?;
    std::fs::write(question.path(), text + "\n")?;
    let mut keygen = Command::new("ssh-keygen");
    keygen.arg("-Q").arg("-f").arg(file).arg(question.path());
    keygen.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let status = timeout(LOOK_UP, keygen.status()).await;
    let missing = |error: io::Error| {
        io::Error::new(error.kind(), format!("it is a binary list, which `ssh-keygen` has to read: {error}"))
    };
    match status.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(missing)?.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) | None => Err(io::Error::other("`ssh-keygen` cannot read it")),
    }
}
