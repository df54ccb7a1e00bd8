//! Puts together what launchers and options say, and refuses what does not fit together.

use std::ffi::OsString;

use anyhow::{Result, bail, ensure};

use super::environment::{Environment, Said};
use super::launchers::{self, Found};
use super::{Launch, Launcher, meeting, slurm};
use crate::config::RunConfig;

/// The most processes that `--nproc` starts: more are a slip of the hand.
const MOST_PROCESSES: usize = 1024;

/// What this process is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Start and supervise so many processes on this host.
    Supervisor {
        /// At least 2.
        processes: u32,
    },
    /// Train, as one of several or alone.
    Rank(Launch),
}

/// Reads this process's place off its environment and the options of a run.
///
/// Of several launchers the nearest counts: our own supervisor, torchrun, Open MPI, MPICH, srun, RANK and WORLD_SIZE;
/// then the options `--world_size`, `--rank` and `--dist_url`. Options that say something else than the launcher are
/// an error, and so are variables of the environment.
pub fn detect(config: &RunConfig) -> Result<Role> {
    detect_in(config, &|name| std::env::var_os(name))
}

/// The same in another environment.
pub fn detect_in(config: &RunConfig, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Role> {
    let environment = Environment(variable);
    if let Some(found) = launchers::nproc(&environment)? {
        // The options are those of the supervisor, which has looked at them.
        return Ok(Role::Rank(look_over(found, &RunConfig::default(), &environment)?));
    }
    let found = launchers::nearest(&environment)?;
    if config.nproc > 0 {
        return supervisor(config, found.as_ref());
    }
    let launch = match (found, by_options(config)?) {
        (Some(found), options) if found.world.value > 1 || options.is_none() => look_over(found, config, &environment)?,
        (_, Some(options)) => look_over(options, config, &environment)?,
        (_, None) => alone(config, &environment)?,
    };
    Ok(Role::Rank(launch))
}

fn alone(config: &RunConfig, environment: &Environment<'_>) -> Result<Launch> {
    for (name, number) in [("--rank", config.rank), ("--local_rank", config.local_rank)] {
        ensure!(
            number == 0,
            "{name} {number} is one of several processes, but nothing says how many: give --world_size too, or leave it out"
        );
    }
    let note = slurm::has_allocation(environment).then_some(slurm::NOT_SRUN);
    Ok(Launch { note, ..Launch::alone() })
}

/// `--nproc`.
fn supervisor(config: &RunConfig, found: Option<&Found>) -> Result<Role> {
    let nproc = config.nproc;
    ensure!(nproc <= MOST_PROCESSES, "--nproc {nproc}: give at most {MOST_PROCESSES}");
    if let Some(found) = found.filter(|found| found.world.value > 1) {
        bail!(
            "--nproc {nproc} starts processes, but {} has started this one already ({}, {}): leave --nproc out",
            found.launcher,
            found.rank,
            found.world
        );
    }
    let others = [
        (config.world_size != 0 && config.world_size as usize != nproc)
            .then(|| format!("--world_size {}", config.world_size)),
        (config.rank != 0).then(|| format!("--rank {}", config.rank)),
        (config.local_rank != 0).then(|| format!("--local_rank {}", config.local_rank)),
        (config.dist_url != "env://").then(|| format!("--dist_url {}", config.dist_url)),
    ];
    if let Some(other) = others.into_iter().flatten().next() {
        bail!("--nproc {nproc} numbers its processes by itself, on this host alone: leave {other} out");
    }
    if nproc == 1 { Ok(Role::Rank(Launch::alone())) } else { Ok(Role::Supervisor { processes: nproc as u32 }) }
}

/// `--world_size`, `--rank`, `--local_rank` and `--dist_url`, if they speak of more than one process.
fn by_options(config: &RunConfig) -> Result<Option<Found>> {
    if config.world_size < 2 {
        return Ok(None);
    }
    let world = Said { name: "--world_size", value: config.world_size };
    let mut found = Found::new(Launcher::Options, Said { name: "--rank", value: config.rank }, world);
    found.local_rank = (config.local_rank > 0).then_some(Said { name: "--local_rank", value: config.local_rank });
    if meeting::of_url(&config.dist_url)?.is_some_and(|(host, _)| launchers::is_loopback(&host)) {
        launchers::all_here(&mut found);
    }
    Ok(Some(found))
}

/// Refuses what cannot be, and finds the meeting place.
fn look_over(found: Found, config: &RunConfig, environment: &Environment<'_>) -> Result<Launch> {
    let Found { launcher, rank, world, .. } = found;
    ensure!(world.value > 0, "{world}: there is at least one process");
    ensure!(rank.value < world.value, "{rank} is not below {world}: ranks count from 0");
    let (local_rank, local_world) = places_here(&found)?;
    if launcher != Launcher::Options {
        agrees(environment.number("RANK")?, rank)?;
        agrees(environment.number("WORLD_SIZE")?, world)?;
        if let Some(local_rank) = found.local_rank {
            agrees(environment.number("LOCAL_RANK")?, local_rank)?;
        }
    }
    let option = |name, value| (value != 0).then_some(Said { name, value });
    agrees(option("--world_size", config.world_size), world)?;
    agrees(option("--rank", config.rank), rank)?;
    agrees(option("--local_rank", config.local_rank), Said { value: local_rank, ..found.local_rank.unwrap_or(rank) })?;
    let meeting = match world.value {
        1 => None,
        _ => Some(meeting::find(&found, &config.dist_url, environment)?),
    };
    let (rank, world) = (rank.value, world.value);
    let Found { nodes, processors, .. } = found;
    Ok(Launch { rank, world, local_rank, local_world, nodes, meeting, launcher, processors, note: None })
}

/// The local rank and the processes on this host.
fn places_here(found: &Found) -> Result<(u32, u32)> {
    // A launcher that does not say it starts one process per host, as Kubeflow does.
    let local_rank = found.local_rank.map_or(0, |said| said.value);
    let Some(local_world) = found.local_world else { return Ok((local_rank, local_rank.saturating_add(1))) };
    if let Some(local_rank) = found.local_rank {
        ensure!(
            local_rank.value < local_world.value,
            "{local_rank} is not below {local_world}: local ranks count from 0"
        );
    }
    ensure!(
        local_world.value <= found.world.value,
        "{local_world} is more than {}: there are fewer processes than on this host alone",
        found.world
    );
    Ok((local_rank, local_world.value))
}

/// Two that speak of the same thing must say the same.
fn agrees(other: Option<Said>, launcher: Said) -> Result<()> {
    let Some(other) = other.filter(|other| other.value != launcher.value) else { return Ok(()) };
    let way_out = if other.name.starts_with("--") { "leave out" } else { "unset" };
    bail!(
        "{other} contradicts {launcher}: {way_out} {}, or start without the launcher that set {}",
        other.name,
        launcher.name
    )
}

#[cfg(test)]
mod tests;
