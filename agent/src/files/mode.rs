//! Which permission bits a file gets: pure arithmetic, no I/O.
//!
//! Never gives set-user-id, set-group-id or sticky bits.

use rustix::fs::{Mode, RawMode};

/// Returns permission bits as the system wants them.
#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions, reason = "the type differs by platform")]
pub(super) fn raw(bits: u32) -> Mode {
    Mode::from_raw_mode(RawMode::try_from(bits & 0o777).unwrap_or(0))
}

/// Returns the bits to create a file with; the kernel's umask narrows them further.
pub fn created(local: u32) -> u32 {
    local & 0o777
}

/// Returns the bits to create a folder with: its owner must be able to fill it.
pub fn created_folder(local: u32) -> u32 {
    (local & 0o777) | 0o700
}

/// Returns the bits of a file that had `remote` and takes over the execute bits of `local`, and whom
/// `local` shuts out: a class (group, others) with no access at all here gets none there.
pub fn updated(remote: u32, local: u32) -> u32 {
    let execute = if local & 0o111 == 0 { 0 } else { ((remote & 0o444) >> 2) & local & 0o111 };
    narrowed((remote & 0o666) | execute, local)
}

/// Returns the bits of a folder that had `remote`, closed to whom `local` shuts out.
pub fn updated_folder(remote: u32, local: u32) -> u32 {
    narrowed(remote & 0o777, local)
}

fn narrowed(mode: u32, local: u32) -> u32 {
    [0o070, 0o007].into_iter().filter(|class| local & class == 0).fold(mode, |mode, class| mode & !class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_mode_but_for_execute_bits_and_narrowing() {
        for (remote, local, want) in [
            (0o644, 0o755, 0o755),
            (0o640, 0o755, 0o750),
            (0o755, 0o644, 0o644),
            (0o664, 0o644, 0o664),
            (0o644, 0o600, 0o600),
            (0o644, 0o700, 0o700),
            (0o644, 0o640, 0o640),
            (0o600, 0o644, 0o600),
            (0o4755, 0o755, 0o755),
            (0o644, 0o444, 0o644),
        ] {
            assert_eq!(updated(remote, local), want, "{remote:o} {local:o}");
        }
    }

    #[test]
    fn no_special_bits_ever() {
        assert_eq!(created(0o6755), 0o755);
        assert_eq!(created_folder(0o1555), 0o755);
        assert_eq!(updated_folder(0o2775, 0o700), 0o700);
    }
}
