//! Opens the socket of a host that is reached directly: every address of its name, one after the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::transport::TransportError;
use crate::transport::ssh_config::{AddressFamily, Host};

/// Tries every address of the host that its configuration allows, in the resolver's order. Each may take `limit`.
pub(super) async fn dial(host: &Host, limit: Duration) -> Result<TcpStream, TransportError> {
    let silent = || TransportError::Silent { host: host.alias.clone(), port: host.port, seconds: limit.as_secs() };
    let from = match host.bind_address.as_deref().map(str::parse::<IpAddr>) {
        Some(Ok(address)) => Some(address),
        Some(Err(_)) => {
            let why = "its `BindAddress` is no address of a network interface";
            return Err(unreachable(host, io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        None => None,
    };
    let name = host.hostname.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = match timeout(limit, tokio::net::lookup_host((name, host.port))).await {
        Ok(Ok(addresses)) => addresses.filter(|address| is_wanted(*address, host.address_family, from)).collect(),
        Ok(Err(source)) => {
            return Err(TransportError::NoAddress { name: name.to_owned(), source });
        }
        Err(_) => return Err(silent()),
    };
    let family = match host.address_family {
        AddressFamily::Any => "address",
        AddressFamily::V4 => "IPv4 address",
        AddressFamily::V6 => "IPv6 address",
    };
    let none = io::Error::new(io::ErrorKind::NotFound, format!("the name has no {family}"));
    let mut last = unreachable(host, none);
    for address in addresses {
        last = match timeout(limit, open(address, from)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => unreachable(host, source),
            Err(_) => silent(),
        };
    }
    Err(last)
}

async fn open(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

fn is_wanted(address: SocketAddr, family: AddressFamily, from: Option<IpAddr>) -> bool {
    let wanted = match family {
        AddressFamily::Any => true,
        AddressFamily::V4 => address.is_ipv4(),
        AddressFamily::V6 => address.is_ipv6(),
    };
    wanted && from.is_none_or(|from| from.is_ipv4() == address.is_ipv4())
}

pub(super) fn unreachable(host: &Host, source: io::Error) -> TransportError {
    TransportError::Unreachable { host: host.alias.clone(), port: host.port, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_and_the_own_address_decide() {
        let [four, six]: [SocketAddr; 2] =
            ["127.0.0.1:22", "[::1]:22"].map(|address| address.parse().expect("an address"));
        let own = |address: SocketAddr| Some(address.ip());
        assert!(is_wanted(four, AddressFamily::Any, None) && is_wanted(six, AddressFamily::Any, None));
        assert!(is_wanted(four, AddressFamily::V4, None) && !is_wanted(six, AddressFamily::V4, None));
        assert!(!is_wanted(four, AddressFamily::V6, None) && is_wanted(six, AddressFamily::V6, None));
        assert!(is_wanted(four, AddressFamily::Any, own(four)) && !is_wanted(six, AddressFamily::Any, own(four)));
    }
}
