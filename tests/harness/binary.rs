//! The programs under test, built once per test process from the same workspace with the same profile.
//!
//! Cargo names a binary's path only to tests of its own package, so the path is taken from where this
//! program itself lies, and `cargo build` makes sure that what lies there is what the source says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the path of `mltoolbox-sidecar`.
pub fn sidecar() -> PathBuf {
    folder().join("mltoolbox-sidecar")
}

/// Returns the path of `mlt`.
pub fn mlt() -> PathBuf {
    folder().join("mlt")
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let program = std::env::current_exe().expect("this program has a path");
        let mut folder = program.parent().expect("a program lies in a folder");
        if folder.ends_with("deps") {
            folder = folder.parent().expect("`deps` lies in the profile's folder");
        }
        build(folder);
        folder.to_owned()
    })
}

fn build(folder: &Path) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Both at once, so that features are unified as in `cargo test --workspace` and nothing is built twice.
    command.args(["build", "-p", "mltoolbox-agent", "-p", "mltoolbox-sidecar", "--bins", "--locked", "--quiet"]);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // What cargo told this program about its own package would make build scripts run again.
    let own =
        |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        command.env_remove(name);
    }
    if folder.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "cargo build failed:\n{}", String::from_utf8_lossy(&output.stderr));
}
