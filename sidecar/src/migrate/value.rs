//! Pure: values in the notation of the new file, and which of them look like secrets.

use crate::dotenv::template::{Part, Rule, Template};

/// Returns `template` in the notation of the new file, or why it has no form there.
///
/// `known` says, in that notation, what the files themselves set; all else is left to the environment.
pub(super) fn converted(template: &Template, known: &dyn Fn(&str) -> Option<String>) -> Result<String, &'static str> {
    template
        .parts()
        .iter()
        .map(|part| match part {
            Part::Text(text) => Ok(escaped(text)),
            Part::Variable { name, rule } => variable(name, rule, known),
        })
        .collect()
}

fn variable(name: &str, rule: &Rule, known: &dyn Fn(&str) -> Option<String>) -> Result<String, &'static str> {
    match (rule, known(name)) {
        (Rule::Value, Some(value)) => Ok(value),
        (Rule::Otherwise { or_empty, otherwise }, Some(value)) => {
            if *or_empty && value.is_empty() {
                converted(otherwise, known)
            } else {
                Ok(value)
            }
        }
        (Rule::Instead { or_empty, instead }, Some(value)) => {
            if *or_empty && value.is_empty() {
                Ok(String::new())
            } else {
                converted(instead, known)
            }
        }
        (Rule::Required { or_empty, .. }, Some(value)) => {
            let is_missing = *or_empty && value.is_empty();
            if is_missing { Err("it needs a variable that is empty in `.env`") } else { Ok(value) }
        }
        (Rule::Value, None) if name == "PWD" => Ok(".".to_owned()),
        (Rule::Value, None) if name == "HOME" => Ok("${HOME}".to_owned()),
        (Rule::Value, None) => Ok(format!("${{env:{name}:}}")),
        (Rule::Required { .. }, None) => Ok(format!("${{env:{name}}}")),
        (Rule::Otherwise { otherwise, .. }, None) => {
            let otherwise = converted(otherwise, known)?;
            if otherwise.contains(['}', '$']) {
                return Err("what its `${…:-…}` falls back to holds a brace, a dollar or a variable");
            }
            Ok(format!("${{env:{name}:{otherwise}}}"))
        }
        (Rule::Instead { .. }, None) => Err("there is no form for `${…:+…}`"),
    }
}

/// Returns `text` so that the new file means just that text.
pub(super) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// Returns `text` as a project's name: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
pub(super) fn name(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name: String = text.chars().map(|letter| if plain(letter) { letter } else { '-' }).take(128).collect();
    let name = name.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    if name.is_empty() { "project".to_owned() } else { name.to_owned() }
}

/// Returns the name that the secret of a variable has in the store.
pub(super) fn secret_name(variable: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name = variable.to_ascii_lowercase();
    let name: String = name.chars().map(|letter| if plain(letter) { letter } else { '_' }).take(120).collect();
    if name.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_') {
        name
    } else {
        format!("_{name}")
    }
}

/// Words that make a name that of a secret, whatever its value.
const SECRET_WORDS: [&str; 12] = [
    "CREDENTIAL",
    "CREDENTIALS",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PAT",
    "PWD",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "WEBHOOK",
];

/// What words end with that make a name that of a secret.
const COMPOUND_ENDS: [&str; 9] =
    ["CREDENTIAL", "CREDENTIALS", "PASS", "PASSPHRASE", "PASSWD", "PASSWORD", "SECRET", "TOKEN", "WEBHOOK"];

/// Words that end so and mean something else.
const PLAIN_WORDS: [&str; 5] = ["BYPASS", "COMPASS", "OVERPASS", "TRESPASS", "UNDERPASS"];

/// Words that make the word `KEY` behind them a secret one.
const SECRET_KEYS: [&str; 9] =
    ["ACCESS", "ACCOUNT", "API", "APP", "AUTH", "ENCRYPTION", "PRIVATE", "SECRET", "SIGNING"];

/// Words that end the name of where something is, or how much there is of it, rather than of the thing itself.
const PLACES: [&str; 14] = [
    "COUNT", "DIR", "ENABLED", "EXPIRY", "FILE", "FOLDER", "HOST", "ID", "LENGTH", "LIMIT", "NAME", "PATH", "TTL",
    "USER",
];

/// What tokens of well-known services begin with.
const TOKEN_BEGINNINGS: [&str; 17] = [
    "-----BEGIN ",
    "AGE-SECRET-KEY-",
    "AIza",
    "AKIA",
    "ASIA",
    "dckr_pat_",
    "eyJhbGci",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "hf_",
    "npm_",
    "pypi-",
    "sk-",
    "xox",
];

