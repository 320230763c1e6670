//! How what we keep beside a root is named and written: the words that whoever writes there has to agree on, be it
//! the agent or a sidecar that has only SFTP. Data alone, no I/O.

use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the side directory inside a root.
pub const INSIDE: &str = ".mltoolbox";
/// Format of [`IDENTITY`] and [`LEASE`].
pub const FORMAT: u32 = 1;
/// File with the [`Identity`].
pub const IDENTITY: &str = "root.json";
/// File with the [`LeaseRecord`].
pub const LEASE: &str = "lease.json";
/// Longest [`IDENTITY`] or [`LEASE`] that is read, in bytes.
pub const MAX_RECORD: u64 = 64 * 1024;
/// Folders of the side directory, parents first.
pub const FOLDERS: [&str; 4] = ["tmp", "trash", REMOVED, REPLACED];
/// Where removed files go, below the side directory.
pub const REMOVED: &str = "trash/removed";
/// Where replaced versions go, below the side directory.
pub const REPLACED: &str = "trash/replaced";
/// How long anything in the trash is kept.
pub const KEEP: Duration = Duration::from_hours(24);
/// Most bytes of replaced versions; the oldest go first.
pub const REPLACED_CAP: u64 = 1 << 30;
/// Most bytes of removed files; nothing more is removed above it.
pub const REMOVED_CAP: u64 = 4 << 30;
/// Longest file name in bytes.
const MAX_NAME: usize = 255;

/// Which folder a copy id was given to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// [`FORMAT`].
    pub version: u32,
    /// The id.
    pub copy: String,
    /// Inode number; 0 when it was written over SFTP, which tells none.
    pub inode: u64,
    /// Device number; 0 likewise.
    pub device: u64,
    /// Creation time in nanoseconds, where the file system knows it. An inode number alone comes back
    /// when a folder is deleted and made again.
    pub born: Option<i64>,
}

/// Who may change a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// [`FORMAT`].
    pub version: u32,
    /// The holder's id.
    pub holder: String,
    /// The holder's name for people.
    pub label: String,
    /// Seconds since the Unix epoch.
    pub since: u64,
}

/// Returns what a record holds, and nothing when it is no record at all (it is then written anew); an error is the
/// version of a record that a newer program wrote.
pub fn record<T: DeserializeOwned>(text: &[u8]) -> Result<Option<T>, u32> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    match serde_json::from_slice::<Version>(text) {
        Ok(Version { version }) if version > FORMAT => Err(version),
        Ok(_) => Ok(serde_json::from_slice(text).ok()),
        Err(_) => Ok(None),
    }
}

/// Returns whether a file of `size` bytes may still be added to a bin of `cap` bytes that holds `held`. One that is
/// larger than the limit may, when nothing else is held: refusing it would leave no way out.
pub fn has_room(held: u64, size: u64, cap: u64) -> bool {
    held == 0 || held.saturating_add(size) <= cap
}

/// Returns the name of the side directory beside a root called `name`.
pub fn beside(name: &str) -> String {
    format!(".{name}.mltoolbox")
}

/// Returns the `number`th name for the shelf of a batch that begins at `time`.
pub fn shelf(time: SystemTime, number: u64) -> String {
    format!("{}-{number}", super::utc::compact(time))
}

/// Returns the `number`th name under which a version of `name` is kept that turned up at `time`.
pub fn conflict_name(name: &str, time: SystemTime, number: u32) -> String {
    let time = super::utc::compact(time);
    let suffix = match number {
        1 => format!(".mltoolbox-conflict-{time}"),
        _ => format!(".mltoolbox-conflict-{time}-{number}"),
    };
    let room = MAX_NAME - suffix.len();
    let end = (0..=room.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{suffix}", &name[..end])
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_record_is_ours_of_a_newer_time_or_none() {
        let read = |text: &str| record::<LeaseRecord>(text.as_bytes()).map(|record| record.map(|record| record.holder));
        assert_eq!(read(r#"{"version":1,"holder":"me","label":"","since":0}"#), Ok(Some("me".to_owned())));
        assert_eq!(read(r#"{"version":2,"owner":"me"}"#), Err(2));
        for text in ["", "{}", "[]", r#"{"version":1}"#, r#"{"version":-1}"#, "\u{0}"] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn a_bin_has_an_end_and_takes_one_file_of_any_size() {
        assert!(has_room(0, u64::MAX, 10) && has_room(5, 5, 10) && has_room(10, 0, 10));
        assert!(!has_room(5, 6, 10) && !has_room(1, u64::MAX, 10));
    }

    #[test]
    fn conflict_names_fit_and_stay_text() {
        assert_eq!(conflict_name("a.py", UNIX_EPOCH, 1), "a.py.mltoolbox-conflict-19700101T000000Z");
        let long = conflict_name(&"ü".repeat(127), UNIX_EPOCH, 12);
        assert!(long.len() <= MAX_NAME && long.ends_with("-12"), "{long}");
    }
}
