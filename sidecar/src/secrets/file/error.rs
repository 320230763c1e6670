//! What can be wrong with a secrets file or its key, and what mends it.

use std::path::PathBuf;

use protocol::error::{Code, Example, Explain, word};

use super::{KeySource, Problem};
use crate::env;
use crate::secrets::Name;

/// Why a secrets file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("`{}` cannot be used", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is no file.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// It is far larger than secrets are.
    #[error("`{}` is too large to be a file of secrets", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error("`{}` is open to others: its mode is {mode:04o}", path.display())]
    Loose {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Those that it should have.
        wanted: u32,
    },
    /// It is somebody else's.
    #[error("`{}` belongs to the user {owner}", path.display())]
    Stranger {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Another process holds its lock.
    #[error("another process has held `{}` for 10 s", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A line of it is wrong.
    #[error("line {line} of `{}` cannot be read: {problem}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Nothing was given that opens it.
    #[error("{} `{}` needs {}", if *new { "the new file" } else { "the file" }, path.display(), if *new { "a passphrase" } else { "its passphrase" })]
    PassphraseNeeded {
        /// The file.
        path: PathBuf,
        /// Whether it is still to be made.
        new: bool,
    },
    /// It is sealed for a key that is in no file we know.
    #[error("`{}` is sealed for the key `{recipient}`, not with a passphrase", path.display())]
    KeyFileNeeded {
        /// The file.
        path: PathBuf,
        /// The public half of the key.
        recipient: String,
    },
    /// What was given does not open it.
    #[error("{key} does not open `{}`", path.display())]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// What was given.
        key: KeySource,
    },
    /// Its recipient is not that of its own identity.
    #[error("the recipient in `{}` is not that of its identity", path.display())]
    Recipient {
        /// The file.
        path: PathBuf,
        /// What it has to be.
        wanted: String,
    },
    /// A sealed text in it is damaged or not ours.
    #[error("{} in `{}` cannot be opened: {reason}", name.as_ref().map_or("the identity".to_owned(), |name| format!("the secret `{name}`")), path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Which secret; the identity when none.
        name: Option<Name>,
        /// What is wrong with it.
        reason: String,
    },
    /// A key file cannot be read.
    #[error("the key file `{}` cannot be read", path.display())]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A key file says nothing.
    #[error("the key file `{}` has an empty first line and no identity", path.display())]
    KeyFileEmpty {
        /// The key file.
        path: PathBuf,
    },
    /// A key file is neither an identity nor a passphrase.
    #[error("the key file `{}` holds neither an identity of age that can be read nor one line with a passphrase", path.display())]
    KeyFileForeign {
        /// The key file.
        path: PathBuf,
    },
}

