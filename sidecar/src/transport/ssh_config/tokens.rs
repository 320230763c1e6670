//! What `~`, `${NAME}` and `%h` stand for in a configuration.

use std::path::{Path, PathBuf};

/// Where an expansion happens: not every keyword knows every token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// In a path: all tokens, `~` and variables.
    Path,
    /// In a command: `%h`, `%n`, `%p`, `%r` and `%%`; the shell does the rest.
    Command,
}

/// What the tokens of one host stand for (`ssh_config(5)`, "TOKENS").
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    /// `~` and `%d`.
    pub(super) home: &'a Path,
    /// `%n`.
    pub(super) alias: &'a str,
    /// `%h`.
    pub(super) hostname: &'a str,
    /// `%k`: the alias of the host key, else `%n`.
    pub(super) key_alias: &'a str,
    /// `%p`.
    pub(super) port: u16,
    /// `%r`.
    pub(super) user: &'a str,
    /// `%u`.
    pub(super) local_user: &'a str,
    /// `%l`, and up to its first dot `%L`.
    pub(super) local_host: &'a str,
    /// `%j`: the list of jumps, else nothing.
    pub(super) jump: &'a str,
    /// `${NAME}`.
    pub(super) variable: fn(&str) -> Option<String>,
}

impl Tokens<'_> {
    /// Returns the path that a text stands for, or why there is none, as the end of a sentence.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        let text = self.expand(text, Where::Path)?;
        Ok(tilde(&text, self.home))
    }

    /// Returns the text with all tokens expanded, or why that cannot be, as the end of a sentence.
    pub(super) fn expand(&self, text: &str, place: Where) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            expanded.push_str(&rest[..at]);
            let (sign, after) = rest[at..].split_at(1);
            rest = match (sign, after.strip_prefix('{')) {
                ("$", Some(name)) if place == Where::Path => {
                    let (name, after) = name.split_once('}').ok_or("it holds `${` without `}`")?;
                    let value = (self.variable)(name);
                    expanded.push_str(&value.ok_or_else(|| format!("the variable `{name}` is not set"))?);
                    after
                }
                ("$", _) => {
                    expanded.push('$');
                    after
                }
                _ => {
                    let mut letters = after.chars();
                    self.token(letters.next().ok_or("it ends in a lone `%`")?, place, &mut expanded)?;
                    letters.as_str()
                }
            };
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn token(&self, token: char, place: Where, expanded: &mut String) -> Result<(), String> {
        let value = match (token, place) {
            ('%', _) => "%",
            ('h', _) => self.hostname,
            ('n', _) => self.alias,
            ('p', _) => &self.port.to_string(),
            ('r', _) => self.user,
            ('d', Where::Path) => &self.home.to_string_lossy(),
            ('i', Where::Path) => &user_number().ok_or("it holds `%i`, and there are no user numbers here")?,
            ('j', Where::Path) => self.jump,
            ('k', Where::Path) => self.key_alias,
            ('L', Where::Path) => self.local_host.split('.').next().unwrap_or_default(),
            ('l', Where::Path) => self.local_host,
            ('u', Where::Path) => self.local_user,
            _ => return Err(format!("it holds the token `%{token}`, which is not understood")),
        };
        expanded.push_str(value);
        Ok(())
    }
}

/// Returns the path with a leading `~` as `home`; `~name` stays, since other people's homes are not looked up.
pub(super) fn tilde(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with(['/', '\\']) => home.join(rest.trim_start_matches(['/', '\\'])),
        Some(_) | None => PathBuf::from(text),
    }
}

#[cfg(unix)]
fn user_number() -> Option<String> {
    Some(rustix::process::getuid().as_raw().to_string())
}

#[cfg(not(unix))]
fn user_number() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens<'static> {
        Tokens {
            home: Path::new("/home/ada"),
            alias: "gpu",
            hostname: "gpu.lab",
            key_alias: "gpu-key",
            port: 2222,
            user: "root",
            local_user: "ada",
            local_host: "desk.lab",
            jump: "gate",
            variable: |name| (name == "KEYS").then(|| "/k %h".to_owned()),
        }
    }

    #[test]
    fn paths_are_expanded() {
        let path = |text| tokens().path(text).map(|path| path.to_string_lossy().into_owned());
        let some = |text: &str| Ok(text.to_owned());
        assert_eq!(path("~/.ssh/%n_%r@%h-%p"), some("/home/ada/.ssh/gpu_root@gpu.lab-2222"));
        assert_eq!(path("%d/%u/%L/%l/%k/%j/100%%"), some("/home/ada/ada/desk/desk.lab/gpu-key/gate/100%"));
        // What a variable holds is not expanded again.
        assert_eq!(path("${KEYS}/${KEYS}x"), some("/k %h//k %hx"));
        assert_eq!(path("~bob/x"), some("~bob/x"));
        assert_eq!(path("$KEYS"), some("$KEYS"));
        #[cfg(unix)]
        assert_eq!(path("%i"), some(&rustix::process::getuid().as_raw().to_string()));
    }

    #[test]
    fn what_cannot_be_expanded_is_said() {
        let path = |text| tokens().path(text).expect_err("nothing");
        assert_eq!(path("%Z"), "it holds the token `%Z`, which is not understood");
        assert_eq!(path("a%"), "it ends in a lone `%`");
        assert_eq!(path("${NONE}"), "the variable `NONE` is not set");
        assert_eq!(path("${KEYS"), "it holds `${` without `}`");
    }

    #[test]
    fn a_command_keeps_what_is_the_shells() {
        let command = |text| tokens().expand(text, Where::Command);
        assert_eq!(
            command("nc %h %p ~ ${X} \"$y\" %% %r %n"),
            Ok("nc gpu.lab 2222 ~ ${X} \"$y\" % root gpu".to_owned())
        );
        assert!(command("nc %d").is_err());
    }
}
