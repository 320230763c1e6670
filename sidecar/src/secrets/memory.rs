//! Keeps what is in memory out of core dumps.

use std::sync::Once;

/// Sees to it that a crash of this process writes nothing of its memory to a disk. Done once; what it starts is not
/// concerned.
pub(super) fn keep_out_of_core_dumps() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        if let Err(error) = forbid() {
            tracing::warn!(%error, "a crash of this process could leave a core dump");
        }
    });
}

/// A pipe in `core_pattern` takes dumps whatever the limit of their size, so that Linux is told not to make any.
#[cfg(target_os = "linux")]
fn forbid() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn forbid() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Core).maximum;
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?)
}

/// Windows writes dumps only where its settings ask for them.
#[cfg(not(unix))]
fn forbid() -> std::io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    use crate::secrets::Secret;

    #[test]
    fn a_process_with_a_secret_leaves_no_dump() {
        drop(Secret::new("hunter2".to_owned()));
        assert_eq!(dumpable_behavior().expect("the kernel says"), DumpableBehavior::NotDumpable);
    }
}
