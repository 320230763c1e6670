//! The files of a configuration, read with all that they include. What a block is for is not decided here.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::glob;
use super::words::{keyword, words};

/// A larger file is no configuration; one of ten thousand hosts has about 2 MiB.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// How deep files may include files, as in OpenSSH.
const MAX_DEPTH: usize = 16;
/// How many files may be included in all, so that a folder of links to itself ends.
const MAX_FILES: usize = 4096;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its lines in order.
    pub(super) lines: Vec<Line>,
}

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: usize,
    /// What it says.
    pub(super) entry: Entry,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// `Host`: what follows is for these patterns.
    Host(Vec<String>),
    /// `Match`: what follows is for what meets all of these.
    Match(Vec<String>),
    /// `Include`, with the files that it names.
    Include(Vec<Parsed>),
    /// A value.
    Setting {
        /// In lower case.
        keyword: String,
        /// The words behind it; never none.
        words: Vec<String>,
        /// The same as it stands there.
        rest: String,
    },
}

/// Where a file stands, which decides what it includes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// `~`.
    pub(super) home: &'a Path,
    /// What relative paths of `Include` begin at.
    pub(super) folder: &'a Path,
}

/// Reads a file and all that it includes; one that is not there is empty. Blocks.
pub(super) fn read(path: &Path, place: Place<'_>) -> Result<Parsed, ConfigError> {
    Reader { place, files: 0 }.file(path, 0)
}

/// Reads a text as the file at `path`.
pub(super) fn parse(path: &Path, text: &str, place: Place<'_>) -> Result<Parsed, ConfigError> {
    Reader { place, files: 0 }.parse(path, text, 0)
}

struct Reader<'a> {
    place: Place<'a>,
    files: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<Parsed, ConfigError> {
        self.files += 1;
        if depth > MAX_DEPTH || self.files > MAX_FILES {
            let source = io::Error::other("too many files include each other");
            return Err(ConfigError::File { file: path.to_owned(), source });
        }
        self.parse(path, &text_of(path)?, depth)
    }

    fn parse(&mut self, path: &Path, text: &str, depth: usize) -> Result<Parsed, ConfigError> {
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let Some((keyword, rest)) = keyword(line) else { continue };
            let wrong = |message: String| ConfigError::Line { file: path.to_owned(), line: number, message };
            // What a command holds is the shell's to read.
            let raw =
                matches!(keyword.as_str(), "proxycommand" | "knownhostscommand" | "localcommand" | "remotecommand");
            let words = if raw { Some(vec![rest.to_owned()]) } else { words(rest) };
            let words = words.ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
            if words.first().is_none_or(|word| raw && word.is_empty()) {
                return Err(wrong(format!("no argument after `{keyword}`")));
            }
            let entry = match keyword.as_str() {
                "host" => Entry::Host(words),
                "match" => Entry::Match(words),
                "include" => Entry::Include(self.included(&words, depth)?),
                _ => Entry::Setting { keyword, words, rest: rest.to_owned() },
            };
            lines.push(Line { number, entry });
        }
        Ok(Parsed { path: path.to_owned(), lines })
    }

    fn included(&mut self, patterns: &[String], depth: usize) -> Result<Vec<Parsed>, ConfigError> {
        let mut files = Vec::new();
        for pattern in patterns {
            let path = super::tokens::tilde(pattern, self.place.home);
            for path in found(&self.place.folder.join(path)) {
                files.push(self.file(&path, depth + 1)?);
            }
        }
        Ok(files)
    }
}

/// Returns what a file holds; one that is not there, and a folder, hold nothing.
fn text_of(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::File { file: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Ok(String::new());
    }
    if is_open_to_others(&metadata) {
        return Err(ConfigError::Open { file: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns whether anybody but its owner and its group may change a file, or a stranger owns it. A group may: where
/// each user has a group alone, that is how files are made.
#[cfg(unix)]
fn is_open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own = [0, rustix::process::getuid().as_raw()].contains(&metadata.uid());
    !own || metadata.is_file() && metadata.mode() & 0o002 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

/// Returns the files that a path with `*`, `?` and `[…]` in its components stands for, in order, as `glob(7)` finds them.
fn found(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in path.components() {
        let name = component.as_os_str().to_string_lossy();
        if !glob::is_pattern(&name) {
            for path in &mut found {
                path.push(component);
            }
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
            let names = entries.map(|entry| entry.file_name());
            let fits = |entry: &std::ffi::OsString| {
                let entry = entry.to_string_lossy();
                // A hidden file is meant only by a pattern that says so.
                (name.starts_with('.') || !entry.starts_with('.')) && glob::matches(&entry, &name)
            };
            let mut names: Vec<_> = names.filter(fits).take(MAX_FILES).collect();
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
        }
        next.truncate(MAX_FILES + 1);
        found = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        folder
    }

    fn read_in(folder: &tempfile::TempDir) -> Result<Parsed, ConfigError> {
        let ssh = folder.path().join(".ssh");
        read(&ssh.join("config"), Place { home: folder.path(), folder: &ssh })
    }

    #[test]
    fn includes_are_found_relative_by_home_and_by_pattern() {
        let folder = folder(&[
            (".ssh/config", "Include one ~/two conf.d/*.conf none\nHost a\n"),
            (".ssh/one", "Port 1\n"),
            ("two", "# nothing\n"),
            (".ssh/conf.d/b.conf", "Port 4"),
            (".ssh/conf.d/a.conf", "Port 3"),
            (".ssh/conf.d/.hidden.conf", "Port 5"),
            (".ssh/conf.d/c.txt", "Port 6"),
            (".ssh/conf.d/folder.conf/x", "Port 7"),
        ]);
        let parsed = read_in(&folder).expect("a configuration");
        let Entry::Include(files) = &parsed.lines[0].entry else { panic!("{parsed:?}") };
        let names: Vec<_> = files.iter().map(|file| file.path.file_name().expect("a name").to_owned()).collect();
        assert_eq!(names, ["one", "two", "a.conf", "b.conf", "folder.conf", "none"]);
        assert_eq!(parsed.lines[1].entry, Entry::Host(vec!["a".to_owned()]));
    }

    #[test]
    fn files_that_include_each_other_are_refused() {
        let folder = folder(&[(".ssh/config", "Include ~/.ssh/conf*\n")]);
        assert!(matches!(read_in(&folder), Err(ConfigError::File { .. })));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let folder = folder(&[(".ssh/config", "Include bad\n"), (".ssh/bad", "\nUser \"x\n")]);
        let error = read_in(&folder).expect_err("a quote is open");
        assert!(matches!(&error, ConfigError::Line { file, line: 2, .. } if file.ends_with("bad")), "{error}");
        let folder = self::folder(&[(".ssh/config", "Host a\nProxyCommand\n")]);
        assert!(matches!(read_in(&folder), Err(ConfigError::Line { line: 2, .. })));
        assert_eq!(read_in(&tempfile::tempdir().expect("a folder")).expect("empty").lines, []);
    }
}
