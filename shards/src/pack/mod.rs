//! Packing a folder of class folders into a set.

mod atomic;
mod error;
mod key;
mod listing;
mod read;
mod writer;

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use self::atomic::Destination;
use self::listing::{Listing, Picture};
use self::read::{Ordered, read_ahead};
use self::writer::ShardWriter;
use crate::manifest::{MANIFEST, Manifest, ShardInfo, valid_name};
use crate::source::Ignored;

pub use self::error::PackError;

/// Tells whether the bytes of a file are a picture, and if not, what they are: `its content is not …`.
pub type Inspect<'a> = &'a (dyn Fn(&[u8]) -> Result<(), String> + Sync);

/// How a set is packed. All but `workers` decide the bytes that are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PackConfig {
    /// What the shards' names begin with: 1 to 64 letters, digits, `_` and `-`. Default `train`, as in
    /// `train-000000.tar`.
    pub name: String,
    /// Samples in each shard but the last, which has the rest. Default 1000: about 110 MB of ImageNet.
    pub samples_per_shard: NonZero<u64>,
    /// Seed of the order of the samples, which is drawn over the whole set. Default 0.
    pub seed: u64,
    /// Threads that read pictures. Default 4: reading many small files is waiting.
    pub workers: NonZero<usize>,
}

impl Default for PackConfig {
    fn default() -> Self {
        const SAMPLES: NonZero<u64> = NonZero::new(1000).unwrap();
        const WORKERS: NonZero<usize> = NonZero::new(4).unwrap();
        Self { name: "train".into(), samples_per_shard: SAMPLES, seed: 0, workers: WORKERS }
    }
}

/// How far packing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Samples packed.
    pub samples: u64,
    /// Samples to pack.
    pub total: u64,
    /// Bytes of pictures packed.
    pub bytes: u64,
}

/// What packing asks and tells its caller.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// Called by the reading threads for each picture.
    pub inspect: Inspect<'a>,
    /// Called after each sample.
    pub progress: &'a dyn Fn(Progress),
    /// Once true, packing ends with [`PackError::Stopped`].
    pub stop: &'a AtomicBool,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackReport {
    /// The manifest that was written.
    pub manifest: Manifest,
    /// Its checksum; see [`ShardSet::digest`](crate::ShardSet::digest).
    pub digest: String,
    /// Files of the source that are not in the set.
    pub ignored: Ignored,
}

/// The most shards of a set: their numbers have six digits.
const MOST_SHARDS: u64 = 1_000_000;

/// Packs the class folders of `source` into the new or empty folder `destination`.
///
/// Labels are the numbers of the class folders in byte order of their names. The order of the samples is drawn over
/// the whole set. The same source and `config` give the same bytes.
///
/// # Errors
/// See [`PackError`]. Whatever is wrong, no file of the set is left, and no folder that was not there.
pub fn pack(source: &Path, destination: &Path, config: &PackConfig, hooks: Hooks<'_>) -> Result<PackReport, PackError> {
    check(config)?;
    Destination::check(destination)?;
    let listing = listing::list(source)?;
    let order = shuffled(&listing, config)?;
    let mut destination = Destination::claim(destination)?;
    let shards = thread::scope(|scope| {
        let pictures = read_ahead(scope, &order, config.workers.get(), hooks.inspect);
        write_shards(&mut destination, &order, pictures, config, hooks)
    })?;
    let Listing { classes, ignored, .. } = listing;
    let manifest = Manifest::new(&config.name, config.seed, classes, shards);
    let digest = write_manifest(&mut destination, &manifest)?;
    destination.keep();
    Ok(PackReport { manifest, digest, ignored })
}

fn check(config: &PackConfig) -> Result<(), PackError> {
    if valid_name(&config.name) {
        return Ok(());
    }
    let reason = format!("name {:?} must have 1 to 64 letters, digits, _ and -", config.name);
    Err(PackError::Config(reason))
}

/// The pictures in the order in which they are packed.
fn shuffled<'a>(listing: &'a Listing, config: &PackConfig) -> Result<Vec<&'a Picture>, PackError> {
    let pictures = &listing.pictures;
    let shards = (pictures.len() as u64).div_ceil(config.samples_per_shard.get());
    if shards > MOST_SHARDS || pictures.len() > u32::MAX as usize {
        let reason = format!("{} samples make {shards} shards, more than {MOST_SHARDS}", pictures.len());
        return Err(PackError::Config(format!("{reason}: raise the samples per shard")));
    }
    let key = mugs_random::derive(config.seed, "order of packing");
    let order = mugs_random::permutation(key, 0, 0, 0, pictures.len());
    Ok(order.into_iter().map(|place| &pictures[place as usize]).collect())
}

fn write_shards(
    destination: &mut Destination,
    order: &[&Picture],
    pictures: Ordered,
    config: &PackConfig,
    hooks: Hooks<'_>,
) -> Result<Vec<ShardInfo>, PackError> {
    let mut shards = Vec::new();
    let mut progress = Progress { samples: 0, total: order.len() as u64, bytes: 0 };
    let mut writer = None;
    for (picture, loaded) in order.iter().zip(pictures) {
        if hooks.stop.load(Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
        let loaded = loaded?;
        let shard = match &mut writer {
            Some(shard) => shard,
            None => writer.insert(ShardWriter::create(destination, &config.name, shards.len())?),
        };
        shard.add(&picture.key, picture.extension, picture.label, &loaded)?;
        progress.samples += 1;
        progress.bytes += loaded.bytes.len() as u64;
        let full = shard.samples() == config.samples_per_shard.get() || progress.samples == progress.total;
        if let Some(shard) = writer.take_if(|_| full) {
            shards.push(shard.finish(destination)?);
        }
        (hooks.progress)(progress);
    }
    Ok(shards)
}

/// Writes the manifest, the last file of a set, and gives its checksum.
fn write_manifest(destination: &mut Destination, manifest: &Manifest) -> Result<String, PackError> {
    let path = destination.path().join(MANIFEST);
    let (text, checksum) = manifest.seal().map_err(|error| PackError::Write { path, source: error.into() })?;
    destination.write(MANIFEST, &text)?;
    Ok(checksum.to_string())
}
