//! What can be wrong with a reference or a template: where in the text, and what was probably meant.

use protocol::error::{Code, Example, Explain};

use super::{Fact, Place};
use crate::secrets::{Name, NameError};
use crate::sessions::nearest;

/// What is wrong at one place of a text. The caller says which text it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {problem}", place.line, place.column)]
pub struct TemplateError {
    /// Where, within the text.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Its end is missing.
    #[error("`{begin}` has no `{end}`")]
    Unclosed {
        /// How it begins.
        begin: &'static str,
        /// How it would end.
        end: &'static str,
    },
    /// Nothing of that name can be referred to in `${…}`.
    #[error("`${{{text}}}` refers to nothing")]
    Reference {
        /// What stands between the braces.
        text: String,
        /// What was probably meant, whole.
        nearest: String,
    },
    /// Nothing of that name can be a template.
    #[error("`{{{{ {text} }}}}` is not known")]
    Template {
        /// What stands between the braces.
        text: String,
        /// The template that looks most like it.
        nearest: Option<String>,
    },
    /// No secret has such a name.
    #[error(transparent)]
    SecretName {
        /// Why.
        source: NameError,
    },
    /// No variable has such a name.
    #[error("`{name}` cannot be the name of a variable")]
    VariableName {
        /// The name.
        name: String,
    },
    /// A variable is not set, and nothing stands in for it.
    #[error("the variable `{name}` is not set")]
    NotSet {
        /// Its name.
        name: String,
    },
    /// A secret was not resolved.
    #[error("the secret `{name}` is not resolved")]
    Unresolved {
        /// Its name.
        name: Name,
    },
    /// Nobody knows the home directory.
    #[error("the home directory is not known")]
    NoHome,
    /// What the template stands for is not there yet.
    #[error("`{{{{ {} }}}}` has no value here", fact.name())]
    Absent {
        /// The template.
        fact: Fact,
    },
    /// It stands where it cannot be known how a shell reads it.
    #[error("a template cannot stand in or behind {what}")]
    Opaque {
        /// What that is.
        what: &'static str,
        /// The variable that has its value.
        variable: String,
    },
    /// It stands in a text that another program reads as a program.
    #[error("a template cannot stand in what `{program}` reads as a program")]
    Program {
        /// That other program.
        program: String,
        /// The variable that has its value.
        variable: String,
    },
    /// Its value would be taken for an option.
    #[error("the value of `{{{{ {} }}}}` begins with `-` and would be taken for an option", fact.name())]
    Dash {
        /// The template.
        fact: Fact,
    },
}

impl Problem {
    /// Returns that `${text}` refers to nothing, with what was probably meant.
    pub(super) fn unknown_reference(text: &str) -> Self {
        let kinds = || ["secret", "env", "HOME"].into_iter().map(str::to_owned);
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let meant = match (nearest(kind, kinds()).as_deref(), rest) {
            (Some("HOME"), None) => "${HOME}".to_owned(),
            (Some(kind @ ("secret" | "env")), Some(rest)) => format!("${{{kind}:{rest}}}"),
            (_, _) if super::is_variable(kind) => format!("${{env:{text}}}"),
            (_, _) => "${env:NAME}".to_owned(),
        };
        Self::Reference { text: text.to_owned(), nearest: meant }
    }
}

impl Explain for TemplateError {
    fn code(&self) -> Code {
        match &self.problem {
            Problem::SecretName { .. } => Code::SecretName,
            Problem::Unresolved { .. } => Code::SecretMissing,
            Problem::Unclosed { .. }
            | Problem::Reference { .. }
            | Problem::Template { .. }
            | Problem::VariableName { .. }
            | Problem::NotSet { .. }
            | Problem::NoHome
            | Problem::Absent { .. }
            | Problem::Opaque { .. }
            | Problem::Program { .. }
            | Problem::Dash { .. } => Code::ConfigInvalid,
        }
    }

    fn help(&self) -> String {
        match &self.problem {
            Problem::Unclosed { begin: "${", end } => {
                format!("Write `{end}` behind it, or `$${{` where a plain `${{` is meant.")
            }
            Problem::Unclosed { begin, end } => {
                format!("Write `{end}` behind it, or `\\{begin}` where a plain `{begin}` is meant.")
            }
            Problem::Reference { nearest, text } => {
                format!("Write `{nearest}`, or `$${{{text}}}` where the text itself is meant.")
            }
            Problem::Template { nearest: Some(nearest), text } => {
                format!("Write `{{{{ {nearest} }}}}`, or `\\{{{{{text}}}}}` where the text itself is meant.")
            }
            Problem::Template { nearest: None, text } => {
                let known: Vec<_> = Fact::ALL.iter().map(|fact| format!("`{}`", fact.name())).collect();
                format!("Known are {}; write `\\{{{{{text}}}}}` where the text itself is meant.", known.join(", "))
            }
            Problem::SecretName { .. } => "Use letters, digits, `-`, `_` and `.`: `${secret:hf-token}`.".to_owned(),
            Problem::VariableName { .. } => "Use letters, digits and `_`: `${env:HF_HOME}`.".to_owned(),
            Problem::NotSet { name } => {
                format!("Set `{name}`, or write what stands in for it: `${{env:{name}:otherwise}}`.")
            }
            Problem::Unresolved { name } => {
                format!("Run `mltoolbox-sidecar secret set {name}`, or set `{}`.", name.variable())
            }
            Problem::NoHome => format!("Set `{}`.", crate::env::HOME),
            Problem::Absent { fact } => format!("Use it in {}.", fact.known_in()),
            Problem::Opaque { variable, .. } | Problem::Program { variable, .. } => {
                format!(
                    "Use the variable `{variable}` there, which has the same value: a shell reads it as `\"${variable}\"`."
                )
            }
            Problem::Dash { fact } => {
                format!(
                    "Write `./` or `--` before it, or use the variable `{}` where an option is meant.",
                    fact.variable()
                )
            }
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let value = |text: &str| super::Template::parse(text).map(drop).err();
    let command = |text: &str| super::Command::parse(text).map(drop).err();
    let parsed = [
        value("${secret:hf"),
        value("${secrt:hf-token}"),
        value("${HF_HOME}"),
        value("${secret:hf token}"),
        value("${env:9}"),
        command("echo {{ remote.hots }}"),
        command("docker ps --format {{.Names}}"),
        command("echo {{ remote.host"),
        command("cat <<END\n{{ remote.host }}\nEND"),
        command("sh -c 'echo {{ remote.host }}'"),
    ];
    let at = |problem| TemplateError { place: Place { line: 1, column: 9 }, problem };
    let name = || "hf-token".parse().expect("a name");
    let rendered = [
        Problem::NotSet { name: "HF_HOME".to_owned() },
        Problem::Unresolved { name: name() },
        Problem::NoHome,
        Problem::Absent { fact: Fact::ContainerName },
        Problem::Dash { fact: Fact::RepoUrl },
    ];
    let all = parsed.into_iter().flatten().chain(rendered.into_iter().map(at));
    all.map(|error| Example::of(&error.problem.clone(), error)).collect()
}
