//! What packing would do, without writing anything.

use std::path::Path;

use serde::Serialize;

use super::order::{Given, KeyGiver, Shuffle};
use super::writer::tar_length;
use super::{Hooks, OnBadImage, PackConfig, PackError, Phase, Progress, listed};
use crate::source::{self, Ignored, Next, Opened, StreamSource};
use crate::ustar;

/// What a pack would be. Pictures are not looked at: those that would be left out or made smaller are counted as they
/// are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PackPlan {
    /// Samples.
    pub samples: u64,
    /// Names of classes.
    pub classes: u64,
    /// Shards.
    pub shards: u64,
    /// Bytes of pictures.
    pub picture_bytes: u64,
    /// Bytes of all tars, before they are compressed and without members `json`.
    pub bytes: u64,
    /// Samples that cannot be packed: without a picture, or with a key that is there twice.
    pub bad: u64,
    /// Files that are no pictures by their names.
    pub ignored: Ignored,
    /// What is odd about the source.
    pub warnings: Vec<String>,
}

/// Says what [`pack`](super::pack) would do. A source that can only be read once is read.
///
/// # Errors
/// The source cannot be read, or holds something that packing would end at.
pub fn plan(source: &Path, config: &PackConfig, hooks: Hooks<'_>) -> Result<PackPlan, PackError> {
    config.check()?;
    let sizes = match source::open(source, &config.source)? {
        Opened::Listed(listing) => {
            let (list, notes) = listed(listing, KeyGiver::new(config.on_bad_image), Shuffle::new(config.seed), config)?;
            let sizes = list.jobs.iter().map(|job| {
                let others = job.others.iter().map(|part| part.length).collect();
                Size { picture: job.picture.length, label: job.label.map(digits), others }
            });
            let plan = PackPlan {
                classes: list.classes.len() as u64,
                bad: list.bad.len() as u64,
                ignored: notes.ignored,
                warnings: notes.warnings,
                ..PackPlan::default()
            };
            (plan, sizes.collect())
        }
        Opened::Streamed(stream) => streamed(stream, config, hooks)?,
    };
    let (plan, sizes): (PackPlan, Vec<Size>) = sizes;
    if sizes.is_empty() {
        return Err(PackError::NoPictures { path: source.into() });
    }
    Ok(fill(plan, &sizes, config))
}

/// The lengths of a sample's members.
struct Size {
    picture: u64,
    /// Digits of the label.
    label: Option<u64>,
    others: Vec<u64>,
}

fn digits(label: u32) -> u64 {
    label.to_string().len() as u64
}

/// Reads a stream to its end. Without their order the samples' places in the shards are not known, their number is.
fn streamed(
    mut source: StreamSource,
    config: &PackConfig,
    hooks: Hooks<'_>,
) -> Result<(PackPlan, Vec<Size>), PackError> {
    let mut keys = KeyGiver::new(config.on_bad_image);
    let (mut plan, mut sizes) = (PackPlan::default(), Vec::new());
    let mut names = std::collections::HashSet::new();
    loop {
        if hooks.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
        let sample = match source.stream.next()? {
            Next::End => break,
            Next::Bad(bad) if config.on_bad_image == OnBadImage::Fail => {
                return Err(PackError::BadSample { name: bad.name, reason: bad.what });
            }
            Next::Bad(_) => {
                plan.bad += 1;
                continue;
            }
            Next::Sample(sample) => sample,
        };
        match keys.give(&sample.name, sample.key.as_deref(), &sample.picture.0)? {
            Given::Key(_) => {}
            Given::Renamed(..) => plan.bad += 1,
            Given::Skipped(_) => {
                plan.bad += 1;
                continue;
            }
        }
        let label = match &sample.label {
            source::Label::None => None,
            source::Label::Number(number) => Some(digits(*number)),
            source::Label::Class(class) => {
                names.insert(class.clone());
                Some(3)
            }
        };
        let others = sample.others.iter().map(|other| other.1.len() as u64).collect();
        sizes.push(Size { picture: sample.picture.1.len() as u64, label, others });
        let (samples, bytes) = (sizes.len() as u64, source.stream.position());
        (hooks.progress)(Progress { phase: Phase::Reading, samples, total: 0, bytes, total_bytes: source.bytes });
    }
    plan.classes = match &source.classes {
        source::Classes::Fixed(names) => names.len() as u64,
        source::Classes::Found => names.len() as u64,
    };
    (plan.ignored, plan.warnings) = source.notes.with(|notes| (notes.ignored.clone(), notes.warnings.clone()));
    Ok((plan, sizes))
}

/// Counts shards and bytes.
fn fill(mut plan: PackPlan, sizes: &[Size], config: &PackConfig) -> PackPlan {
    let limit = config.limit.map_or(u64::MAX, |limit| limit.get());
    let end = ustar::END.len() as u64;
    let (mut samples, mut bytes) = (0, end);
    for size in sizes.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
        let members = [size.picture].into_iter().chain(size.label).chain(size.others.iter().copied());
        let length = tar_length(members);
        let full = match config.shard_size {
            Some(limit) => bytes + length > limit.get(),
            None => samples == config.samples_per_shard.get(),
        };
        if samples == 0 || full {
            plan.shards += 1;
            plan.bytes += end;
            (samples, bytes) = (0, end);
        }
        samples += 1;
        bytes += length;
        plan.samples += 1;
        plan.picture_bytes += size.picture;
        plan.bytes += length;
    }
    plan
}
