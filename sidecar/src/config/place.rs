//! Where a value came from: a file's line, an environment variable, a flag, or nobody said it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whose file it is. In the order of strength, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The machine's, `/etc/mltoolbox/config.yaml`: written by its administrator.
    System,
    /// The user's own, `~/.config/mltoolbox/config.yaml`.
    User,
    /// The user's own for one project, `mltoolbox.local.yaml` beside the project file.
    Local,
    /// The project's, which comes with the project and may have been written by anybody.
    Project,
}

impl Layer {
    /// Returns its name as `config show` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Local => "local",
            Self::Project => "project",
        }
    }
}

/// Who said a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody: it is the default.
    Default,
    /// A file.
    File {
        /// Whose.
        layer: Layer,
        /// Which.
        path: Arc<Path>,
    },
    /// An environment variable, by its name.
    Variable(Arc<str>),
    /// A flag of the command line, by its name with the dashes.
    Flag(Arc<str>),
}

impl Source {
    /// Returns the source that is a file.
    pub fn file(layer: Layer, path: &Path) -> Self {
        Self::File { layer, path: path.into() }
    }

    /// Returns whose file it is; `None` when it is none.
    pub fn layer(&self) -> Option<Layer> {
        match self {
            Self::File { layer, .. } => Some(*layer),
            Self::Default | Self::Variable(_) | Self::Flag(_) => None,
        }
    }

    /// Returns the file; `None` when it is none.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Default | Self::Variable(_) | Self::Flag(_) => None,
        }
    }
}

/// One place in what was said. Line and column count from 1; 0 stands for the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who said it.
    pub source: Source,
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Place {
    /// Returns the place that is all of a source.
    pub fn whole(source: Source) -> Self {
        Self { source, line: 0, column: 0 }
    }

    /// Returns the folder against which relative paths that were said here are meant.
    pub fn folder(&self) -> Option<PathBuf> {
        self.source.path().and_then(Path::parent).map(Path::to_path_buf)
    }
}

impl fmt::Display for Place {
    /// Writes `FILE:LINE:COLUMN`, the variable, the flag, or `default`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Default => formatter.write_str("default"),
            Source::Variable(name) => write!(formatter, "variable {name}"),
            Source::Flag(name) => write!(formatter, "flag {name}"),
            Source::File { path, .. } if self.line == 0 => write!(formatter, "{}", path.display()),
            Source::File { path, .. } => write!(formatter, "{}:{}:{}", path.display(), self.line, self.column),
        }
    }
}