/// Returns whether the value of a variable looks like a secret, by the variable's name or by itself.
pub(super) fn looks_secret(name: &str, value: &str) -> bool {
    let value = value.trim();
    if value.is_empty() || is_setting(value) {
        return false;
    }
    names_secret(name, value)
        || TOKEN_BEGINNINGS.iter().any(|beginning| begins_token(value, beginning))
        || has_password(value)
        || has_secret_part(value)
        || is_webhook(value)
        || looks_random(value)
}

fn names_secret(name: &str, value: &str) -> bool {
    let words = words(name);
    let Some((last, before)) = words.split_last() else { return false };
    // The folder that a shell is in.
    let is_folder = matches!(name, "PWD" | "OLDPWD");
    if is_folder || PLACES.contains(&last.as_str()) || (last == "CREDENTIALS" && is_file(value)) {
        return false;
    }
    let is_key = last == "KEY" || last == "KEYS";
    let is_secret_key = is_key && before.iter().any(|word| SECRET_KEYS.contains(&word.as_str()));
    // The key of something that is not known: a long word without spaces is one.
    let is_long_key = is_key && !before.is_empty() && value.len() >= 16 && !value.contains(char::is_whitespace);
    is_secret_key || is_long_key || words.iter().any(|word| is_secret_word(word))
}

/// Returns the words of a name in capitals: `dbPassword` and `DB_PASSWORD` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        if !letter.is_ascii_alphanumeric() || (was_small && letter.is_ascii_uppercase()) {
            words.push(String::new());
        }
        if letter.is_ascii_alphanumeric() {
            words.last_mut().expect("there is one").push(letter.to_ascii_uppercase());
        }
        was_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a word is that of a secret, or ends as one that was written together with others: `PGPASSWORD`, `SECRETKEY`.
fn is_secret_word(word: &str) -> bool {
    let is_compound = !PLAIN_WORDS.contains(&word) && COMPOUND_ENDS.iter().any(|end| word.ends_with(end));
    let key = word.strip_suffix('S').unwrap_or(word).strip_suffix("KEY");
    SECRET_WORDS.contains(&word)
        || is_compound
        || key.is_some_and(|kind| SECRET_KEYS.iter().any(|word| kind.ends_with(word)))
}

/// Whether it is the path of a file with an ending.
fn is_file(value: &str) -> bool {
    let name = value.rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map(|(_, ending)| ending).unwrap_or_default();
    value.starts_with(['/', '~', '.']) && matches!(ending.len(), 1..=5) && ending.chars().all(char::is_alphanumeric)
}

/// Whether a part of it gives a secret a name: `Server=db;AccountKey=…`, `https://example.org/?token=…`.
fn has_secret_part(value: &str) -> bool {
    let parts = value.split([';', '&', '?']).filter_map(|part| part.trim().split_once('='));
    parts.into_iter().any(|(name, part)| {
        !name.contains(char::is_whitespace) && !part.is_empty() && !is_setting(part) && names_secret(name, part)
    })
}

/// Whether it is an address that lets whoever knows it write: there is no other password.
fn is_webhook(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    rest.is_some_and(|rest| rest.starts_with("hooks.") || rest.contains("webhook"))
}

/// Whether a value is a switch, a number of a setting, or a word that stands for a value to be filled in.
fn is_setting(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    matches!(lower.as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "null" | "0" | "1")
}

fn begins_token(value: &str, beginning: &str) -> bool {
    value.strip_prefix(beginning).is_some_and(|rest| rest.len() >= 8)
}

/// Whether it is an address with a password in it: `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else { return false };
    let is_scheme =
        !scheme.is_empty() && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+.-".contains(letter));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let password = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    is_scheme && password.is_some_and(|password| !password.is_empty())
}

/// Whether it is a long word of capitals, small letters and digits in no order: what a generator makes.
fn looks_random(value: &str) -> bool {
    /// Bits per letter; words and paths have about three.
    const ENTROPY: f64 = 4.2;
    /// Of 32 random letters five are digits; a word has a year or a number at its end.
    const DIGITS: usize = 3;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "+/=_-".contains(letter);
    let is_mixed = value.contains(|letter: char| letter.is_ascii_uppercase())
        && value.contains(|letter: char| letter.is_ascii_lowercase())
        && value.chars().filter(char::is_ascii_digit).count() >= DIGITS;
    value.len() >= 32 && value.chars().all(plain) && !value.contains('/') && is_mixed && entropy(value) > ENTROPY
}

/// Returns Shannon's entropy of the letters, in bits per letter.
#[allow(clippy::cast_precision_loss)] // Values have at most a megabyte.
fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    value.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum()
}
