//! What the files of a configuration hold for one host, for machines without an `ssh` to ask.
//!
//! `Match exec` is never run, and a name is never made canonical: both are told.

use super::error::ConfigError;
use super::file::{Entry, Parsed};
use super::pattern;
use super::values::{PATH_LISTS, Values, seconds};

/// Keywords that have one value for each line that names them.
const MANY: [&str; 2] = ["certificatefile", "identityfile"];

/// What a switch is set to.
const SWITCH: [&str; 4] = ["yes", "no", "true", "false"];
/// The one port that has a name everywhere.
const SSH_SERVICE: &str = "ssh";
/// Criteria of `Match` that take a value, those of newer versions of `ssh` among them.
const CRITERIA: [&str; 10] = [
    "command",
    "exec",
    "host",
    "localnetwork",
    "localuser",
    "originalhost",
    "sessiontype",
    "tagged",
    "user",
    "version",
];
/// Keywords of ours that a second word makes an error.
const ONE_WORD: [&str; 20] = [
    "addressfamily",
    "batchmode",
    "bindaddress",
    "certificatefile",
    "connecttimeout",
    "hashknownhosts",
    "hostkeyalias",
    "hostname",
    "identitiesonly",
    "identityagent",
    "identityfile",
    "kbdinteractiveauthentication",
    "numberofpasswordprompts",
    "passwordauthentication",
    "port",
    "preferredauthentications",
    "pubkeyauthentication",
    "revokedhostkeys",
    "serveraliveinterval",
    "user",
];

/// What a question to the files is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The host as typed.
    pub(super) alias: &'a str,
    /// Who asks.
    pub(super) local_user: &'a str,
}

/// Returns what the files hold for a host, the first value of each keyword winning over later ones and `given` over all.
/// What is not honoured is added to `warnings`.
pub(super) fn evaluate(
    files: &[Parsed],
    question: Question<'_>,
    given: Values,
    warnings: &mut Vec<String>,
) -> Result<Values, ConfigError> {
    let mut pass = Pass {
        question,
        host: question.alias.to_owned(),
        is_final: false,
        wants_final: false,
        values: given,
        warnings,
    };
    pass.run(files)?;
    let hostname = pass.hostname();
    if pass.wants_final {
        pass.values.replace("hostname", hostname.clone());
        pass.host.clone_from(&hostname);
        pass.is_final = true;
        pass.run(files)?;
    }
    if pass.values.first("canonicalizehostname").is_some_and(|value| !matches!(value, "no" | "false" | "none")) {
        pass.warn("`CanonicalizeHostname` is not honoured without an `ssh` on the `PATH`.");
    }
    let Pass { mut values, .. } = pass;
    values.replace("hostname", hostname);
    values.set("user", vec![question.local_user.to_owned()]);
    Ok(values)
}

/// One reading of the files; `Match final` wants a second one.
struct Pass<'a> {
    question: Question<'a>,
    /// What `Host` patterns are compared with.
    host: String,
    is_final: bool,
    wants_final: bool,
    values: Values,
    warnings: &'a mut Vec<String>,
}

