//! Why the agent cannot be downloaded.

use std::io;
use std::path::PathBuf;

use protocol::error::{Code, Example, Explain, word};

use super::Sum;
use crate::env;

/// Why there is no download.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The variable holds nothing that may be asked.
    #[error("`{}` is `{base}`, which is no address to download from", env::DOWNLOAD_BASE)]
    Base {
        /// What it holds.
        base: String,
    },
    /// Nobody answers.
    #[error("cannot reach `{url}`")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Its name beside the sidecar.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The server has it not, or does not give it.
    #[error("`{url}` was answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// Its name beside the sidecar.
        file: &'static str,
        /// The answer.
        status: u16,
    },
    /// The connection went away, or less came than was announced.
    #[error("the download of `{url}` broke off")]
    Broken {
        /// What was asked for.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// More came than an agent can be.
    #[error("`{url}` is longer than {limit} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The file of the checksum holds something else.
    #[error("`{url}` holds no SHA-256 checksum")]
    NoSum {
        /// What was asked for.
        url: String,
    },
    /// It is not what was published.
    #[error("`{url}` has the checksum {found}, and {expected} was published")]
    Damaged {
        /// What was asked for.
        url: String,
        /// The published one.
        expected: Sum,
        /// Its own.
        found: Sum,
    },
    /// It cannot be kept.
    #[error("cannot keep the download as `{}`", path.display())]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

impl Explain for DownloadError {
    fn code(&self) -> Code {
        match self {
            Self::Base { .. }
            | Self::Unreachable { .. }
            | Self::Status { .. }
            | Self::Broken { .. }
            | Self::TooLong { .. }
            | Self::NoSum { .. }
            | Self::Damaged { .. }
            | Self::Cache { .. } => Code::AgentInstall,
        }
    }

    fn help(&self) -> String {
        let variable = env::DOWNLOAD_BASE;
        match self {
            Self::Base { .. } => format!(
                "Set `{variable}` to an address that begins with `https://`, or with `http://127.0.0.1` for a server on \
                 this machine; or unset it."
            ),
            Self::Unreachable { file, .. } => format!(
                "Connect this machine to the network, or put `{file}` beside `mltoolbox-sidecar`, where it is looked for \
                 first."
            ),
            Self::Status { file, .. } => format!(
                "Check that `{variable}` is where releases lie and that version {} is among them, or put `{file}` beside \
                 `mltoolbox-sidecar`.",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Broken { .. } => "Run `mltoolbox-sidecar agent install`; the download begins anew.".to_owned(),
            Self::TooLong { .. } => format!("Set `{variable}` to where releases of MLToolbox lie; that file is none."),
            Self::NoSum { .. } => format!(
                "Set `{variable}` to where releases of MLToolbox lie; a page of a log-in or of a proxy is often what comes \
                 instead."
            ),
            Self::Damaged { .. } => format!(
                "Run `mltoolbox-sidecar agent install` once more; when the checksum is wrong again, do not trust what \
                 `{variable}` names."
            ),
            Self::Cache { path, .. } => {
                let folder = word(path.parent().unwrap_or(path).display());
                format!("Check with `df -h {folder}` and `ls -ld {folder}` that you may write there and have room.")
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub(in super::super) fn examples() -> Vec<Example> {
    let url = || "https://releases.example/v0.1.0/mlt-linux-aarch64".to_owned();
    let file = "mlt-linux-aarch64";
    let path = || "/home/ada/.cache/mltoolbox/agents/v0.1.0/mlt-linux-aarch64".into();
    vec![
        DownloadError::Base { base: "http://releases.example".to_owned() }.into(),
        DownloadError::Unreachable { url: url(), file, source: io::ErrorKind::ConnectionRefused.into() }.into(),
        DownloadError::Status { url: url(), file, status: 404 }.into(),
        DownloadError::Broken { url: url(), source: io::ErrorKind::UnexpectedEof.into() }.into(),
        DownloadError::TooLong { url: url(), limit: super::MAX_PROGRAM }.into(),
        DownloadError::NoSum { url: format!("{}.sha256", url()) }.into(),
        DownloadError::Damaged { url: url(), expected: Sum([0xab; 32]), found: Sum([0xcd; 32]) }.into(),
        DownloadError::Cache { path: path(), source: io::ErrorKind::StorageFull.into() }.into(),
    ]
}
