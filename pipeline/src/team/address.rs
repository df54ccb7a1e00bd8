//! Where other ranks reach this host.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

use anyhow::{Context, Result};
use mugs_torch_ext::Address;

use crate::launch::Meeting;

/// The address of the way from here to where the ranks meet, which is one that the others have a way to as well;
/// GLOO_SOCKET_IFNAME names an interface instead. A host's own name is no help: on many it is a loopback address.
pub fn own(meeting: &Meeting, several_hosts: bool) -> Result<Address> {
    if let Some(interface) = std::env::var("GLOO_SOCKET_IFNAME").ok().filter(|name| !name.is_empty()) {
        return Ok(Address::Interface(interface));
    }
    let place = (meeting.host.as_str(), meeting.port);
    let found = place.to_socket_addrs().with_context(|| format!("{} is no host that is known here", meeting.host))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let way =
        addresses.iter().find_map(way_to).with_context(|| format!("no way leads from here to {}", meeting.host))?;
    if way.is_loopback() && several_hosts {
        // Rank 0 whose own name is a loopback address, as Debian sets it up: the others come from outside.
        if let Some(outside) = outside() {
            return Ok(Address::Host(outside.to_string()));
        }
    }
    Ok(Address::Host(way.to_string()))
}

/// The address that packets to `place` leave from. None is sent.
fn way_to(place: &SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if place.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(place).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The address of the default way out, wherever that is; the address is of a block that nobody uses.
fn outside() -> Option<IpAddr> {
    way_to(&([192, 0, 2, 1], 9).into()).filter(|address| !address.is_loopback())
}

/// This host's name, for people.
pub fn host_name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is as long as is said; one byte stays for the end.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0;
    match CStr::from_bytes_until_nul(&name) {
        Ok(name) if !failed => name.to_string_lossy().into_owned(),
        _ => "an unnamed host".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_host_is_its_loopback_and_names_that_nobody_knows_are_said() {
        let meeting = |host: &str| Meeting { host: host.into(), port: 29500, agent_serves: false };
        assert_eq!(own(&meeting("127.0.0.1"), false).unwrap(), Address::Host("127.0.0.1".into()));
        // A part of more than 63 characters is in no name: no name server is asked, as the host's may not answer.
        let name = "no-such-host".repeat(6);
        let error = format!("{:#}", own(&meeting(&name), true).unwrap_err());
        assert!(error.starts_with(&format!("{name} is no host that is known here")), "{error}");
        assert!(!host_name().is_empty());
    }
}
