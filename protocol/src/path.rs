//! Paths that cannot escape: [`RelPath`] inside a workspace, [`RemotePath`] on a remote.
//!
//! `std::path::Path` always means a path on the machine where the code runs.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name of one path component in bytes (`NAME_MAX` on Linux, macOS and most file systems).
pub const MAX_COMPONENT: usize = 255;
/// Longest relative path in bytes (`PATH_MAX` on Linux).
pub const MAX_PATH: usize = 4096;

/// A path inside a workspace: components joined by `/`, never empty, never `.` or `..`, never absolute.
///
/// Cheap to clone: its text is shared. A sync holds the same path in many places, of a great many paths.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transparent))]
pub struct RelPath(Arc<str>);

/// Why a text is not a path that may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No text at all, or two slashes in a row.
    #[error("the path `{0}` has an empty component")]
    Empty(String),
    /// Starts with a slash.
    #[error("the path `{0}` is absolute")]
    Absolute(String),
    /// Has a component `.` or `..`.
    #[error("the path `{0}` has a `.` or `..` component")]
    Dots(String),
    /// Has a NUL byte.
    #[error("the path {0:?} has a NUL byte")]
    Nul(String),
    /// A component or the whole is longer than a file system can hold.
    #[error("the path `{0}` is too long")]
    TooLong(String),
}

impl RelPath {
    /// Returns `text` as a path when every component is a plain name.
    pub fn new(text: impl AsRef<str>) -> Result<Self, PathError> {
        let text = text.as_ref();
        if text.starts_with('/') {
            return Err(PathError::Absolute(text.to_owned()));
        }
        if text.contains('\0') {
            return Err(PathError::Nul(text.to_owned()));
        }
        if text.len() > MAX_PATH || text.split('/').any(|name| name.len() > MAX_COMPONENT) {
            return Err(PathError::TooLong(text.to_owned()));
        }
        if text.split('/').any(str::is_empty) {
            return Err(PathError::Empty(text.to_owned()));
        }
        if text.split('/').any(|name| name == "." || name == "..") {
            return Err(PathError::Dots(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// Returns the path as text with `/` between components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the same path with a text of its own.
    #[must_use]
    pub fn unshared(&self) -> Self {
        Self(Arc::from(self.as_str()))
    }

    /// Returns the components, first to last.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Returns the path of the folder it is in; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// Returns the number of components.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Returns whether this is `folder` or lies below it.
    pub fn starts_with(&self, folder: &Self) -> bool {
        self.0.strip_prefix(&*folder.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the path of `name` in this folder.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        Self::new(format!("{}/{name}", self.0))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A path on a remote: absolute, or relative to the remote user's home (`~` and `~/…` mean the same).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transparent))]
pub struct RemotePath(String);

impl RemotePath {
    /// Returns `text` as a remote path; refuses NUL bytes, emptiness and `..` components.
    pub fn new(text: impl Into<String>) -> Result<Self, PathError> {
        let text = text.into();
        if text.is_empty() {
            return Err(PathError::Empty(text));
        }
        if text.contains('\0') {
            return Err(PathError::Nul(text));
        }
        if text.len() > MAX_PATH {
            return Err(PathError::TooLong(text));
        }
        if text.split('/').any(|name| name == "..") {
            return Err(PathError::Dots(text));
        }
        Ok(Self(text))
    }

    /// Returns the path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RemotePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_escape() {
        for text in
            ["", "/etc", "a//b", "a/", "..", "a/../b", "./a", "a/.", "a\0b", &"x".repeat(256), &"x/".repeat(3000)]
        {
            assert!(RelPath::new(text).is_err(), "{text:?}");
            let json = serde_json::to_string(text).expect("text is JSON");
            assert!(serde_json::from_str::<RelPath>(&json).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_copy_of_the_text_is_the_same_path() {
        let path = RelPath::new("a/b.py").expect("a plain path");
        let other = path.unshared();
        assert_eq!(path, other);
        assert!(!std::ptr::eq(path.as_str(), other.as_str()) && std::ptr::eq(path.as_str(), path.clone().as_str()));
        let bytes = postcard::to_stdvec(&path).expect("a text");
        assert_eq!(bytes, postcard::to_stdvec("a/b.py").expect("a text"));
        assert_eq!(postcard::from_bytes::<RelPath>(&bytes), Ok(path));
    }

    #[test]
    fn knows_its_folder() {
        let path = RelPath::new("a/b/c.py").expect("a plain path");
        assert_eq!((path.name(), path.depth()), ("c.py", 3));
        assert!(path.starts_with(&RelPath::new("a/b").expect("a plain path")));
        assert!(!path.starts_with(&RelPath::new("a/b/c").expect("a plain path")));
        assert_eq!(RelPath::new("a").expect("a plain path").parent(), None);
    }

    #[test]
    fn remote_paths_may_be_absolute() {
        assert!(RemotePath::new("~/mltoolbox/x").is_ok());
        assert!(RemotePath::new("/data/x").is_ok());
        assert!(RemotePath::new("/data/../etc").is_err());
    }
}
