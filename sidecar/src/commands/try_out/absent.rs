//! The first tour where it cannot be given: its stand-in runs commands as Unix does.

use protocol::editor::{TryOutput, TryParams};
use protocol::error::{Code, Explain, Result};

use crate::cx::Cx;

/// Why there is no tour.
#[derive(Debug, thiserror::Error)]
#[error("`try` needs Linux or macOS, as its SSH server runs on this machine")]
pub struct TryError;

impl Explain for TryError {
    fn code(&self) -> Code {
        Code::ParamsInvalid
    }

    fn help(&self) -> String {
        "Run it on Linux or macOS; a remote is added here with `mltoolbox-sidecar remote add NAME --host HOST`."
            .to_owned()
    }
}

#[expect(clippy::unused_async, reason = "as where there is a tour")]
pub(super) async fn run(_: Cx, _: TryParams) -> Result<TryOutput> {
    Err(TryError.into())
}
