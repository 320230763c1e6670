//! Pure: which paths of the remote a pull is about, and which folders have to be looked into for them.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use protocol::path::RelPath;

use super::PullError;
use crate::sync::ignored::{Verdict, is_never_synced};

/// What is to be brought home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All that is synced; what was removed on the remote is removed here.
    Synced,
    /// What a person names, ignored paths too; nothing is removed here.
    Named,
    /// What the patterns of a pair name, unasked and again and again; nothing is removed here. A folder that is
    /// ignored is looked into only when a pattern leads there by name.
    Automatic,
}

/// A text of the command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    /// The whole folder.
    All,
    /// A path, with all below it.
    Path(RelPath),
    /// A pattern; everything it can match lies below the folder, if one is known.
    Pattern { below: Option<RelPath>, text: String },
}

/// The paths that a pull is about.
#[derive(Clone, Debug)]
pub struct Selection {
    scope: Scope,
    named: Vec<Named>,
    patterns: Gitignore,
}

impl Selection {
    /// Returns all that is synced.
    pub fn synced() -> Self {
        Self { scope: Scope::Synced, named: Vec::new(), patterns: Gitignore::empty() }
    }

    /// Returns what `texts` name: paths, folders, and patterns as in `.gitignore`. One that leads out of the
    /// workspace is refused.
    pub fn named(texts: &[String], automatic: bool) -> Result<Self, PullError> {
        let named = texts.iter().map(|text| understand(text)).collect::<Result<Vec<_>, _>>()?;
        let mut builder = GitignoreBuilder::new("");
        for name in &named {
            if let Named::Pattern { text, .. } = name {
                builder
                    .add_line(None, text)
                    .map_err(|source| PullError::Pattern { text: text.clone(), why: source.to_string() })?;
            }
        }
        let patterns =
            builder.build().map_err(|source| PullError::Pattern { text: texts.join(" "), why: source.to_string() })?;
        Ok(Self { scope: if automatic { Scope::Automatic } else { Scope::Named }, named, patterns })
    }

    /// Returns what kind of selection it is.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Returns whether a path is to be brought home, given what the ignore rules say of it.
    pub fn takes(&self, path: &RelPath, is_folder: bool, verdict: Verdict) -> bool {
        if path.components().any(is_never_synced) {
            return false;
        }
        match self.scope {
            Scope::Synced => verdict == Verdict::Synced,
            Scope::Named | Scope::Automatic => {
                self.named.iter().any(|name| match name {
                    Named::All => true,
                    Named::Path(named) => path.starts_with(named),
                    // A file may be named like a pattern.
                    Named::Pattern { text, .. } => path.as_str() == text,
                }) || self.patterns.matched_path_or_any_parents(path.as_str(), is_folder).is_ignore()
            }
        }
    }

    /// Returns whether something in a folder may have to be brought home.
    pub fn enters(&self, folder: &RelPath, verdict: Verdict) -> bool {
        if folder.components().any(is_never_synced) {
            return false;
        }
        let leads = |to: &RelPath| to.starts_with(folder) || folder.starts_with(to);
        match self.scope {
            Scope::Synced => verdict != Verdict::Ignored,
            Scope::Named | Scope::Automatic => {
                self.takes(folder, true, verdict)
                    || self.named.iter().any(|name| match name {
                        Named::All => true,
                        Named::Path(path) | Named::Pattern { below: Some(path), .. } => leads(path),
                        Named::Pattern { below: None, .. } => self.scope == Scope::Named || verdict != Verdict::Ignored,
                    })
            }
        }
    }

    /// Returns the texts that are the name of exactly one path, as it was given.
    pub fn exact(&self) -> impl Iterator<Item = &RelPath> {
        self.named.iter().filter_map(|name| match name {
            Named::Path(path) => Some(path),
            Named::All | Named::Pattern { .. } => None,
        })
    }
}

