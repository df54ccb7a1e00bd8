//! What `srun` tells its tasks.

use anyhow::{Context, Result, bail};

use super::Launcher;
use super::environment::{Environment, Said};
use super::hosts;
use super::launchers::Found;

/// Steps from here on are none that `srun` made: a batch script, an interactive shell of `salloc` and the like.
const SPECIAL_STEPS: u32 = 0xffff_fff0;

/// Said once where a Slurm allocation is used by one process.
pub(super) const NOT_SRUN: &str = "inside a Slurm allocation, but not started by srun: one process (srun mugs-pipeline train ... starts one per task)";

/// Whether there is an allocation, whoever started this process in it.
pub(super) fn has_allocation(environment: &Environment<'_>) -> bool {
    environment.is_set("SLURM_JOB_ID")
}

/// The tasks of an `srun`, of which this process is one.
pub(super) fn step(environment: &Environment<'_>) -> Result<Option<Found>> {
    // Set by old releases under the second name; both are set for a batch script too, unlike the step's number.
    let Some(step) = environment.first_number(&["SLURM_STEP_ID", "SLURM_STEPID"])? else { return Ok(None) };
    if step.value >= SPECIAL_STEPS {
        return Ok(None);
    }
    let rank = environment.needed("SLURM_PROCID", step.name)?;
    let world =
        environment.first_number(&["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"])?.with_context(|| {
            format!("{step} is set in the environment, but neither SLURM_STEP_NUM_TASKS nor SLURM_NTASKS")
        })?;
    let per_node = tasks_per_node(environment, world.value)?;
    let mut found = Found::new(Launcher::Slurm, rank, world);
    found.local_rank = environment.number("SLURM_LOCALID")?;
    let node = environment.number("SLURM_NODEID")?.map_or(0, |node| node.value as usize);
    found.local_world = match &per_node {
        Some(counts) => counts.get(node).map(|&value| Said { name: "SLURM_STEP_TASKS_PER_NODE", value }),
        // What was asked for, which need not be what came of it.
        None => environment.number("SLURM_NTASKS_PER_NODE")?.filter(|asked| {
            asked.value <= world.value && found.local_rank.is_some_and(|local| local.value < asked.value)
        }),
    };
    found.nodes = per_node.map(|counts| counts.len() as u32);
    if let Some(list) = environment.first_text(&["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"])? {
        found.host = Some(hosts::first(&list)?);
    }
    if let Some(job) = environment.first_number(&["SLURM_JOB_ID", "SLURM_JOBID"])? {
        // Steps of one job may run at the same time: a prime apart, since jobs beside each other have consecutive numbers.
        found.port_seed = Some(u64::from(job.value) + 1009 * u64::from(step.value));
    }
    found.processors = environment.number("SLURM_CPUS_PER_TASK")?.map(|said| said.value as usize);
    Ok(Some(found))
}

/// Tasks on each node of the step. The variable of the whole allocation counts only if it speaks of as many tasks.
fn tasks_per_node(environment: &Environment<'_>, world: u32) -> Result<Option<Vec<u32>>> {
    for name in ["SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"] {
        let Some(text) = environment.text(name)? else { continue };
        let counts = counts(&text, world).with_context(|| format!("{name}={text} in the environment"))?;
        if counts.iter().map(|&count| u64::from(count)).sum::<u64>() == u64::from(world) {
            return Ok(Some(counts));
        }
    }
    Ok(None)
}

/// `4(x2),3`: 4, 4, 3. No more of them are written out than can add up to `most`.
fn counts(text: &str, most: u32) -> Result<Vec<u32>> {
    let mut counts = Vec::new();
    for part in text.split(',') {
        let (count, times) = match part.split_once("(x").map(|(count, rest)| (count, rest.strip_suffix(')'))) {
            None => (part, "1"),
            Some((count, Some(times))) => (count, times),
            Some((_, None)) => bail!("{part:?} has no closing bracket"),
        };
        let number = |text: &str| -> Result<u32> {
            text.trim().parse().ok().with_context(|| format!("{part:?} is neither a number of tasks nor one as 4(x2)"))
        };
        let (count, times) = (number(count)?, number(times)?);
        // One more than fits is enough to see that the sum is another one.
        let room = (most as usize + 1).saturating_sub(counts.len());
        counts.extend(std::iter::repeat_n(count, (times as usize).min(room)));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_per_node_are_written_out() {
        assert_eq!(counts("4(x2),3", 11).unwrap(), [4, 4, 3]);
        assert_eq!(counts("8", 8).unwrap(), [8]);
        assert_eq!(counts("1,2(x3),1", 8).unwrap(), [1, 2, 2, 2, 1]);
        assert_eq!(counts("1(x4000000000)", 3).unwrap().len(), 4);
        for wrong in ["4(x2", "x", "4(x)", "", "4,,3", "-1", "4(2)"] {
            assert!(counts(wrong, 4).is_err(), "{wrong}");
        }
    }
}
