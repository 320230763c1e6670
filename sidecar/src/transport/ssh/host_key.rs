//! The question every connection begins with: is this the machine it was before?

use std::io;
use std::path::PathBuf;

use protocol::editor::RemoteRow;
use russh::Preferred;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::known_hosts::{self, Verdict};
use super::{Options, record};
use crate::frontend::{Answer, Frontend, Question};
use crate::transport::TransportError;

/// A `known_hosts` file larger than this is no `known_hosts` file; a thousand hosts need 100 KiB.
const MAX_KNOWN_HOSTS: u64 = 16 * 1024 * 1024;

/// What is needed to judge the server's key.
pub(super) struct HostKey<'a> {
    pub(super) remote: &'a RemoteRow,
    pub(super) options: &'a Options,
    frontend: &'a dyn Frontend,
    files: Vec<known_hosts::File>,
    name: String,
}

impl<'a> HostKey<'a> {
    /// Reads the known hosts, and tells of lines about this host that are not understood.
    pub(super) async fn prepare(
        remote: &'a RemoteRow,
        options: &'a Options,
        frontend: &'a dyn Frontend,
    ) -> Result<Self, TransportError> {
        let files = read_known_hosts(options).await?;
        let name = known_hosts::recorded_name(&remote.host, remote.port);
        for warning in known_hosts::warnings(&files, &name) {
            frontend.tell(warning);
        }
        Ok(Self { remote, options, frontend, files, name })
    }

    /// Returns the algorithms to ask the server for, those first for which its key is recorded.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        known_hosts::reorder(&self.files, &self.name, &supported())
    }

    /// Returns the accepted key's fingerprint, having asked and recorded it when it was unknown.
    /// `None` is a certificate.
    pub(super) async fn judge(&self, key: Option<&PublicKey>) -> Result<Accepted, TransportError> {
        let host = self.name.clone();
        let Some(key) = key else {
            return Err(TransportError::HostCertificate { host });
        };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        match known_hosts::check(&self.files, &self.name, key, &supported()) {
            Verdict::Known => Ok(Accepted { fingerprint }),
            Verdict::Changed(place) => Err(TransportError::HostKeyChanged {
                host,
                algorithm: key.algorithm().to_string(),
                fingerprint,
                file: place.file,
                line: place.line,
            }),
            Verdict::Revoked(place) => {
                Err(TransportError::HostKeyRevoked { host, fingerprint, file: place.file, line: place.line })
            }
            Verdict::Unknown => {
                self.ask(key, &fingerprint).await?;
                self.record(key).await?;
                Ok(Accepted { fingerprint })
            }
        }
    }

    async fn ask(&self, key: &PublicKey, fingerprint: &str) -> Result<(), TransportError> {
        if self.options.yes || self.remote.accept_new {
            return Ok(());
        }
        let question = Question::HostKey {
            host: self.name.clone(),
            algorithm: key.algorithm().to_string(),
            fingerprint: fingerprint.to_owned(),
        };
        match self.frontend.ask(&question).await {
            Some(Answer::Yes) => Ok(()),
            Some(Answer::No | Answer::Secret(_)) => {
                Err(TransportError::HostKeyDeclined { host: self.name.clone(), fingerprint: fingerprint.to_owned() })
            }
            None => Err(TransportError::HostKeyUnknown(question.unanswered())),
        }
    }

    async fn record(&self, key: &PublicKey) -> Result<(), TransportError> {
        let (path, name, key) = (self.options.new_hosts.clone(), self.name.clone(), key.clone());
        let recorded = tokio::task::spawn_blocking(move || record::append(&path, &name, &key)).await;
        let recorded = recorded.expect("writing a file does not panic");
        recorded.map_err(|source| TransportError::KnownHosts { file: self.options.new_hosts.clone(), source })?;
        let file = self.options.new_hosts.display();
        self.frontend.tell(format!("The host key of `{}` is now recorded in `{file}`", self.name));
        Ok(())
    }
}

/// A host key that was accepted.
pub(super) struct Accepted {
    /// `SHA256:…`.
    pub(super) fingerprint: String,
}

/// Returns the host key algorithms that are accepted: the usual ones without RSA by SHA-1, which can be forged.
fn supported() -> Vec<Algorithm> {
    let forgeable = |algorithm: &&Algorithm| matches!(algorithm, Algorithm::Rsa { hash: None });
    Preferred::DEFAULT.key.iter().filter(|algorithm| !forgeable(algorithm)).cloned().collect()
}

async fn read_known_hosts(options: &Options) -> Result<Vec<known_hosts::File>, TransportError> {
    let paths = options.known_hosts.clone();
    let read = tokio::task::spawn_blocking(move || paths.into_iter().filter_map(read_one).collect()).await;
    read.expect("reading files does not panic")
}

fn read_one(path: PathBuf) -> Option<Result<known_hosts::File, TransportError>> {
    let length = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return None,
        Err(source) => return Some(Err(TransportError::KnownHosts { file: path, source })),
    };
    let read = if length > MAX_KNOWN_HOSTS {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"))
    } else {
        std::fs::read(&path)
    };
    Some(match read {
        Ok(bytes) => Ok(known_hosts::File { path, text: String::from_utf8_lossy(&bytes).into_owned() }),
        Err(source) => Err(TransportError::KnownHosts { file: path, source }),
    })
}
