//! A `~/.ssh/config` of any content, read where there is no `ssh` to ask: a host or an error that names a line, in time
//! that grows with its length. (Files that include others are left out: what is on the disk is no input.)
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidecar::transport::ssh_config::probe;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if text.to_lowercase().contains("include") {
        return;
    }
    let (alias, text) = text.split_once('\n').unwrap_or(("gpu.lab", &text));
    if let Ok((host, aliases)) = probe::file(alias, text) {
        assert!(!host.hostname.is_empty());
        assert!(aliases.iter().all(|name| !name.contains(['*', '?', '!'])));
    }
});
