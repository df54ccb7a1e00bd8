//! Where processes meet: a host, and a port on it that rank 0 serves.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail, ensure};

use super::Launcher;
use super::environment::{Environment, Said};
use super::launchers::Found;

/// Ports for those who were given none: above what services use by custom, below what Linux hands to outgoing
/// connections (from 32768, `net.ipv4.ip_local_port_range`), any of which might hold the port just then.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Where all ranks meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Name or address of the host of rank 0.
    pub host: String,
    /// Port on that host.
    pub port: u16,
    /// Whether the launcher serves the store there already, so that every rank is a client; otherwise rank 0 serves it.
    pub agent_serves: bool,
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Looks over `--dist_url`.
pub fn check_url(url: &str) -> Result<()> {
    of_url(url).map(drop)
}

/// The host and port of `tcp://HOST:PORT`; none for `env://`.
pub(super) fn of_url(url: &str) -> Result<Option<(String, u16)>> {
    if url == "env://" {
        return Ok(None);
    }
    let wrong = || format!("--dist_url {url} is neither env:// nor tcp://HOST:PORT");
    let (host, port) = url.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).with_context(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.trim_end_matches('/').parse::<u16>().ok().filter(|&port| port > 0).with_context(wrong)?;
    ensure!(!host.is_empty(), wrong());
    Ok(Some((host.to_owned(), port)))
}

/// A port of [`PORTS`] that follows from `seed`.
pub(super) fn port_of(seed: u64) -> u16 {
    PORTS.start + (seed % PORTS.len() as u64) as u16
}

/// A port of [`PORTS`] that nobody serves on the loopback address now. Rank 0 takes it a moment later; where somebody
/// else was faster, it says that the port is taken.
pub(super) fn free_port() -> Result<u16> {
    // Not all supervisors of a host begin at the same one.
    let start = u64::from(std::process::id()) * 1009;
    let free = |&port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut ports = (0..PORTS.len() as u64).map(|step| port_of(start + step));
    ports
        .find(free)
        .with_context(|| format!("all ports from {} to {} of 127.0.0.1 are taken", PORTS.start, PORTS.end - 1))
}

/// 64-bit FNV-1a: spreads the names of jobs over ports, the same way on every rank and host.
pub(super) fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where the processes of a launch meet: `--dist_url`, MASTER_ADDR and MASTER_PORT, or what the launcher lets guess.
pub(super) fn find(found: &Found, url: &str, environment: &Environment<'_>) -> Result<Meeting> {
    let given = of_url(url)?;
    let address = environment.text("MASTER_ADDR")?;
    let port = environment.number("MASTER_PORT")?.map(port).transpose()?;
    if let Some((url_host, url_port)) = &given {
        let differs =
            address.as_ref().is_some_and(|host| host != url_host) || port.is_some_and(|port| port != *url_port);
        ensure!(
            !differs,
            "--dist_url {url} and {} in the environment are two meeting places: give one of them",
            set_of(address.as_deref(), port)
        );
    }
    let (url_host, url_port) = given.unzip();
    let host = url_host.or(address).or_else(|| found.host.clone());
    let host = match host {
        Some(host) => host,
        None if alone_there(found) => "127.0.0.1".into(),
        None => bail!("{}", no_address(found)),
    };
    let port = match url_port.or(port).or_else(|| found.port_seed.map(port_of)) {
        Some(port) => port,
        None => bail!("{}", no_port(found)),
    };
    Ok(Meeting { host, port, agent_serves: found.agent_serves })
}

/// Whether all processes are on this host, by the word of a launcher that names no host.
fn alone_there(found: &Found) -> bool {
    matches!(found.launcher, Launcher::OpenMpi | Launcher::Mpich)
        && found.local_world.is_some_and(|here| here.value == found.world.value)
}

fn port(said: Said) -> Result<u16> {
    u16::try_from(said.value)
        .ok()
        .filter(|&port| port > 0)
        .with_context(|| format!("{said} is no port: give 1 to 65535"))
}

fn set_of(address: Option<&str>, port: Option<u16>) -> String {
    let parts = [address.map(|host| format!("MASTER_ADDR={host}")), port.map(|port| format!("MASTER_PORT={port}"))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn no_address(found: &Found) -> String {
    let way_out = match found.launcher {
        Launcher::OpenMpi => "start with mpirun -x MASTER_ADDR=HOST, the host of rank 0",
        Launcher::Mpich => "start with mpiexec -genv MASTER_ADDR HOST, the host of rank 0",
        Launcher::Options => "give --dist_url tcp://HOST:PORT, the host of rank 0 and a free port there",
        _ => "set it to the host of rank 0",
    };
    format!("{} but MASTER_ADDR is not set, so the processes cannot meet: {way_out}", found.world)
}

fn no_port(found: &Found) -> String {
    let way_out = match found.launcher {
        Launcher::OpenMpi => "start with mpirun -x MASTER_PORT=29500",
        Launcher::Mpich => "start with mpiexec -genv MASTER_PORT 29500",
        Launcher::Options => "give --dist_url tcp://HOST:PORT",
        _ => "set it to a free port there, as 29500",
    };
    format!("{} but MASTER_PORT is not set, so the processes cannot meet: {way_out}", found.world)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        assert_eq!(of_url("env://").unwrap(), None);
        assert_eq!(of_url("tcp://10.0.0.1:29500").unwrap(), Some(("10.0.0.1".into(), 29500)));
        assert_eq!(of_url("tcp://[fd00::2]:29500/").unwrap(), Some(("fd00::2".into(), 29500)));
        for wrong in ["", "tcp://", "tcp://host", "tcp://host:0", "tcp://host:x", "tcp://:1", "file:///tmp/x", "host:1"]
        {
            let error = check_url(wrong).unwrap_err().to_string();
            assert!(error.contains("neither env:// nor tcp://HOST:PORT"), "{error}");
        }
        let meeting = Meeting { host: "fd00::2".into(), port: 1, agent_serves: false };
        assert_eq!(meeting.to_string(), "[fd00::2]:1");
    }

    #[test]
    fn ports_stay_in_their_range_and_neighbours_differ() {
        let ports: std::collections::HashSet<u16> = (0..12_000).map(port_of).collect();
        assert_eq!((ports.len(), ports.iter().min(), ports.iter().max()), (12_000, Some(&20_000), Some(&31_999)));
        assert_eq!(port_of(u64::MAX), 20_000 + (u64::MAX % 12_000) as u16);
        // The reference values of the function's authors.
        assert_eq!((seed_of(""), seed_of("a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
    }
}
