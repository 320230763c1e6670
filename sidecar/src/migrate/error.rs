//! Why nothing could be migrated, and what to do about it.

use std::io;
use std::path::PathBuf;

use protocol::error::{Code, Example, Explain, word};

use crate::config::problem::Problem;
use crate::dotenv::DotenvError;

/// Why nothing was migrated. In each case nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is nothing of an older project.
    #[error("`{}` has no `.env`, no `Dockerfile` and no compose file", folder.display())]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file cannot be read.
    #[error("the file `{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A file is no text of a size that such a file has.
    #[error("the file `{}` is {what}", path.display())]
    Odd {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The `.env` file is wrong.
    #[error(transparent)]
    Dotenv(#[from] DotenvError),
    /// The compose file is wrong.
    #[error("{}: {}", problem.place, problem.reason)]
    Compose {
        /// What, and where.
        problem: Box<Problem>,
    },
    /// What came out would not be valid.
    #[error("what these files come to would not be a valid `mltoolbox.yaml`: `{}`: {}", problem.key, problem.reason)]
    Unfit {
        /// What would be wrong.
        problem: Box<Problem>,
    },
    /// The new file cannot be written.
    #[error("the file `{}` cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

impl Explain for MigrateError {
    fn code(&self) -> Code {
        match self {
            Self::Nothing { .. } => Code::MigrateNothing,
            Self::Unreadable { .. } | Self::Odd { .. } | Self::Compose { .. } | Self::Unfit { .. } => {
                Code::MigrateInvalid
            }
            Self::Dotenv(error) => error.code(),
            Self::Write { .. } => Code::FileFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Nothing { .. } => {
                "Run `mltoolbox-sidecar init` to begin with a new configuration, or name another folder with \
                 `--workspace DIR`."
                    .to_owned()
            }
            Self::Unreadable { path, .. } => {
                format!("Run `ls -l {}` to see whose it is and who may read it.", word(path.display()))
            }
            Self::Odd { path, .. } => {
                let path = word(path.display());
                format!(
                    "Run `file {path}` to see what stands there, and move it aside if it does not belong to this project."
                )
            }
            Self::Dotenv(error) => error.help(),
            Self::Compose { problem } => problem.fix.clone(),
            Self::Unfit { problem } => format!(
                "Run `mltoolbox-sidecar migrate --dry-run` after changing where that comes from; {}",
                lower_first(&problem.fix)
            ),
            Self::Write { path, .. } => {
                let folder = path.parent().unwrap_or(path);
                format!("Make sure that you may write in `{}` and that its disk has room.", folder.display())
            }
        }
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    use crate::config::place::{Layer, Place, Source};
    let path = |name: &str| PathBuf::from("/home/ada/project").join(name);
    let problem = |name: &str| {
        let source = Source::file(Layer::Project, &path(name));
        let place = Place { source, line: 4, column: 7 };
        let problem = Problem::of_file(place, "a tab stands in the indentation", "Put two spaces in its place.");
        Box::new(Problem { key: "environment.ports".to_owned(), ..problem })
    };
    vec![
        MigrateError::Nothing { folder: "/home/ada/project".into() }.into(),
        MigrateError::Unreadable { path: path("Dockerfile"), source: io::ErrorKind::PermissionDenied.into() }.into(),
        MigrateError::Odd { path: path("Dockerfile"), what: "no plain file" }.into(),
        MigrateError::Dotenv(DotenvError::NotAFile { path: path(".env") }).into(),
        MigrateError::Compose { problem: problem("docker-compose.yml") }.into(),
        MigrateError::Unfit { problem: problem(super::TARGET) }.into(),
        MigrateError::Write { path: path(super::TARGET), source: io::ErrorKind::StorageFull.into() }.into(),
    ]
}
