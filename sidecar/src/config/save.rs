//! Writes configuration files: whole or not at all, one writer at a time, never over what somebody else just wrote.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::ConfigError;
use super::place::{Layer, Place, Source};
use super::problem::Problem;
use super::schema::Document;
use super::setting::Kind;
use super::tree::Node;
use super::{check, edit, layers, spelling, tree};

/// What some editors of other systems begin a file with.
const BYTE_ORDER_MARK: &str = "\u{feff}";
/// Another writer holds the folder for milliseconds; one that was stopped must not hold up everybody.
const LOCKED_WITHIN: Duration = Duration::from_secs(10);
/// How often a folder that is held is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Sets a key in a file, which is made when there is none; returns the value as it was set. Blocks.
pub fn set(layer: Layer, file: &Path, key: &str, value: &str) -> Result<Node, ConfigError> {
    let key = spelling::of_key(key);
    let node = value_of(layer, &key, value)?;
    // A link to a file elsewhere stays one.
    let file = match std::fs::canonicalize(file) {
        Ok(file) => file,
        Err(source) if file.is_symlink() => return Err(ConfigError::Write { path: file.to_owned(), source }),
        Err(_) => file.to_owned(),
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    let failed = |source| ConfigError::Write { path: file.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let lock = lock(folder).map_err(failed)?;
    let source = Source::file(layer, &file);
    let invalid = |problems| ConfigError::Invalid { problems };
    let old = tree::text(&file, &source).map_err(|problem| invalid(vec![problem]))?;
    let is_new = old.is_none();
    let begun = old.unwrap_or_else(|| format!("version: \"{}\"\n", super::units::VERSION));
    let new = edit::set(&begun, &source, &key, &node).map_err(invalid)?;
    // What was wrong before may stay; the change may not be what makes the file wrong.
    let wrong = |text: &str| check::check(tree::parse(text, &source), Document::Project).problems;
    let before = if is_new { Vec::new() } else { wrong(&begun) };
    let caused = wrong(&new).into_iter().filter(|problem| before.iter().all(|known| known.reason != problem.reason));
    let caused: Vec<Problem> = caused.collect();
    if !caused.is_empty() {
        return Err(invalid(caused));
    }
    let mark = if is_marked(&file) { BYTE_ORDER_MARK } else { "" };
    write(&file, &format!("{mark}{new}")).map_err(failed)?;
    drop(lock);
    Ok(node)
}

/// Returns the value that a text is for a key, once it fits.
fn value_of(layer: Layer, key: &str, value: &str) -> Result<Node, ConfigError> {
    let found = Document::Project.find(key).ok_or_else(|| unknown(key))?;
    let said = Place::whole(Source::Flag("VALUE".into()));
    let mut problems = Vec::new();
    let node = layers::value(value, found.kind, &said, &mut problems);
    if matches!(found.kind, Kind::Section(_)) {
        let reason = format!("`{key}` is a section, and has keys of its own");
        let fix = format!("Name one of its keys, as in `mltoolbox-sidecar config get {key}`.");
        problems.push(Problem { place: said.clone(), key: key.to_owned(), reason, fix });
    }
    if let Some(node) = &node {
        let mut root = Node::new(tree::Value::Map(Vec::new()), Place::whole(Source::file(layer, Path::new(""))));
        layers::insert(&mut root, &key.split('.').collect::<Vec<_>>(), node.clone());
        let checked = check::check(tree::Parsed { root: Some(root), problems: Vec::new() }, Document::Project);
        problems.extend(checked.problems);
        let respelled = checked.root.and_then(|root| root.at(key.split('.')).cloned());
        if let Some(node) = respelled.filter(|_| problems.is_empty()) {
            return Ok(node);
        }
    }
    Err(ConfigError::Invalid { problems })
}

/// Returns the error of a key that there is not.
pub fn unknown(key: &str) -> ConfigError {
    let keys = Document::Project.keys();
    let known = keys.iter().map(|(key, _)| key.clone()).filter(|key| !key.contains(['*', '[']));
    let last = key.rsplit('.').next().unwrap_or_default();
    let same = keys.iter().map(|(key, _)| key).find(|known| known.rsplit('.').next() == Some(last)).cloned();
    let instead = match crate::sessions::nearest(key, known).or(same) {
        Some(nearest) => format!("Use `{nearest}` in place of `{key}`."),
        None => "Run `mltoolbox-sidecar config show` to see the keys that hold a value, or read `protocol/config.md`."
            .to_owned(),
    };
    ConfigError::UnknownKey { key: key.to_owned(), instead }
}

/// Writes a file that must not be there yet. Blocks.
pub fn create(file: &Path, text: &str) -> Result<(), ConfigError> {
    let path = || file.to_owned();
    let folder = file.parent().unwrap_or(Path::new("."));
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => ConfigError::Exists { path: path() },
        _ => ConfigError::Write { path: path(), source },
    };
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    draft.write_all(text.as_bytes()).and_then(|()| draft.as_file().sync_all()).map_err(failed)?;
    open_to_all(draft.as_file()).map_err(failed)?;
    draft.persist_noclobber(file).map(drop).map_err(|error| failed(error.error))
}

fn is_marked(file: &Path) -> bool {
    let mut begin = [0; BYTE_ORDER_MARK.len()];
    File::open(file).and_then(|mut file| file.read_exact(&mut begin)).is_ok() && begin == *BYTE_ORDER_MARK.as_bytes()
}

/// Puts a text in the place of a file's, with the file's permissions.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".mltoolbox-").tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    match std::fs::metadata(file) {
        Ok(facts) => draft.as_file().set_permissions(facts.permissions())?,
        Err(_) => open_to_all(draft.as_file())?,
    }
    draft.as_file().sync_all()?;
    draft.persist(file).map(drop).map_err(|error| error.error)
}

/// A draft is its owner's alone, and a new file of a project is for everyone who may read the project.
#[cfg(unix)]
fn open_to_all(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn open_to_all(_: &File) -> std::io::Result<()> {
    Ok(())
}

/// Waits until no other process of ours writes in a folder; held as long as the value lives. A writer holds it for
/// milliseconds.
#[cfg(unix)]
fn lock(folder: &Path) -> std::io::Result<File> {
    let folder = File::open(folder)?;
    let deadline = Instant::now() + LOCKED_WITHIN;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(TRY_AGAIN),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A folder cannot be locked here: two writers at once are kept whole, and the last one wins.
#[cfg(not(unix))]
fn lock(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    Ok(folder.to_owned())
}