fn understand(text: &str) -> Result<Named, PullError> {
    let plain = text.strip_prefix("./").unwrap_or(text);
    let bare = plain.trim_end_matches('/');
    if bare.is_empty() && !text.starts_with('/') || bare == "." {
        return Ok(Named::All);
    }
    let escapes = || PullError::Escapes { text: text.to_owned() };
    if plain.starts_with('/') || plain.starts_with('~') || plain.split('/').any(|name| name == "..") {
        return Err(escapes());
    }
    if !plain.contains(['*', '?', '[', '{', '\\', '!']) {
        return RelPath::new(bare).map(Named::Path).map_err(|_| escapes());
    }
    // As in `.gitignore`, a pattern with a slash in it is about one place, and another one about every folder.
    let is_pattern = |name: &str| name.contains(['*', '?', '[', '{', '\\', '!']);
    let below: Vec<&str> = bare.split('/').take_while(|name| !is_pattern(name)).collect();
    let below = if below.is_empty() { None } else { RelPath::new(below.join("/")).ok() };
    Ok(Named::Pattern { below, text: plain.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a plain path")
    }

    fn named(texts: &[&str], automatic: bool) -> Selection {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Selection::named(&texts, automatic).expect("they can be understood")
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for text in ["/etc/passwd", "../x", "a/../../b", "~/x", "*/../x", "/", "a\0b", "a//b"] {
            Selection::named(&[text.to_owned()], false).expect_err(text);
        }
        Selection::named(&["a{b".to_owned()], false).expect_err("an open brace is no pattern");
    }

    #[test]
    fn a_name_takes_itself_and_all_below_it() {
        let selection = named(&["./runs/1/", "notes.txt"], false);
        for (at, takes) in [("runs/1", true), ("runs/1/a/b.pt", true), ("runs/10", false), ("notes.txt", true)] {
            assert_eq!(selection.takes(&path(at), false, Verdict::Ignored), takes, "{at}");
        }
        assert!(selection.enters(&path("runs"), Verdict::Ignored), "it is on the way");
        assert!(!selection.enters(&path("data"), Verdict::Synced));
    }

    #[test]
    fn what_is_never_synced_is_never_taken() {
        let all = named(&["."], false);
        for at in [".git", ".git/config", "a/.git/x", ".mltoolbox", ".mltoolbox-pull/x"] {
            assert!(!all.takes(&path(at), false, Verdict::Synced) && !all.enters(&path(at), Verdict::Synced), "{at}");
        }
        assert!(all.takes(&path("node_modules/x.js"), false, Verdict::Ignored));
    }

    #[test]
    fn patterns_look_into_ignored_folders_only_when_asked_or_led_there() {
        for (automatic, enters) in [(false, true), (true, false)] {
            let logs = named(&["*.log"], automatic);
            assert!(logs.takes(&path("deep/in/x.log"), false, Verdict::Ignored));
            assert!(!logs.takes(&path("x.txt"), false, Verdict::Synced));
            assert_eq!(logs.enters(&path("node_modules"), Verdict::Ignored), enters);
            assert!(logs.enters(&path("src"), Verdict::Synced));
        }
        let led = named(&["runs/*/metrics.csv"], true);
        assert!(led.enters(&path("runs"), Verdict::Ignored) && led.enters(&path("runs/3"), Verdict::Ignored));
        assert!(!led.enters(&path("data"), Verdict::Synced));
        assert!(led.takes(&path("runs/3/metrics.csv"), false, Verdict::Ignored));
    }

    #[test]
    fn a_file_that_is_named_like_a_pattern_is_found_by_its_name() {
        assert!(named(&["pages/[id].tsx"], false).takes(&path("pages/[id].tsx"), false, Verdict::Synced));
    }

    #[test]
    fn without_names_the_ignore_rules_decide() {
        let synced = Selection::synced();
        assert!(synced.takes(&path("a"), false, Verdict::Synced));
        assert!(!synced.takes(&path("a"), false, Verdict::Ignored) && !synced.enters(&path("a"), Verdict::Ignored));
        assert!(synced.enters(&path("a"), Verdict::Pass));
    }
}