impl Pass<'_> {
    fn run(&mut self, files: &[Parsed]) -> Result<(), ConfigError> {
        // A block ends with its file.
        files.iter().try_for_each(|file| self.file(file, true, false))
    }

    /// Goes through one file. `active` says whether lines count before its first block, `never` that none ever do.
    fn file(&mut self, file: &Parsed, mut active: bool, never: bool) -> Result<(), ConfigError> {
        for line in &file.lines {
            let wrong = |message: String| ConfigError::Line { file: file.path.clone(), line: line.number, message };
            match &line.entry {
                Entry::Host(patterns) => {
                    active = pattern::matches_any(&self.host, patterns.iter().map(String::as_str)) && !never;
                }
                Entry::Match(criteria) => active = self.meets(criteria).map_err(wrong)? && !never,
                Entry::Include(files) => {
                    for included in files {
                        self.file(included, active, never || !active)?;
                    }
                }
                Entry::Setting { keyword, words, rest } => {
                    check(keyword, words).map_err(wrong)?;
                    if active {
                        self.set(keyword, words, rest);
                    }
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, keyword: &str, words: &[String], rest: &str) {
        let keyword = match keyword {
            "challengeresponseauthentication" | "skeyauthentication" | "tisauthentication" => {
                "kbdinteractiveauthentication"
            }
            other => other,
        };
        match keyword {
            _ if MANY.contains(&keyword) => self.values.add(keyword, words[0].clone()),
            _ if PATH_LISTS.contains(&keyword) => self.values.set(keyword, words.to_vec()),
            // Whichever of the two comes first wins over the other; but `ProxyJump none` wins over jumps alone.
            "proxyjump" if !self.values.has("proxycommand") => self.values.set(keyword, vec![words[0].clone()]),
            "proxycommand" if self.values.first("proxyjump").is_none_or(|jump| jump.eq_ignore_ascii_case("none")) => {
                self.values.set(keyword, vec![rest.to_owned()]);
            }
            "proxyjump" | "proxycommand" => {}
            "port" if words[0] == SSH_SERVICE => self.values.set(keyword, vec![super::PORT.to_string()]),
            _ => self.values.set(keyword, vec![words[0].clone()]),
        }
    }

    fn warn(&mut self, warning: &str) {
        if !self.warnings.iter().any(|there| there == warning) {
            self.warnings.push(warning.to_owned());
        }
    }

    /// Returns the name to dial as far as it is known, in lower case as `ssh` has it.
    fn hostname(&self) -> String {
        let name = self.values.first("hostname").unwrap_or(&self.host);
        let name = name.replace("%%", "\0").replace("%h", &self.host).replace('\0', "%");
        // An address is left as it was written.
        if name.parse::<std::net::Ipv6Addr>().is_ok() { name } else { name.to_lowercase() }
    }

    /// Returns whether every criterion of a `Match` line is met.
    fn meets(&mut self, criteria: &[String]) -> Result<bool, String> {
        let mut met = true;
        let mut words = criteria.iter();
        if let Some(at) = criteria.iter().position(|word| word.trim_start_matches('!').eq_ignore_ascii_case("all"))
            && at + 1 < criteria.len()
        {
            return Err("nothing may follow `all` in a `Match` line".to_owned());
        }
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let negated = name.starts_with('!');
            let name = name.trim_start_matches('!').to_lowercase();
            let found = match name.as_str() {
                "all" => true,
                "canonical" => self.is_final,
                "final" => {
                    self.wants_final = true;
                    self.is_final
                }
                _ if !CRITERIA.contains(&name.as_str()) => return Err(format!("`Match {name}` is not known")),
                _ => {
                    let value = value.filter(|value| !value.is_empty()).or_else(|| words.next().cloned());
                    let value = value.ok_or_else(|| format!("`Match {name}` needs a value"))?;
                    let Some(found) = self.fits(&name, &value) else {
                        self.warn(&format!(
                            "`Match {name}` is not evaluated without an `ssh` on the `PATH`; its block is left out."
                        ));
                        met = false;
                        continue;
                    };
                    found
                }
            };
            met &= found != negated;
        }
        Ok(met)
    }

    /// Returns whether a value fits one of a criterion's patterns, `None` for a criterion that is not evaluated.
    fn fits(&self, name: &str, value: &str) -> Option<bool> {
        let text = match name {
            "host" => self.hostname(),
            "originalhost" => self.question.alias.to_lowercase(),
            "user" => self.values.first("user").unwrap_or(self.question.local_user).to_owned(),
            "localuser" => self.question.local_user.to_owned(),
            _ => return None,
        };
        let patterns = if name.ends_with("host") { value.to_lowercase() } else { value.to_owned() };
        Some(pattern::matches_any(&text, patterns.split(',')))
    }
}

/// Returns what is wrong with a value, of those that would be misunderstood in silence otherwise.
fn check(keyword: &str, words: &[String]) -> Result<(), String> {
    let value = words.first().map_or("", String::as_str);
    let is_one_of = |names: &[&str]| names.iter().any(|name| value.eq_ignore_ascii_case(name));
    let good = match keyword {
        "port" => value == SSH_SERVICE || value.parse::<u16>().is_ok_and(|port| port > 0),
        "connecttimeout" | "serveraliveinterval" => value == "none" || seconds(value).is_some(),
        "numberofpasswordprompts" => value.parse::<u32>().is_ok(),
        "addressfamily" => is_one_of(&["any", "inet", "inet6"]),
        "stricthostkeychecking" => is_one_of(&["ask", "accept-new", "off"]) || is_one_of(&SWITCH),
        "pubkeyauthentication" => is_one_of(&["unbound", "host-bound"]) || is_one_of(&SWITCH),
        "batchmode"
        | "challengeresponseauthentication"
        | "hashknownhosts"
        | "identitiesonly"
        | "kbdinteractiveauthentication"
        | "passwordauthentication" => is_one_of(&SWITCH),
        _ => true,
    };
    if !good {
        return Err(format!("`{keyword}` cannot be `{value}`"));
    }
    if words.len() > 1 && ONE_WORD.contains(&keyword) {
        return Err(format!("`{keyword}` takes one value; put quotes around one with blanks"));
    }
    Ok(())
}

/// Returns the names of `Host` lines that are no patterns, in order and once each.
pub(super) fn aliases(files: &[Parsed]) -> Vec<String> {
    let mut names = Vec::new();
    for line in files.iter().flat_map(|file| &file.lines) {
        let more = match &line.entry {
            Entry::Host(patterns) => patterns.iter().filter(|name| pattern::is_plain(name)).cloned().collect(),
            Entry::Include(files) => aliases(files),
            Entry::Match(_) | Entry::Setting { .. } => Vec::new(),
        };
        for name in more {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::file::Line;
    use super::super::words;
    use super::*;

    fn parsed(text: &str) -> Parsed {
        let line = |(index, line)| {
            let (keyword, rest) = words::keyword(line)?;
            let words = words::words(rest).expect("closed quotes");
            let entry = match keyword.as_str() {
                "host" => Entry::Host(words),
                "match" => Entry::Match(words),
                _ => Entry::Setting { keyword, words, rest: rest.to_owned() },
            };
            Some(Line { number: index + 1, entry })
        };
        Parsed { path: "config".into(), lines: text.lines().enumerate().filter_map(line).collect() }
    }

    #[track_caller]
    fn check_host(alias: &str, text: &str, expected: &[(&str, &str)]) -> Vec<String> {
        let mut warnings = Vec::new();
        let question = Question { alias, local_user: "ada" };
        let values = evaluate(&[parsed(text)], question, Values::default(), &mut warnings).expect("a good file");
        for (keyword, value) in expected {
            assert_eq!(values.all(keyword).join(" "), *value, "{keyword}");
        }
        warnings
    }

    #[test]
    fn the_first_value_wins_and_keys_add_up() {
        let text = "User one\nIdentityFile a\nHost gpu* !gpu9\nUser two\nPort 7\nIdentityFile b\nIdentityFile a\n\
                    Host *\nPort 8\nProxyJump x\nProxyCommand y\n";
        let common = [("user", "one"), ("proxyjump", "x"), ("proxycommand", "")];
        check_host("gpu1", text, &[&common[..], &[("port", "7"), ("identityfile", "a b")]].concat());
        check_host("gpu9", text, &[&common[..], &[("port", "8"), ("identityfile", "a")]].concat());
    }

    #[test]
    fn match_lines_are_met() {
        let text = "Host a\nHostName %h.Lab\nMatch host a.lab !user bob\nPort 1\nMatch originalhost=b,c localuser ada\n\
                    Port 2\nMatch host b\nUser bob\nMatch user bob\nIdentityFile bobs\nMatch all\nUser eve\n";
        check_host("a", text, &[("port", "1"), ("hostname", "a.lab"), ("user", "eve")]);
        check_host("b", text, &[("port", "2"), ("user", "bob"), ("identityfile", "bobs")]);
        check_host("z", text, &[("port", ""), ("user", "eve"), ("hostname", "z")]);
    }

    #[test]
    fn a_final_match_sees_the_name_that_was_found() {
        let text = "Match final host x.lab\nUser last\nHost x\nHostName x.lab\nHost x.lab\nPort 9\n";
        check_host("x", text, &[("user", "last"), ("port", "9")]);
        check_host("y", text, &[("user", "ada"), ("port", "")]);
    }

    #[test]
    fn a_command_is_not_run_and_that_is_told() {
        let warnings =
            check_host("x", "Match exec \"touch /x\"\nUser eve\nMatch !exec \"x\"\nUser eve\n", &[("user", "ada")]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("`Match exec`"));
        assert_eq!(check_host("x", "CanonicalizeHostname yes\n", &[]).len(), 1);
    }

    #[test]
    fn a_bad_value_is_told_with_its_line_wherever_it_stands() {
        for text in [
            "Host a\nPort ssl",
            "\nUser a b",
            "\nBatchMode maybe",
            "\nMatch colour red",
            "\nPort 0",
            "\nConnectTimeout soon",
            "Host z\nMatch host",
        ] {
            let question = Question { alias: "x", local_user: "ada" };
            let result = evaluate(&[parsed(text)], question, Values::default(), &mut Vec::new());
            assert!(matches!(result, Err(ConfigError::Line { line: 2, .. })), "{text}: {result:?}");
        }
    }

    #[test]
    fn only_names_can_be_imported() {
        assert_eq!(aliases(&[parsed("Host a *.lab b !c d?\nMatch host e\nHost a f\n")]), ["a", "b", "f"]);
    }
}
