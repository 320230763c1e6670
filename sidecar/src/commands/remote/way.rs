//! How a remote is reached, told to a person.

use protocol::editor::RemoteWay;

use crate::transport::ssh_config::{Address, Host, Proxy};

/// Returns what a person wants to know of the way to a host.
pub(super) fn of(host: &Host) -> RemoteWay {
    let hops = match &host.proxy {
        Proxy::Jump(hops) => hops.as_slice(),
        Proxy::Direct | Proxy::Command(_) => &[],
    };
    let command = match hops.first().map_or(&host.proxy, |first| &first.proxy) {
        Proxy::Command(command) => Some(command.clone()),
        Proxy::Direct | Proxy::Jump(_) => None,
    };
    let mut warnings = host.warnings.clone();
    for warning in hops.iter().flat_map(|hop| &hop.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    RemoteWay {
        host: host.hostname.clone(),
        port: host.port,
        user: host.user.clone(),
        jumps: hops.iter().map(name).collect(),
        command,
        keys: host.key.iter().chain(&host.identity_files).map(|key| key.to_string_lossy().into_owned()).collect(),
        warnings,
    }
}

fn name(hop: &Host) -> String {
    let address = Address { user: Some(hop.user.clone()), host: hop.hostname.clone(), port: Some(hop.port) };
    address.to_jump()
}
