//! Going on with a run: which checkpoint is taken, and what it must agree with before its state is.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mugs_compute::checkpoint::{Checkpoint, CheckpointError, Loaded, Position};
use mugs_data::fetch::Cursor;
use mugs_shards::ShardSet;

use super::published;
use crate::config::{Allowed, RunConfig, drift, let_through};
use crate::run::{EpochSums, RunFolder};
use crate::team::Team;

/// A checkpoint to go on from.
pub struct Found {
    /// Its content.
    pub checkpoint: Checkpoint,
    /// The file.
    pub path: PathBuf,
}

/// Takes the newest sound checkpoint of a run, if the folder holds any, and checks that it is of this configuration,
/// but for what is `allowed` to differ, and of these data.
///
/// Of several ranks the first chooses, and all read the same file.
pub fn restore(
    folder: &RunFolder,
    config: &RunConfig,
    allowed: &[Allowed],
    set: &ShardSet,
    team: &Team,
) -> Result<Option<Found>> {
    let Some((loaded, path)) = chosen(folder, team)? else { return Ok(None) };
    let checkpoint = match loaded {
        Loaded::Own(checkpoint) => check(&checkpoint, config, allowed, set).map(|()| *checkpoint),
        Loaded::Published(published) => published::adopt(*published, &path, config, allowed, set),
    };
    let checkpoint = checkpoint.with_context(|| format!("cannot go on from {}", path.display()))?;
    Ok(Some(Found { checkpoint, path }))
}

fn chosen(folder: &RunFolder, team: &Team) -> Result<Option<(Loaded, PathBuf)>> {
    const KEY: &str = "checkpoint";
    if team.is_first() {
        let found = newest(&folder.checkpoint(), folder.older_checkpoints()?)?;
        let path = found.as_ref().map(|(_, path)| path.as_os_str().as_bytes()).unwrap_or_default();
        team.tell(KEY, path)?;
        return Ok(found);
    }
    let path = team.hear(KEY)?;
    if path.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(OsString::from_vec(path));
    let loaded = Loaded::read(&path).context("rank 0 goes on from a checkpoint that this rank cannot read")?;
    Ok(Some((loaded, path)))
}

/// The content of `first`; where that is damaged or gone, of the one of `others` that stands furthest.
fn newest(first: &Path, others: Vec<PathBuf>) -> Result<Option<(Loaded, PathBuf)>> {
    let mut bad: Vec<(PathBuf, anyhow::Error)> = Vec::new();
    if first.exists() {
        match Loaded::read(first) {
            Ok(loaded) => return Ok(Some((loaded, first.to_owned()))),
            Err(error) if error.is_damage() => bad.push((first.to_owned(), error.into())),
            // A file that is sound and unfit is for its owner to judge: an older one is not what was asked for.
            Err(error) => return Err(error.into()),
        }
    } else if others.is_empty() {
        return Ok(None);
    }
    for path in furthest_first(others, &mut bad) {
        match Loaded::read(&path) {
            Ok(loaded) => {
                let bad = if bad.is_empty() { format!("{} is missing", first.display()) } else { list(&bad) };
                tracing::warn!("{bad}; going on from {} instead", path.display());
                return Ok(Some((loaded, path)));
            }
            Err(error) => bad.push((path, error.into())),
        }
    }
    bail!(
        "none of the run's checkpoints can be read: {}; put a sound one in place of checkpoint.pth, or begin anew in \
         another --output_dir",
        list(&bad)
    )
}

/// The files by where they stand. One that does not say it goes to the bad ones.
fn furthest_first(paths: Vec<PathBuf>, bad: &mut Vec<(PathBuf, anyhow::Error)>) -> Vec<PathBuf> {
    let mut placed: Vec<(Position, PathBuf)> = Vec::new();
    for path in paths {
        match Position::read(&path) {
            Ok(position) => placed.push((position, path)),
            Err(error) => bad.push((path, error.into())),
        }
    }
    placed.sort();
    placed.into_iter().rev().map(|(_, path)| path).collect()
}

/// What is wrong with each file. The causes name neither the file nor, mostly, the way out.
fn list(bad: &[(PathBuf, anyhow::Error)]) -> String {
    let one = |(path, error): &(PathBuf, anyhow::Error)| {
        let cause = match error.downcast_ref::<CheckpointError>().and_then(std::error::Error::source) {
            Some(cause) => cause.to_string(),
            None => format!("{error:#}"),
        };
        format!("{} cannot be used ({cause})", path.display())
    };
    bad.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn check(checkpoint: &Checkpoint, config: &RunConfig, allowed: &[Allowed], set: &ShardSet) -> Result<()> {
    let mugs = &checkpoint.mugs;
    let before: RunConfig = serde_json::from_str(&mugs.configuration).context("its configuration is not readable")?;
    let mut now = config.clone();
    if now.streams == 0 {
        // Not asked for: the run keeps the number that it began with.
        now.streams = before.streams;
    }
    let batch = config.global_batch();
    ensure!(
        batch == mugs.global_batch,
        "it was made with {} pictures a step, now there are {batch}: {}",
        mugs.global_batch,
        way_out(mugs.global_batch, config)
    );
    ensure!(
        mugs.streams.is_multiple_of(config.ranks().into()),
        "its {} `streams` cannot be shared by {} ranks: go on with a number of ranks that divides them",
        mugs.streams,
        config.ranks()
    );
    let_through(drift(&before, &now)?, allowed)?;
    ensure!(
        mugs.data == set.digest(),
        "it was made with another data set than {}: the same pictures packed with the same seed are needed",
        set.folder().display()
    );
    Ok(())
}

/// What keeps `batch` pictures a step over all ranks.
pub fn way_out(batch: u64, config: &RunConfig) -> String {
    let ranks = u64::from(config.ranks());
    match (ranks, batch.is_multiple_of(ranks)) {
        (1, _) => format!("--batch_size_per_gpu times --accumulate must be {batch} on one rank"),
        (_, true) => {
            format!("--batch_size_per_gpu times --accumulate must be {} on each of {ranks} ranks", batch / ranks)
        }
        (_, false) => format!("go on with a number of ranks that divides {batch}, which {ranks} does not"),
    }
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
