//! Reads one file of bounded size; what stands in the way is a problem with its place, like any other.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use protocol::error::word;

use super::super::place::{Layer, Place, Source};
use super::super::problem::Problem;
use super::{Parsed, parse};

/// Largest file that is read: a configuration of a thousand keys has a twentieth of it.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Reads and parses a file; `None` when there is none. Blocks.
pub fn load(layer: Layer, path: &Path) -> Option<Parsed> {
    let source = Source::file(layer, path);
    match text(path, &source) {
        Ok(Some(text)) => Some(parse(&text, &source)),
        Ok(None) => None,
        Err(problem) => Some(Parsed { root: None, problems: vec![problem] }),
    }
}

/// Returns the text of a file; `None` when there is none. Blocks, but not on what is no file.
pub(crate) fn text(path: &Path, source: &Source) -> Result<Option<String>, Problem> {
    let whole = |reason: String, fix: String| Problem::of_file(Place::whole(source.clone()), reason, fix);
    let shown = word(path.display());
    let refused = |error: std::io::Error| {
        let fix = match error.kind() {
            ErrorKind::PermissionDenied => {
                format!("Run `ls -ld {shown}` to see whose it is, and `chmod u+r {shown}` if it is yours.")
            }
            _ => format!("Run `ls -l {shown}` to see what stands there."),
        };
        whole(format!("the file cannot be read: {}", error.kind()), fix)
    };
    let facts = match std::fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    if facts.is_dir() {
        let fix = format!("Run `mv {shown} {shown}.d`, then write a file in its place.");
        return Err(whole("a folder stands where a file is looked for".to_owned(), fix));
    }
    // A pipe or a device would keep us waiting, or never end.
    if !facts.is_file() {
        let fix = format!("Run `ls -l {shown}` to see what it is, and write a plain file in its place.");
        return Err(whole("this is no plain file".to_owned(), fix));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(refused)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!("the file is larger than {} KiB", MAX_BYTES / 1024);
        return Err(whole(
            reason,
            format!("Run `head -c 300 {shown}` to see what it is; a configuration is far smaller."),
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))),
        Err(error) => Err(not_utf8(error.as_bytes(), error.utf8_error().valid_up_to(), source, &shown)),
    }
}

/// Returns the problem of a byte that is no UTF-8, with its line and column.
fn not_utf8(bytes: &[u8], valid: usize, source: &Source, shown: &str) -> Problem {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let byte = bytes.get(valid).copied().unwrap_or_default();
    let place = Place { source: source.clone(), line, column };
    let fix = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        format!("Run `iconv -f UTF-16 -t UTF-8 {shown} > new.yaml`, then put the new file in its place.")
    } else {
        format!(
            "Write the letter anew and save the file as UTF-8; `iconv -f LATIN1 -t UTF-8 {shown}` shows it converted."
        )
    };
    Problem::of_file(place, format!("the byte 0x{byte:02x} is no UTF-8"), fix)
}
