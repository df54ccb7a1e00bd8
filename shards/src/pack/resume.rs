//! Going on with a pack that was begun.

use std::fs;
use std::path::Path;

use super::config::{OnBadImage, PackConfig};
use super::fill::Start;
use super::folder::Destination;
use super::journal::{Entry, Journal, OrderDigest, State, VERSION};
use super::report::{Action, Reporter};
use super::{List, PackError, Written};
use crate::checksum::Checksum;
use crate::index;
use crate::manifest::{MANIFEST, ShardInfo};

/// Whether the pack that was begun in `destination` is the one that is asked for.
pub(crate) fn check(destination: &Path, begun: &State, asked: &State) -> Result<(), PackError> {
    let refuse = |reason: String| Err(PackError::Resume { path: destination.into(), reason });
    if begun.version != VERSION {
        return refuse(format!("it was begun by another version of mugs-shard (state {})", begun.version));
    }
    if begun.source != asked.source {
        return refuse(format!("of {}, not of {}", begun.source.display(), asked.source.display()));
    }
    let names = begun.config.differing(&asked.config).unwrap_or_default();
    // One that ended at its first bad sample has none yet: it may go on with any way of treating them.
    let fatal = |name: &&String| *name != "on_bad_image" || begun.config.on_bad_image != OnBadImage::Fail;
    let names: Vec<String> = names.iter().filter(fatal).map(|name| describe(name, begun, asked)).collect();
    if names.is_empty() { Ok(()) } else { refuse(format!("with other options: {}", names.join(", "))) }
}

/// `seed (3 then, 4 now)`.
fn describe(name: &str, begun: &State, asked: &State) -> String {
    let value = |state: &State| {
        let json = serde_json::to_value(&state.config).unwrap_or_default();
        let value = json.get(name).or_else(|| json.get("source").and_then(|source| source.get(name)));
        value.map_or_else(|| "not set".into(), ToString::to_string)
    };
    format!("{name} ({} then, {} now)", value(begun), value(asked))
}

/// The shards of a set that is finished, but not or not wholly moved into place.
pub(crate) fn published(destination: &Destination) -> Result<Option<Written>, PackError> {
    let work = destination.work();
    if !work.join(MANIFEST).exists() && !destination.path().join(MANIFEST).exists() {
        return Ok(None);
    }
    let (_, entries) = Journal::open(&work).map_err(|source| PackError::Write { path: work, source })?;
    let resumed = entries.iter().filter_map(|entry| entry.shard.as_ref()).map(|shard| shard.samples).sum();
    Ok(Some(Written { entries, resumed }))
}

/// Where filling shards goes on, behind the shards of `entries`, which must be there and hold the first of the jobs.
pub(crate) fn start(
    destination: &Path,
    work: &Path,
    entries: &[Entry],
    list: &List,
    config: &PackConfig,
) -> Result<Start, PackError> {
    let refuse = |reason: String| PackError::Resume { path: destination.into(), reason };
    let Some(last) = entries.last() else {
        return Ok(Start { next: 0, shards: 0, digest: OrderDigest::default(), reporter: first_report(list, config) });
    };
    let changed = || refuse("its source is not what it was: samples that are packed already have changed".into());
    let next = usize::try_from(last.done).ok().filter(|next| *next <= list.jobs.len()).ok_or_else(changed)?;
    let mut digest = OrderDigest::default();
    list.jobs[..next].iter().for_each(|job| digest.add(job));
    if digest.value() != last.order || (last.shard.is_none() && next < list.jobs.len()) {
        return Err(changed());
    }
    let mut reporter = Reporter::resumed(last.counts.clone());
    let shards = entries.iter().filter_map(|entry| entry.shard.as_ref());
    for shard in shards.clone() {
        remember(work, shard, &mut reporter).map_err(refuse)?;
    }
    Ok(Start { next, shards: shards.count(), digest, reporter })
}

/// What was wrong before the first sample was read.
fn first_report(list: &List, config: &PackConfig) -> Reporter {
    let mut reporter = Reporter::default();
    for bad in &list.bad {
        let kept = config.on_bad_image == OnBadImage::Keep && bad.kind == "duplicate_key";
        reporter.bad(bad, if kept { Action::Kept } else { Action::Skipped });
    }
    reporter
}

/// Looks a finished shard over and notes its pictures.
fn remember(work: &Path, shard: &ShardInfo, reporter: &mut Reporter) -> Result<(), String> {
    let damaged = |file: &str| format!("its finished shard {file} is damaged or gone");
    let length = fs::metadata(work.join(&shard.file)).map(|file| file.len());
    if length.ok() != Some(shard.bytes) {
        return Err(damaged(&shard.file));
    }
    let bytes = fs::read(work.join(&shard.index)).map_err(|_| damaged(&shard.index))?;
    if Checksum::of(&bytes) != shard.index_xxh3 {
        return Err(damaged(&shard.index));
    }
    let index = index::parse(&bytes, shard.tar_bytes(), shard.tar_bytes.map(|_| shard.bytes));
    for sample in index.map_err(|_| damaged(&shard.index))?.samples {
        if let Some(picture) = sample.picture() {
            reporter.remember(&sample.key, picture.xxh3);
        }
    }
    Ok(())
}
