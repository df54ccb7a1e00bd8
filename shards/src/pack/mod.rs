//! Packing a source into a set.
//!
//! A source becomes a list of jobs in the order of packing ([`order`], [`spill`]); threads read and check them ahead
//! ([`read`]); this thread puts them into shards ([`writer`], [`fill`]); another one brings the shards to the disk and
//! notes them in the journal ([`commit`], [`journal`]). A finished set is moved into place ([`folder`]).

mod commit;
mod config;
mod error;
mod fill;
mod folder;
mod journal;
mod key;
mod order;
mod plan;
mod read;
mod report;
mod resume;
mod spill;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use self::fill::{Work, fill};
use self::folder::{Destination, Found, inspect};
use self::journal::{Entry, Journal, STATE, State, VERSION};
use self::order::{Job, KeyGiver, Shuffle};
use self::read::Origin;
use self::spill::Buckets;
use crate::manifest::{MANIFEST, Manifest};
use crate::pictures::Pictures;
use crate::source::{self, BadItem, Ignored, Listing, Notes, Opened};

pub use self::config::{OnBadImage, PackConfig};
pub use self::error::PackError;
pub use self::plan::{PackPlan, plan};
pub use self::report::{Counts, REPORT};

pub(crate) use self::folder::{WORK, write_whole};

/// What packing is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A source that can only be read once is dealt into buckets.
    Reading,
    /// Shards are written.
    Packing,
}

/// How far packing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Samples done.
    pub samples: u64,
    /// Samples to do; 0 while that is not known.
    pub total: u64,
    /// Bytes done: of the source while it is dealt into buckets, of pictures while they are packed.
    pub bytes: u64,
    /// Bytes to do.
    pub total_bytes: u64,
}

/// What packing asks and tells its caller.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// Looks at each picture.
    pub pictures: &'a dyn Pictures,
    /// Called after each sample.
    pub progress: &'a dyn Fn(Progress),
    /// Once true, packing ends with [`PackError::Stopped`].
    pub stop: &'a AtomicBool,
}

/// Whether a pack that was begun is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Resume {
    /// If the destination holds an unfinished pack of the same source and options.
    #[default]
    Auto,
    /// Never: an unfinished pack is removed.
    Never,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackReport {
    /// The manifest that was written.
    #[serde(skip)]
    pub manifest: Manifest,
    /// Its checksum; see [`ShardSet::digest`](crate::ShardSet::digest).
    pub digest: String,
    /// Files of the source that are no pictures by their names.
    pub ignored: Ignored,
    /// What is odd about the source: a tar without its end, bytes behind it.
    pub warnings: Vec<String>,
    /// What was left out, kept although it is bad, or made smaller.
    pub counts: Counts,
    /// The file that names each of them, if there are any.
    pub report: Option<PathBuf>,
    /// Samples that an earlier run had packed already.
    pub resumed: u64,
}

/// Packs `source` into the folder `destination`, which is new, empty, or holds an unfinished pack of the same.
///
/// The order of the samples follows from their keys and the seed; the same samples and `config` give the same bytes.
/// Killed at any moment and called again, it goes on and the result is the same.
///
/// # Errors
/// See [`PackError`]. Whatever is wrong, nothing in the destination looks like a set.
pub fn pack(
    source: &Path,
    destination: &Path,
    config: &PackConfig,
    resume: Resume,
    hooks: Hooks<'_>,
) -> Result<PackReport, PackError> {
    config.check()?;
    let state = State { version: VERSION, source: absolute(source)?, config: config.clone() };
    // A source that cannot be packed is told before anything is written.
    let opened = match is_begun(destination, &state, resume)? {
        true => None,
        false => Some(source::open(source, &config.source)?),
    };
    let claimed = Destination::claim(destination)?;
    // What was seen before the folder was locked may be another process's doing.
    if is_begun(destination, &state, resume)? {
        // A set that only has to be moved into place no longer needs its source.
        if let Some(done) = resume::published(&claimed)? {
            return finish(claimed, done, Notes::default());
        }
    } else {
        claimed.clear()?;
    }
    let opened = opened.map_or_else(|| source::open(source, &config.source), Ok)?;
    write_whole(&claimed.work(), STATE, &to_json(&state, &claimed.work())?)?;
    let (list, notes) = list(source, opened, &claimed, config, hooks)?;
    let written = write(source, &claimed, &list, config, hooks)?;
    let manifest = Manifest::new(&config.name, config.seed, list.classes, written.shards());
    let (text, _) = manifest.seal().map_err(|error| PackError::Write { path: claimed.work(), source: error.into() })?;
    write_whole(&claimed.work(), MANIFEST, &text)?;
    finish(claimed, written, notes)
}

/// Whether `destination` holds a pack of this source and options that is gone on with; another one is refused.
fn is_begun(destination: &Path, state: &State, resume: Resume) -> Result<bool, PackError> {
    match (inspect(destination)?, resume) {
        (Found::Unfinished(found), Resume::Auto) => resume::check(destination, &found, state).map(|()| true),
        (Found::Unfinished(_), Resume::Never) | (Found::Nothing, _) => Ok(false),
    }
}

