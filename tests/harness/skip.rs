//! What a test does that cannot run here: it says so loudly, and where everything must run it fails.

use std::io::Write;

/// Set to `1`, a skip is a failure unless the machine itself is the limit. `tests/run` sets it under CI.
pub const LIVE: &str = "MLT_LIVE";
/// Set to `1`, long tests run for minutes instead of seconds. `tests/run --soak` sets it.
pub const SOAK: &str = "MLT_SOAK";
/// Set to `1`, live tests are left out. `tests/run --quick` sets it.
pub const QUICK: &str = "MLT_QUICK";

/// Why a test does not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such graphics processor.
    NoGpu,
    /// The kernel cannot delay packets (`tc netem`).
    NoNetem,
    /// Podman cannot run here.
    NoPodman,
    /// It is about another operating system or file system.
    OtherPlatform(String),
    /// Only the quick tests were asked for.
    Quick,
    /// Something that can be installed or allowed is not there: what, and how to get it.
    Missing(String),
}

impl Reason {
    /// Returns whether no installation on this machine could change it.
    fn is_limit_of_the_machine(&self) -> bool {
        match self {
            Self::NoGpu | Self::NoNetem | Self::NoPodman | Self::OtherPlatform(_) | Self::Quick => true,
            Self::Missing(_) => false,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::NoGpu => "this machine has no GPU",
            Self::NoNetem => "this kernel has no netem",
            Self::NoPodman => "podman cannot run here",
            Self::OtherPlatform(text) | Self::Missing(text) => text,
            Self::Quick => "it is a live test and `--quick` was given",
        }
    }
}

/// Says that `test` is skipped.
///
/// # Panics
/// Where everything must run (`MLT_LIVE=1`) and the machine is not what prevents it.
pub fn skip(test: &str, reason: &Reason) {
    let why = reason.text();
    assert!(
        reason.is_limit_of_the_machine() || !is_set(LIVE),
        "`{test}` cannot run: {why}. With {LIVE}=1 that is a failure."
    );
    // Written past the test framework, which would keep it from the reader of a passed test.
    writeln!(std::io::stderr(), "SKIPPED {test}: {why}").expect("standard error is open");
}

/// Returns whether `program` is on the `PATH`.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Returns why a live test with these programs cannot run here, if so.
pub fn live(programs: &[&str]) -> Result<(), Reason> {
    if is_set(QUICK) {
        return Err(Reason::Quick);
    }
    match programs.iter().find(|program| !has(program)) {
        Some(missing) => Err(Reason::Missing(format!("`{missing}` is not on the PATH; `tests/run` installs it"))),
        None => Ok(()),
    }
}

/// Returns whether long runs were asked for.
pub fn soak() -> bool {
    is_set(SOAK)
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value == "1")
}

/// Ends the test with a loud skip when the expression is a [`Reason`].
#[macro_export]
macro_rules! or_skip {
    ($test:literal, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(reason) => return $crate::skip::skip($test, &reason),
        }
    };
}
