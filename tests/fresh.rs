//! Files that are generated and committed: compared, or written anew with `UPDATE_EXPECT=1`.

use std::path::{Path, PathBuf};

/// Returns the folder of the whole project.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the project").to_owned()
}

/// Checks that the file at `path`, from the project's root, holds `wanted`.
#[track_caller]
pub(crate) fn check(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, wanted).expect("the project can be written");
        return;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "{path} is stale from line {}; write it with `UPDATE_EXPECT=1 cargo test -p mltoolbox-tests --test tidy --test errors`",
        differs.unwrap_or(found.lines().count()) + 1
    );
}