impl Explain for FileError {
    fn code(&self) -> Code {
        match self {
            Self::PassphraseNeeded { .. } | Self::KeyFileNeeded { .. } | Self::WrongKey { .. } => Code::SecretLocked,
            Self::Unusable { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::Loose { .. }
            | Self::Stranger { .. }
            | Self::Busy { .. }
            | Self::Broken { .. }
            | Self::Recipient { .. }
            | Self::Sealed { .. }
            | Self::KeyFile { .. }
            | Self::KeyFileEmpty { .. }
            | Self::KeyFileForeign { .. } => Code::SecretStore,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Unusable { path, .. } => format!(
                "Run `ls -ld {0} {1}` to see who may write there, and `df {1}` to see whether there is room; nothing was changed.",
                word(path.display()),
                word(path.parent().unwrap_or(path).display())
            ),
            Self::NotAFile { path } | Self::TooLarge { path } => {
                format!(
                    "Run `ls -ld {0}` to see what it is, and move it away if you do not need it there.",
                    word(path.display())
                )
            }
            Self::Loose { path, wanted, .. } => format!("Run `chmod {wanted:o} {}`.", word(path.display())),
            Self::Stranger { path, .. } => format!(
                "Run the command as that user, or `chown` it to you after you looked at it with `ls -ld {}`.",
                word(path.display())
            ),
            Self::Busy { path } => {
                format!(
                    "Run `fuser -v {}` to see which process that is, end it and run the command again.",
                    word(path.display())
                )
            }
            Self::Broken { path, problem: Problem::Version(_), .. } => {
                format!("Update MLToolbox, or move `{}` away and set the secrets again.", path.display())
            }
            Self::Broken { path, .. } => format!(
                "Nothing of it was changed: mend that line or take the file from a backup; else run `mv {0} {0}.broken` and \
                 set the secrets again.",
                word(path.display())
            ),
            Self::PassphraseNeeded { .. } => format!(
                "Run the command in a terminal to type it, or set `{}`, or name a file that holds it in `{}`.",
                env::SECRETS_PASSPHRASE,
                env::SECRETS_KEY_FILE
            ),
            Self::KeyFileNeeded { recipient, .. } => format!(
                "Set `{}` to the file of `age-keygen` whose public key is `{recipient}`.",
                env::SECRETS_KEY_FILE
            ),
            Self::WrongKey { path, key } => match key {
                KeySource::KeyFile(_) => format!(
                    "Set `{}` to the file that opens it, or unset it to give a passphrase.",
                    env::SECRETS_KEY_FILE
                ),
                KeySource::Variable => {
                    format!("Set `{}` to the passphrase that the file was made with.", env::SECRETS_PASSPHRASE)
                }
                KeySource::Typed => format!(
                    "Type the passphrase that the file was made with; if it is lost, so are the values: run `mv {0} {0}.lost` \
                     and set them again.",
                    word(path.display())
                ),
            },
            Self::Recipient { wanted, .. } => format!(
                "Somebody changed it: find out who, put `recipient: {wanted}` back, and set anew what was stored meanwhile."
            ),
            Self::Sealed { name: Some(name), .. } => {
                format!(
                    "Set it again with `mltoolbox-sidecar secret set {name} --store file`, or take the file from a backup."
                )
            }
            Self::Sealed { path, name: None, .. } => format!(
                "Take the file from a backup; else run `mv {0} {0}.broken` and set the secrets again.",
                word(path.display())
            ),
            Self::KeyFile { path, .. } => {
                format!("Run `ls -l {}`, or set `{}` to another file.", word(path.display()), env::SECRETS_KEY_FILE)
            }
            Self::KeyFileEmpty { path } => format!(
                "Put an identity there with `age-keygen -o {}`, or a passphrase as its only line.",
                word(path.display())
            ),
            Self::KeyFileForeign { .. } => format!(
                "Set `{}` to a file that `age-keygen -o` wrote, with a line `AGE-SECRET-KEY-1…`; keys of SSH and of plugins \
                 do not open it.",
                env::SECRETS_KEY_FILE
            ),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(in crate::secrets) fn examples() -> Vec<Example> {
    let path = || PathBuf::from("/home/ada/.config/mltoolbox/secrets.yaml");
    let key = || PathBuf::from("/home/ada/key.txt");
    let recipient = || "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".to_owned();
    let broken = |problem| FileError::Broken { path: path(), line: 14, problem }.into();
    vec![
        FileError::Unusable { path: path(), source: std::io::ErrorKind::ReadOnlyFilesystem.into() }.into(),
        FileError::NotAFile { path: path() }.into(),
        FileError::TooLarge { path: path() }.into(),
        FileError::Loose { path: path(), mode: 0o644, wanted: 0o600 }.into(),
        FileError::Stranger { path: path(), owner: 1001 }.into(),
        FileError::Busy { path: path().with_extension("lock") }.into(),
        broken(Problem::Cut),
        broken(Problem::Version("2".to_owned())),
        broken(Problem::Foreign),
        broken(Problem::Lacking),
        broken(Problem::Twice("hf-token".to_owned())),
        broken(Problem::Name),
        broken(Problem::NotSealed("hf-token".to_owned())),
        FileError::PassphraseNeeded { path: path(), new: true }.into(),
        FileError::PassphraseNeeded { path: path(), new: false }.into(),
        FileError::KeyFileNeeded { path: path(), recipient: recipient() }.into(),
        FileError::WrongKey { path: path(), key: KeySource::KeyFile(key()) }.into(),
        FileError::WrongKey { path: path(), key: KeySource::Variable }.into(),
        FileError::WrongKey { path: path(), key: KeySource::Typed }.into(),
        FileError::Recipient { path: path(), wanted: recipient() }.into(),
        FileError::Sealed {
            path: path(),
            name: "hf-token".parse().ok(),
            reason: "it was changed or cut off: header is invalid".to_owned(),
        }
        .into(),
        FileError::Sealed {
            path: path(),
            name: None,
            reason: "it asks for more work than is done for a passphrase".to_owned(),
        }
        .into(),
        FileError::KeyFile { path: key(), source: std::io::ErrorKind::NotFound.into() }.into(),
        FileError::KeyFileEmpty { path: key() }.into(),
        FileError::KeyFileForeign { path: key() }.into(),
    ]
}
