//! Going on with a run: what a checkpoint must agree with before its state is taken.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use mugs_compute::checkpoint::Checkpoint;
use mugs_data::fetch::Cursor;
use mugs_shards::ShardSet;

use crate::config::{RunConfig, drift};
use crate::run::EpochSums;

/// Reads the newest checkpoint of a run, if there is one, and checks that it is of this configuration and these data.
pub fn restore(path: &Path, config: &RunConfig, set: &ShardSet) -> Result<Option<Checkpoint>> {
    if !path.exists() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::read(path)?;
    check(&checkpoint, config, set).with_context(|| format!("cannot go on from {}", path.display()))?;
    Ok(Some(checkpoint))
}

fn check(checkpoint: &Checkpoint, config: &RunConfig, set: &ShardSet) -> Result<()> {
    let mugs = &checkpoint.mugs;
    let before: RunConfig = serde_json::from_str(&mugs.configuration).context("its configuration is not readable")?;
    let mut now = config.clone();
    if now.streams == 0 {
        // Not asked for: the run keeps the number that it began with.
        now.streams = before.streams;
    }
    let batch = config.global_batch(1);
    ensure!(
        batch == mugs.global_batch,
        "it was made with {} pictures a step, now there are {batch}: --batch_size_per_gpu times --accumulate must be {} \
         on one rank",
        mugs.global_batch,
        mugs.global_batch
    );
    let changed = drift(&before, &now)?;
    if !changed.is_empty() {
        bail!("these options differ: {}; give the old values, or choose another --output_dir", changed.join(", "));
    }
    ensure!(
        mugs.data == set.digest(),
        "it was made with another data set than {}: the same pictures packed with the same seed are needed",
        set.folder().display()
    );
    Ok(())
}

/// Where the checkpoint's run goes on.
pub fn cursor(checkpoint: &Checkpoint) -> Result<Cursor> {
    let epoch = u32::try_from(checkpoint.mugs.epoch).context("the checkpoint's epoch is out of range")?;
    Ok(Cursor { epoch, step: checkpoint.mugs.step })
}

/// The sums of the epoch under way.
pub fn sums(checkpoint: &Checkpoint) -> Result<EpochSums> {
    serde_json::from_str(&checkpoint.mugs.sums).context("the checkpoint's sums of the epoch are not readable")
}
