//! The question every connection begins with: is this the machine it was before?

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::Preferred;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use super::known_hosts::{self, Verdict, certificate};
use super::{Options, record};
use crate::frontend::{Answer, Frontend, Question};
use crate::transport::TransportError;
use crate::transport::ssh_config::{Host, StrictHostKey};

mod revoked;

/// A `known_hosts` file larger than this is no `known_hosts` file; a thousand hosts need 100 KiB.
const MAX_KNOWN_HOSTS: u64 = 16 * 1024 * 1024;

/// What is needed to judge the server's key.
pub(super) struct HostKey<'a> {
    host: &'a Host,
    options: &'a Options,
    frontend: &'a dyn Frontend,
    files: Vec<known_hosts::File>,
    /// The name under which a key is recorded, then the one without the port, which OpenSSH takes too.
    names: Vec<String>,
}

impl<'a> HostKey<'a> {
    /// Reads the known hosts, and tells of lines about this host that are not understood.
    pub(super) async fn prepare(
        host: &'a Host,
        options: &'a Options,
        frontend: &'a dyn Frontend,
    ) -> Result<Self, TransportError> {
        let files = read_known_hosts(host).await?;
        let names = names(host);
        for warning in names.iter().flat_map(|name| known_hosts::warnings(&files, name)) {
            frontend.tell(warning);
        }
        Ok(Self { host, options, frontend, files, names })
    }

    /// Returns the algorithms to ask the server for, those first for which its key is recorded.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        // What is recorded with the port comes before what is recorded without.
        self.names.iter().rev().fold(supported(), |order, name| known_hosts::reorder(&self.files, name, &order))
    }

    /// Returns the algorithms of certificates to ask for: none, unless somebody may vouch for this host.
    pub(super) fn certificates(&self) -> Vec<Algorithm> {
        if certificate::has_authority(&self.files, &self.names) { supported() } else { Vec::new() }
    }

    /// Returns the accepted key's fingerprint, having asked and recorded it when it was unknown. A certificate that
    /// does not hold is as none.
    pub(super) async fn judge(
        &self,
        key: &PublicKey,
        certificate: Option<&Certificate>,
    ) -> Result<Accepted, TransportError> {
        let host = self.name();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let revoked = |place: known_hosts::Place| TransportError::HostKeyRevoked {
            host: self.name(),
            fingerprint: fingerprint.clone(),
            file: place.file,
            line: place.line,
        };
        if let Some(place) = revoked::find(&self.host.revoked_host_keys, key, certificate).await? {
            return Err(revoked(place));
        }
        let mut flaw = None;
        if let Some(certificate) = certificate {
            match certificate::check(&self.files, &self.names, certificate, self.principal(), now()) {
                certificate::Verdict::Accepted => return Ok(Accepted { fingerprint }),
                certificate::Verdict::Revoked(place) => return Err(revoked(place)),
                certificate::Verdict::Foreign => {}
                certificate::Verdict::Invalid(why) => flaw = Some(why),
            }
        }
        match self.verdict(key) {
            Verdict::Known => Ok(Accepted { fingerprint }),
            Verdict::Changed(place) => Err(TransportError::HostKeyChanged {
                host,
                algorithm: key.algorithm().to_string(),
                fingerprint,
                file: place.file,
                line: place.line,
            }),
            Verdict::Revoked(place) => Err(revoked(place)),
            Verdict::Unknown => {
                if let Some(why) = &flaw {
                    self.frontend.tell(format!("The host certificate of `{host}` is not accepted: {why}"));
                }
                self.ask(key, &fingerprint, flaw).await?;
                self.record(key).await?;
                Ok(Accepted { fingerprint })
            }
        }
    }

    /// Returns what the files say of a plain key. A name without the port can only make it known or revoked.
    fn verdict(&self, key: &PublicKey) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for (index, name) in self.names.iter().enumerate() {
            match known_hosts::check(&self.files, name, key, &supported()) {
                Verdict::Unknown => {}
                Verdict::Changed(_) if index > 0 => {}
                found @ (Verdict::Known | Verdict::Changed(_)) if verdict == Verdict::Unknown => verdict = found,
                Verdict::Known | Verdict::Changed(_) => {}
                revoked @ Verdict::Revoked(_) => return revoked,
            }
        }
        verdict
    }

    /// Returns the name that a person knows the host's record by.
    fn name(&self) -> String {
        self.names.first().cloned().unwrap_or_default()
    }

    /// Returns the name that a certificate has to be made for.
    fn principal(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    async fn ask(&self, key: &PublicKey, fingerprint: &str, flaw: Option<String>) -> Result<(), TransportError> {
        let (host, fingerprint) = (self.name(), fingerprint.to_owned());
        match self.host.strict_host_key {
            StrictHostKey::AcceptNew | StrictHostKey::No => return Ok(()),
            StrictHostKey::Yes => {
                return Err(match flaw {
                    Some(why) => TransportError::HostCertificate { host, fingerprint, why },
                    None => TransportError::HostKeyStrict { host, fingerprint },
                });
            }
            StrictHostKey::Ask if self.options.yes => return Ok(()),
            StrictHostKey::Ask => {}
        }
        let algorithm = key.algorithm().to_string();
        let question = Question::HostKey { host: host.clone(), algorithm, fingerprint: fingerprint.clone() };
        match self.frontend.ask(&question).await {
            Some(Answer::Yes) => Ok(()),
            Some(Answer::No | Answer::Secret(_)) => Err(TransportError::HostKeyDeclined { host, fingerprint }),
            None => Err(match flaw {
                Some(why) => TransportError::HostCertificate { host, fingerprint, why },
                None => TransportError::HostKeyUnknown(question.unanswered()),
            }),
        }
    }

    async fn record(&self, key: &PublicKey) -> Result<(), TransportError> {
        let Some(file) = self.host.user_known_hosts.first().cloned() else { return Ok(()) };
        let (path, name, key, hashed) = (file.clone(), self.name(), key.clone(), self.host.hash_known_hosts);
        let recorded = tokio::task::spawn_blocking(move || record::append(&path, &name, &key, hashed)).await;
        let recorded = recorded.expect("writing a file does not panic");
        recorded.map_err(|source| TransportError::KnownHosts { file: file.clone(), source })?;
        self.frontend.tell(format!("The host key of `{}` is now recorded in `{}`", self.name(), file.display()));
        Ok(())
    }
}

/// A host key that was accepted.
pub(super) struct Accepted {
    /// `SHA256:…`.
    pub(super) fingerprint: String,
}

/// Returns the names under which the host's key may be recorded.
fn names(host: &Host) -> Vec<String> {
    if let Some(alias) = &host.host_key_alias {
        return vec![alias.to_lowercase()];
    }
    let mut names = vec![known_hosts::recorded_name(&host.hostname, host.port)];
    names.push(known_hosts::recorded_name(&host.hostname, crate::transport::ssh_config::PORT));
    names.dedup();
    names
}

/// Returns the host key algorithms that are accepted: the usual ones without RSA by SHA-1, which can be forged.
fn supported() -> Vec<Algorithm> {
    let forgeable = |algorithm: &&Algorithm| matches!(algorithm, Algorithm::Rsa { hash: None });
    Preferred::DEFAULT.key.iter().filter(|algorithm| !forgeable(algorithm)).cloned().collect()
}

/// Returns the seconds since 1970; a clock before that makes every certificate one of the future.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn read_known_hosts(host: &Host) -> Result<Vec<known_hosts::File>, TransportError> {
    let paths: Vec<_> = host.user_known_hosts.iter().chain(&host.global_known_hosts).cloned().collect();
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
