//! What a program called `ssh` prints when it is asked about a host: understood or refused, and nothing foreign gets
//! into the command of a `ProxyCommand`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidecar::transport::ssh_config::{Proxy, is_host, is_user, probe};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let Ok(host) = probe::answer("gpu", &text) else { return };
    assert!(!host.hostname.is_empty() && !host.user.is_empty());
    if let Proxy::Command(_) = host.proxy {
        assert!(is_host(&host.hostname) && is_user(&host.user), "a shell gets {host:?}");
    }
});
