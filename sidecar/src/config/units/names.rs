//! Names, paths, patterns and references.

use super::super::setting::{Kind, Reading, Setting};
use super::super::tree::{Node, Value};
use super::{Form, Wrong};

macro_rules! text {
    ($(#[doc = $about:literal])+ $name:ident) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub String);

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text! {
    /// A short name: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
    Name
}

impl Form for Name {
    const ABOUT: &'static str = "a name of letters, digits, `.`, `_` and `-`";
    const PATTERN: &'static str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
            && text.len() <= 128
            && text.chars().all(plain)
        {
            return Ok(Self(text.to_owned()));
        }
        let instead: String = text.chars().map(|letter| if plain(letter) { letter } else { '-' }).take(128).collect();
        let instead = instead.trim_matches(['-', '.', '_']).to_owned();
        let wrong = Wrong::new(format!("`{text}` is no name of letters, digits, `.`, `_` and `-`"));
        Err(if instead.is_empty() { wrong } else { wrong.instead(instead) })
    }
}

text! {
    /// A path to a file here: relative to the file that names it, absolute, or with `~` or `${HOME}`.
    FilePath
}

impl Form for FilePath {
    const ABOUT: &'static str = "the path of a file";
    const PATTERN: &'static str = "^\\S([^\\u0000]*\\S)?$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.trim().is_empty() || text.contains('\0') {
            return Err(Wrong::new("this is no path"));
        }
        if text.trim() != text {
            return Err(Wrong::new("the path begins or ends with a space").instead(text.trim()));
        }
        Ok(Self(text.to_owned()))
    }
}

text! {
    /// A folder on the remote: absolute, or below `~`.
    RemoteFolder
}

impl Form for RemoteFolder {
    const ABOUT: &'static str = "a folder on the remote, absolute or below `~`";
    const PATTERN: &'static str = "^(/|~/)[^\\u0000]*[^/\\u0000]$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.contains('\0') || !text.starts_with('/') && !text.starts_with("~/") {
            let wrong = Wrong::new(format!("`{text}` is neither absolute nor below `~`"));
            return Err(wrong.instead(format!("~/{}", text.trim_start_matches(['~', '.', '/']))));
        }
        if text.ends_with('/') {
            return Err(Wrong::new(format!("`{text}` ends with a slash")).instead(text.trim_end_matches('/')));
        }
        match protocol::path::RemotePath::new(text.to_owned()) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(Wrong::new(format!("`{text}` is no folder on the remote: {error}"))),
        }
    }
}

text! {
    /// A pattern as in `.gitignore`.
    Pattern
}

impl Form for Pattern {
    const ABOUT: &'static str = "a pattern as in `.gitignore`";
    const PATTERN: &'static str = "^[^\\n]*\\S[^\\n]*$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.trim().is_empty() || text.contains('\n') {
            return Err(Wrong::new("this is no pattern of one line"));
        }
        Ok(Self(text.to_owned()))
    }
}

text! {
    /// The name of a container image: `registry.example/owner/name:tag` or `name@sha256:…`.
    Image
}

impl Form for Image {
    const ABOUT: &'static str = "the name of an image";
    const PATTERN: &'static str = "^[A-Za-z0-9$][A-Za-z0-9._/:@${}-]*$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._/:@${}-".contains(letter);
        let begins = text.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '$');
        if begins && text.chars().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let bare: String = text.split_whitespace().collect();
        let wrong = Wrong::new(format!("`{text}` is no name of an image"));
        Err(if bare != text && Self::parse(&bare).is_ok() { wrong.instead(bare) } else { wrong })
    }
}

text! {
    /// Where a secret is to be found: `${secret:NAME}`, `${env:NAME}` or `${NAME}`; never the secret itself.
    Reference
}

impl Form for Reference {
    const ABOUT: &'static str = "a reference to a secret, `${secret:NAME}`";
    const PATTERN: &'static str =
        "^\\$\\{(secret:[A-Za-z0-9_][A-Za-z0-9._-]*|env:[A-Za-z_][A-Za-z0-9_]*|[A-Za-z_][A-Za-z0-9_]*)\\}$";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let inner = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
        let variable = |name: &str| {
            name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let secret = |name: &str| {
            name.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let holds = inner.is_some_and(|inner| match inner.split_once(':') {
            Some(("secret", name)) => secret(name),
            Some(("env", name)) => variable(name),
            Some(_) => false,
            None => variable(inner),
        });
        // The text may be the secret itself, so that it is not repeated.
        if holds {
            Ok(Self(text.to_owned()))
        } else {
            Err(Wrong::new("a secret belongs into the secret store, not into this file"))
        }
    }
}

impl Setting for Reference {
    fn kind() -> Kind {
        Kind::Text { about: Self::ABOUT, pattern: Self::PATTERN, numbers: None }
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        let said = node.as_written();
        let read = said.and_then(|text| Self::parse(text).ok());
        if read.is_none() {
            // `provision.backends.lambda.api_key` is kept as `lambda_api_key`.
            let key = reading.key();
            let mut parts: Vec<&str> = key.rsplit('.').take(2).collect();
            parts.reverse();
            let (secret, name) = (parts.join("_"), reading.name().to_owned());
            let fix = format!(
                "Run `mltoolbox-sidecar secret set {secret}` to store it, and write `{name}: ${{secret:{secret}}}` here."
            );
            reading.problem(&node.place, "a secret belongs into the secret store, not into this file", fix);
        }
        read
    }
}

/// The version of this format that a file is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// The version of the format that this program reads.
pub const VERSION: &str = "3.0";

impl Form for Version {
    const ABOUT: &'static str = "the version of the format, `\"3.0\"`";
    const PATTERN: &'static str = "^3(\\.0)?$";
    const NUMBERS: Option<(f64, f64)> = Some((3.0, 3.0));

    fn parse(text: &str) -> Result<Self, Wrong> {
        let numbers: Option<Vec<u64>> = text.split('.').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some([3] | [3, 0]) => Ok(Self(VERSION.to_owned())),
            Some([major, ..]) if *major >= 3 => {
                let reason = format!("the file is of version {text}, and this program reads {VERSION}");
                let fix = format!(
                    "Install a newer `mltoolbox-sidecar`, or write `version: \"{VERSION}\"` if nothing newer is used here."
                );
                Err(Wrong::new(reason).fix(fix))
            }
            Some(_) => Err(Wrong::new(format!("version {text} is older than {VERSION} and has no such file"))
                .instead(format!("\"{VERSION}\""))),
            None => Err(Wrong::new(format!("`{text}` is no version")).instead(format!("\"{VERSION}\""))),
        }
    }
}

/// The value of an environment variable: a text, a number, or `true` and `false` as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

impl Setting for Scalar {
    fn kind() -> Kind {
        Kind::Either(vec![
            Kind::Text { about: "a text or a number", pattern: "", numbers: Some((f64::MIN, f64::MAX)) },
            Kind::Bool,
        ])
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        match &node.value {
            Value::Text(text) | Value::Number(text) => Some(Self(text.clone())),
            Value::Bool(value) => Some(Self(value.to_string())),
            Value::Null | Value::List(_) | Value::Map(_) => {
                reading.wrong(node, "a text or a number");
                None
            }
        }
    }
}
