//! Ranks that exchange tensors, whose values are checked and whose time is taken.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mugs_compute::collective::Collective;
use mugs_compute::collective::nccl::Nccl;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::config::RunConfig;
use crate::device;
use crate::launch::Launch;
use crate::team::Team;

/// Bytes of the all-reduces that are timed: a message, a bucket, a large matrix.
const SIZES: [usize; 3] = [4 << 10, 4 << 20, 64 << 20];
const TIMES: u32 = 5;

/// What was tried, and how fast it was.
#[derive(Debug, Serialize)]
pub struct Findings {
    ranks: usize,
    /// What carried it; none where a rank without a GPU was alone.
    backend: Option<String>,
    /// Bytes of an all-reduce, and its seconds.
    all_reduce: Vec<(usize, f64)>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(backend) = &self.backend else {
            return f.write_str("one rank without a GPU has nothing to exchange: --nproc 2 tries gloo");
        };
        let ranks = if self.ranks == 1 { "1 rank".to_owned() } else { format!("{} ranks", self.ranks) };
        write!(f, "{ranks} over {backend}: sums, gathers and broadcasts are right")?;
        for (bytes, seconds) in &self.all_reduce {
            let rate = *bytes as f64 / seconds / 1e6;
            write!(f, "\n             all-reduce of {} KiB: {:.3} ms, {rate:.0} MB/s", bytes >> 10, seconds * 1e3)?;
        }
        Ok(())
    }
}

/// Meets the other ranks and tries everything that a step needs.
pub fn try_out(config: &RunConfig, launch: &Launch) -> Result<Findings> {
    let device = device::choose(config, launch.local_rank)?.device;
    let timeout = Duration::from_secs_f64(config.sync_timeout);
    let team = Team::meet(launch, timeout)?;
    let tried = with_team(&team, config, device, timeout).map_err(|error| team.first_cause(error));
    match (tried, team.leave()) {
        (Ok(_), Err(cause)) => Err(cause),
        (tried, _) => tried,
    }
}

fn with_team(team: &Team, config: &RunConfig, device: Device, timeout: Duration) -> Result<Findings> {
    let group = match team.join(&config.backend, device)? {
        Some(group) => Some(group),
        // Its id need not go anywhere.
        None if device.is_cuda() => {
            let alone = Nccl::connect(0, 1, device, timeout, &mut |id| Ok(id.unwrap_or_default()))?;
            Some(Arc::new(alone) as Arc<dyn Collective>)
        }
        None => None,
    };
    let Some(group) = group else { return Ok(Findings { ranks: 1, backend: None, all_reduce: Vec::new() }) };
    check(&*group)?;
    let all_reduce = SIZES.into_iter().map(|bytes| Ok((bytes, time(&*group, bytes)?))).collect::<Result<_>>()?;
    Ok(Findings { ranks: group.world(), backend: Some(group.backend()), all_reduce })
}

/// Every call, with values that tell the ranks apart.
fn check(group: &dyn Collective) -> Result<()> {
    let (rank, world, device) = (group.rank(), group.world(), group.device());
    let own = Tensor::from_slice(&[rank as f32 + 1.0, 10.0]).to_device(device);
    let numbers = |tensor: &Tensor| Vec::<f32>::try_from(tensor.to_device(Device::Cpu)).unwrap_or_default();
    let number = world as f32;
    let expected = [number * (number + 1.0) / 2.0, 10.0 * number];
    let sum = own.copy();
    group.all_reduce(&sum)?;
    same("all-reduce", numbers(&sum), &expected)?;
    let begun = own.copy();
    group.start_all_reduce(&begun)?.wait()?;
    same("all-reduce in the background", numbers(&begun), &expected)?;
    for (other, gathered) in group.all_gather(&own)?.iter().enumerate() {
        same("all-gather", numbers(gathered), &[other as f32 + 1.0, 10.0])?;
    }
    let sent = own.copy();
    group.broadcast(&sent, world - 1)?;
    same("broadcast", numbers(&sent), &[number, 10.0])?;
    Ok(group.barrier()?)
}

fn same(call: &str, found: Vec<f32>, expected: &[f32]) -> Result<()> {
    ensure!(
        found == expected,
        "{call} gave {found:?} in place of {expected:?}: the ranks' libraries do not fit together"
    );
    Ok(())
}

/// Seconds of an all-reduce of so many bytes, the least of some.
fn time(group: &dyn Collective, bytes: usize) -> Result<f64> {
    let tensor = Tensor::zeros([(bytes / 4) as i64], (Kind::Float, group.device()));
    let mut least = f64::INFINITY;
    for _ in 0..TIMES {
        group.barrier()?;
        let begun = Instant::now();
        group.all_reduce(&tensor).with_context(|| format!("an all-reduce of {bytes} bytes"))?;
        // Reading a value waits for a GPU.
        let _ = tensor.double_value(&[0]);
        least = least.min(begun.elapsed().as_secs_f64());
    }
    Ok(least)
}
