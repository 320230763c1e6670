//! Why a command about sync cannot go on without a person.

use protocol::error::{Code, Example, Explain, word};

use crate::commands::show::text;

/// Why a sync cannot go on without a person.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error("{reason}")]
    Brake { plan: String, reason: String },
    #[error("the first push holds {} in {}", text::bytes(*bytes), text::count(*files, "file"))]
    Large { files: u64, bytes: u64 },
    #[error("no sync runs for `{workspace}`")]
    NotRunning { workspace: String },
    #[error("the sync of `{workspace}` runs with other settings")]
    Otherwise { workspace: String },
    #[error("`sync/resolve` needs `paths` or `all`")]
    NoPaths,
    #[error("the command was cancelled")]
    Cancelled,
}

impl Explain for Stopped {
    fn code(&self) -> Code {
        match self {
            Self::Brake { .. } => Code::SyncBrake,
            Self::Large { .. } => Code::SyncLarge,
            Self::NotRunning { .. } => Code::SyncNotRunning,
            Self::Otherwise { .. } | Self::NoPaths => Code::ParamsInvalid,
            Self::Cancelled => Code::Cancelled,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Brake { plan, .. } => {
                format!(
                    "If that is what you want, run `mltoolbox-sidecar sync approve {plan}`; else bring the files back."
                )
            }
            Self::Large { .. } => {
                "Leave something out with `--exclude PATTERN` or a `.mltignore`, or add `--yes` to push all of it."
                    .to_owned()
            }
            Self::NotRunning { workspace } => {
                format!("Start it with `mltoolbox-sidecar sync watch {}`.", word(workspace))
            }
            Self::Otherwise { .. } => {
                "Run `mltoolbox-sidecar sync stop` first, then push again; or give the settings to \
                 `mltoolbox-sidecar sync watch`, which starts anew with them."
                    .to_owned()
            }
            Self::NoPaths => {
                "Name the paths that `mltoolbox-sidecar sync conflicts` lists, or give `--all`.".to_owned()
            }
            Self::Cancelled => "Run the command again to go on; what arrived stays.".to_owned(),
        }
    }
}

/// Returns each kind of error once.
pub(super) fn examples() -> Vec<Example> {
    let reason = "812 of 1200 paths would be removed".to_owned();
    vec![
        Stopped::Brake { plan: "3f9a61c2".to_owned(), reason }.into(),
        Stopped::Large { files: 250_000, bytes: 5_000_000_000 }.into(),
        Stopped::NotRunning { workspace: "/home/ada/project".to_owned() }.into(),
        Stopped::Otherwise { workspace: "/home/ada/project".to_owned() }.into(),
        Stopped::NoPaths.into(),
        Stopped::Cancelled.into(),
    ]
}
