//! Why an env file cannot be read, and what to do about it; names and places are shown, values never.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use protocol::error::{Code, Example, Explain, word};

use super::template::{ExpandError, Fault, TemplateError};
use super::{MAX_FILE, MAX_VALUES, Place};

/// Why an env file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DotenvError {
    /// The system does not let us read it.
    #[error("the env file `{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("the env file `{}` is no file", path.display())]
    NotAFile {
        /// What stands there.
        path: PathBuf,
    },
    /// It is larger than such a file can be.
    #[error("the env file `{}` is larger than {} KiB", path.display(), MAX_FILE / 1024)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{}:{}:{}: {problem}", path.display(), place.line, place.column)]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        place: Place,
        /// What.
        problem: Problem,
    },
}

/// What is wrong in an env file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Bytes that are no text.
    NotUtf8,
    /// A letter that no name has.
    NameLetter {
        /// The letter.
        letter: char,
    },
    /// A space within a name.
    NameSpace,
    /// Nothing stands before the `=`.
    NoName,
    /// A quote that is never closed.
    Unclosed {
        /// The quote.
        quote: char,
    },
    /// Text that touches a closing quote.
    AfterQuote,
    /// A NUL, which no variable can hold.
    Nul,
    /// Something about a `$`.
    Template(Fault),
    /// A `${NAME:?why}` whose variable is not set.
    Required {
        /// The variable.
        name: String,
        /// The file's words.
        why: String,
    },
    /// All values together are too long.
    TooLong,
}

impl From<TemplateError> for Problem {
    fn from(error: TemplateError) -> Self {
        Self::Template(error.fault)
    }
}

impl From<ExpandError> for Problem {
    fn from(error: ExpandError) -> Self {
        match error {
            ExpandError::Required { name, why } => Self::Required { name, why },
            ExpandError::TooLong => Self::TooLong,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => formatter.write_str("these bytes are not UTF-8"),
            Self::NameLetter { letter } => {
                write!(formatter, "the character `{}` cannot stand in a variable's name", letter.escape_debug())
            }
            Self::NameSpace => formatter.write_str("a variable's name has a space in it"),
            Self::NoName => formatter.write_str("no name stands before the value"),
            Self::Unclosed { quote } => write!(formatter, "the value's opening {} is never closed", name_of(*quote)),
            Self::AfterQuote => formatter.write_str("text touches the value's closing quote"),
            Self::Nul => formatter.write_str("the value has a NUL character in it"),
            Self::Template(Fault::Unclosed) => formatter.write_str("a `${` in the value is never closed"),
            Self::Template(Fault::Braces) => {
                formatter.write_str("between the braces of a `${…}` in the value stands no variable")
            }
            Self::Template(Fault::Deep) => formatter.write_str("too many `${…}` stand within each other"),
            Self::Required { name, why } if why.is_empty() => {
                write!(formatter, "the variable `{name}` is needed and not set")
            }
            Self::Required { name, why } => write!(formatter, "the variable `{name}` is needed and not set: {why}"),
            Self::TooLong => {
                write!(formatter, "with this value all values together are longer than {} MiB", MAX_VALUES >> 20)
            }
        }
    }
}

fn name_of(quote: char) -> &'static str {
    if quote == '"' { "double quote" } else { "single quote" }
}

impl Problem {
    fn help(&self, path: &Path, line: usize) -> String {
        let at = format!("line {line} of `{}`", path.display());
        match self {
            Self::NotUtf8 => {
                let path = word(path.display());
                format!("Save it as UTF-8; `iconv -f latin1 -t utf-8 {path}` shows what it would be if it is Latin-1.")
            }
            Self::NameLetter { .. } | Self::NameSpace | Self::NoName => {
                format!(
                    "Write `NAME=value` in {at}, with a name of letters, digits, `_`, `.` and `-`; a comment begins with `#`."
                )
            }
            Self::Unclosed { quote } => {
                let other = if *quote == '"' { '\'' } else { '"' };
                format!("Close it in {at}, or put the whole value into {other} if the {quote} belongs to it.")
            }
            Self::AfterQuote => {
                format!("Put the whole value of {at} between the quotes, and a space before a comment that follows.")
            }
            Self::Nul => format!("Take the NUL out of {at}; keep binary data in a file and name that file."),
            Self::Template(Fault::Unclosed | Fault::Braces) => {
                format!(
                    "Write `${{NAME}}` or `${{NAME:-otherwise}}` in {at}, or `$$` for a dollar that is only a dollar."
                )
            }
            Self::Template(Fault::Deep) => format!("Write {at} with fewer `${{…}}` within each other."),
            Self::Required { name, .. } => {
                format!("Set it above {at}, or run `export {name}=VALUE` before this command.")
            }
            Self::TooLong => format!("Look at {at}: it repeats values that are long already."),
        }
    }
}

impl Explain for DotenvError {
    fn code(&self) -> Code {
        match self {
            Self::Unreadable { .. } | Self::NotAFile { .. } | Self::TooLarge { .. } | Self::Syntax { .. } => {
                Code::EnvFileInvalid
            }
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Unreadable { path, source } if source.kind() == io::ErrorKind::NotFound => {
                format!("Make the file `{}`, or take it out of where it is named.", path.display())
            }
            Self::Unreadable { path, .. } => {
                format!("Run `chmod u+r {}`, and make sure that the file is yours.", word(path.display()))
            }
            Self::NotAFile { path } => {
                format!("Name a file of `NAME=value` lines instead of `{}` there.", path.display())
            }
            Self::TooLarge { path } => {
                format!("Check that `{}` is the file you mean: it has to hold `NAME=value` lines.", path.display())
            }
            Self::Syntax { path, place, problem } => problem.help(path, place.line),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let path = || PathBuf::from("/home/ada/project/.env");
    let syntax = |problem| DotenvError::Syntax { path: path(), place: Place { line: 3, column: 7 }, problem };
    let problems = [
        Problem::NotUtf8,
        Problem::NameLetter { letter: '!' },
        Problem::NameSpace,
        Problem::NoName,
        Problem::Unclosed { quote: '"' },
        Problem::Unclosed { quote: '\'' },
        Problem::AfterQuote,
        Problem::Nul,
        Problem::Template(Fault::Unclosed),
        Problem::Template(Fault::Braces),
        Problem::Template(Fault::Deep),
        Problem::Required { name: "WANDB_ENTITY".to_owned(), why: String::new() },
        Problem::Required { name: "WANDB_ENTITY".to_owned(), why: "the team's name".to_owned() },
        Problem::TooLong,
    ];
    let mut examples: Vec<Example> = vec![
        DotenvError::Unreadable { path: path(), source: io::ErrorKind::NotFound.into() }.into(),
        DotenvError::Unreadable { path: path(), source: io::ErrorKind::PermissionDenied.into() }.into(),
        DotenvError::NotAFile { path: path() }.into(),
        DotenvError::TooLarge { path: path() }.into(),
    ];
    examples.extend(problems.into_iter().map(|problem| Example::from(syntax(problem))));
    examples
}