/// A source in the order of packing.
struct List {
    origin: Origin,
    jobs: Vec<Job>,
    classes: Vec<String>,
    bad: Vec<BadItem>,
    /// Temporary files, each with the number of jobs after which it is no longer needed.
    spent: Vec<(u64, PathBuf)>,
}

fn list(
    source: &Path,
    opened: Opened,
    destination: &Destination,
    config: &PackConfig,
    hooks: Hooks<'_>,
) -> Result<(List, Notes), PackError> {
    let (keys, shuffle) = (KeyGiver::new(config.on_bad_image), Shuffle::new(config.seed));
    let (mut list, notes) = match opened {
        Opened::Listed(listing) => listed(listing, keys, shuffle, config)?,
        Opened::Streamed(stream) => {
            let buckets = Buckets::open(&destination.work(), stream.bytes, config, shuffle)?;
            buckets.fill(stream, keys, hooks)?
        }
    };
    if list.jobs.is_empty() && list.bad.is_empty() {
        return Err(PackError::NoPictures { path: source.into() });
    }
    if let Some(limit) = config.limit {
        list.jobs.truncate(usize::try_from(limit.get()).unwrap_or(usize::MAX));
    }
    check_count(&list.jobs, config)?;
    Ok((list, notes))
}

fn listed(listing: Listing, keys: KeyGiver, shuffle: Shuffle, config: &PackConfig) -> Result<(List, Notes), PackError> {
    let Listing { root, files, items, classes, ignored, mut bad, warnings } = listing;
    if let (Some(first), OnBadImage::Fail) = (bad.first(), config.on_bad_image) {
        return Err(PackError::BadSample { name: first.name.clone(), reason: first.what.clone() });
    }
    let ordered = order::order(items, classes, keys, shuffle)?;
    bad.extend(ordered.bad);
    let list =
        List { origin: Origin { root, files }, jobs: ordered.jobs, classes: ordered.classes, bad, spent: Vec::new() };
    Ok((list, Notes { ignored, warnings }))
}

/// Whether the shards' numbers have room in six digits.
fn check_count(jobs: &[Job], config: &PackConfig) -> Result<(), PackError> {
    const MOST_SHARDS: u64 = 1_000_000;
    let shards = (jobs.len() as u64).div_ceil(config.samples_per_shard.get());
    if config.shard_size.is_none() && shards > MOST_SHARDS {
        let reason = format!("{} samples make {shards} shards, more than {MOST_SHARDS}", jobs.len());
        return Err(PackError::Config(format!("{reason}: raise the samples per shard")));
    }
    Ok(())
}

/// Writes the shards that are not there yet.
fn write(
    source: &Path,
    destination: &Destination,
    list: &List,
    config: &PackConfig,
    hooks: Hooks<'_>,
) -> Result<Written, PackError> {
    let work = destination.work();
    let (journal, entries) = Journal::open(&work).map_err(|source| PackError::Write { path: work.clone(), source })?;
    let start = resume::start(destination.path(), &work, &entries, list, config)?;
    let resumed = entries.iter().filter_map(|entry| entry.shard.as_ref()).map(|shard| shard.samples).sum();
    let ended = entries.last().is_some_and(|entry| entry.shard.is_none());
    let entries =
        if ended { entries } else { fill(Work { folder: &work, list, config, hooks }, journal, entries, start)? };
    if entries.iter().all(|entry| entry.shard.is_none()) {
        let said = fs::read_to_string(work.join(REPORT)).unwrap_or_default();
        let report = said.lines().next().unwrap_or_default().into();
        destination.clear()?;
        return Err(PackError::AllBad {
            path: source.into(),
            count: (list.jobs.len() + list.bad.len()) as u64,
            report,
        });
    }
    Ok(Written { entries, resumed })
}

/// Shards that are on the disk.
struct Written {
    entries: Vec<Entry>,
    resumed: u64,
}

impl Written {
    fn shards(&self) -> Vec<crate::ShardInfo> {
        self.entries.iter().filter_map(|entry| entry.shard.clone()).collect()
    }
}

/// Moves the finished set into place.
fn finish(destination: Destination, written: Written, notes: Notes) -> Result<PackReport, PackError> {
    let damaged =
        |error: crate::ShardError| PackError::Resume { path: destination.path().into(), reason: error.to_string() };
    let folder =
        if destination.work().join(MANIFEST).exists() { destination.work() } else { destination.path().into() };
    let (manifest, digest) = Manifest::load(&folder).map_err(damaged)?;
    let path = destination.path().to_path_buf();
    destination.publish(&manifest)?;
    let (report, digest) = (path.join(REPORT), digest.to_string());
    let counts = written.entries.last().map(|entry| entry.counts.clone()).unwrap_or_default();
    Ok(PackReport {
        manifest,
        digest,
        ignored: notes.ignored,
        warnings: notes.warnings,
        counts,
        report: Some(report).filter(|path| path.exists()),
        resumed: written.resumed,
    })
}

fn absolute(source: &Path) -> Result<PathBuf, PackError> {
    std::path::absolute(source).map_err(|error| PackError::Read { path: source.into(), source: error })
}

fn to_json(state: &State, path: &Path) -> Result<Vec<u8>, PackError> {
    serde_json::to_vec_pretty(state).map_err(|error| PackError::Write { path: path.into(), source: error.into() })
}
