//! The programs under test, built once per test process from the same workspace with the same profile.
//!
//! Cargo names a binary's path only to tests of its own package, so the path is taken from where this
//! program itself lies, and `cargo build` makes sure that what lies there is what the source says.

use std::fs;
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

/// Returns the path of an `mlt` that needs nothing of the machine it runs on. Built by the documented command, without
/// optimisation, which takes half a minute when nothing of it is there yet.
pub fn static_mlt() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let target = folder().parent().expect("the profile's folder lies in the target's");
    let build = || {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/build-static"));
        command.args(["--profile", "dev"]).arg(target.join("static-dev")).env("CARGO_TARGET_DIR", target);
        let output = without_own_variables(&mut command).output().expect("the script starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a path of ours is text").trim().into()
    };
    BUILT.get_or_init(build).clone()
}

/// Puts the sidecar into a new folder, as an installation that has only what is put beside it, and returns its path.
pub fn installed(folder: &Path) -> PathBuf {
    fs::create_dir(folder).expect("a new folder in a test's own folder");
    let program = folder.join("mltoolbox-sidecar");
    // Another file system cannot have the same file.
    if fs::hard_link(sidecar(), &program).is_err() {
        fs::copy(sidecar(), &program).expect("a test's own folder");
    }
    program
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
    without_own_variables(&mut command);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "cargo build failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Takes away what cargo told this program about its own package, which would make build scripts run again.
fn without_own_variables(command: &mut Command) -> &mut Command {
    let own =
        |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        command.env_remove(name);
    }
    command
}
