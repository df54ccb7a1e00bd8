//! The stage that reads samples from a shard set, in the order of the epochs.

mod epoch;
mod retry;
mod shards;
mod stand_in;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mugs_flow::{BoxError, Emitter};
use mugs_shards::{Sample, ShardSet};
use serde::{Deserialize, Serialize};

use self::epoch::EpochReader;
use self::retry::Retry;
use self::shards::Shards;
pub use self::stand_in::StandIns;
use crate::bad::{OnBadSample, default_most};
use crate::error::DataError;
use crate::item::{Dropped, Fetched, Origin};
use crate::order::{Order, Share, default_streams};

/// How samples are read.
///
/// ```toml
/// readahead_mb = 512
/// shuffle_block = 256
/// read_retries = 5
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchConfig {
    /// Encoded samples that each rank holds until their turn comes, in MiB (2^20 bytes). Default 512. When it is less
    /// than all blocks in hand (streams / ranks x `shuffle_block` x the size of a sample), blocks are read in several
    /// sweeps; the order stays the same.
    pub readahead_mb: u64,
    /// How many samples that lie one after the other in the shards are permuted with each other, 1 or more. Default
    /// 256. Part of the order: a run keeps it for good.
    pub shuffle_block: u32,
    /// The number of streams that are read side by side, 1 to 65536, a multiple of the number of ranks. Default: the
    /// smallest such multiple that is at least 64. Part of the order: a run keeps it for good, and can go on with any
    /// number of ranks that divides it.
    pub streams: Option<u32>,
    /// How often a read that failed is tried again before the run ends, after 0.1 s, 0.2 s, 0.4 s, … Default 5.
    pub read_retries: u32,
    /// What is done when a sample's bytes are bad or its picture cannot be decoded. Default `fail`.
    pub on_bad_sample: OnBadSample,
    /// With `on_bad_sample = "skip"`: the most bad samples of an epoch; one more ends the run. Default: 0.1 % of the
    /// epoch, at least 10.
    pub max_bad_samples: Option<u64>,
}

impl Default for FetchConfig {
    fn default() -> Self {
        let (on_bad_sample, max_bad_samples) = (OnBadSample::Fail, None);
        Self { readahead_mb: 512, shuffle_block: 256, streams: None, read_retries: 5, on_bad_sample, max_bad_samples }
    }
}

/// The next step to make: all before it are done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The epoch, from 0.
    pub epoch: u32,
    /// The step in the epoch, from 0.
    pub step: u64,
}

/// Which part of a run is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The rank that reads.
    pub share: Share,
    /// G, samples per step over all ranks: batch size x ranks x accumulation.
    pub global_batch: u64,
    /// Where to start.
    pub start: Cursor,
    /// The number of epochs of the whole run: the last one read is `epochs - 1`.
    pub epochs: u32,
}

/// Counts reads that were tried again. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Retries(Arc<AtomicU64>);

impl Retries {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads one rank's samples of a set on a local disk.
///
/// ```no_run
/// use mugs_data::fetch::{Cursor, Fetch, FetchConfig, Span};
/// use mugs_data::order::Share;
/// use mugs_flow::Flow;
/// use mugs_shards::ShardSet;
///
/// let set = ShardSet::open("imagenet-train")?;
/// let share = Share { rank: 0, world: 1 };
/// let span = Span { share, global_batch: 512, start: Cursor::default(), epochs: 100 };
/// let fetch = Fetch::new(set, &FetchConfig::default(), 42, span)?;
/// println!("{} steps per epoch", fetch.steps());
/// let mut flow = Flow::new();
/// let samples = flow.source("fetch", 256, move |out| fetch.run(out)).weighed(|sample| sample.image.len());
/// # drop(samples);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Fetch {
    shards: Shards,
    order: Order,
    span: Span,
    steps: u64,
    /// Bytes.
    readahead: u64,
    stand_ins: StandIns,
}

impl Fetch {
    /// Looks everything over that can be wrong before the first read.
    ///
    /// # Errors
    /// [`DataError::Order`] if the set, the batch and the ranks do not fit together, [`DataError::Start`] if the epoch
    /// has no such step.
    pub fn new(set: ShardSet, config: &FetchConfig, seed: u64, span: Span) -> Result<Self, DataError> {
        let counts: Vec<u64> = set.manifest().shards.iter().map(|shard| shard.samples).collect();
        let streams = config.streams.unwrap_or_else(|| default_streams(span.share.world));
        let order = Order::new(&counts, seed, streams, config.shuffle_block)?;
        order.check_share(span.share, span.global_batch)?;
        let steps = order.steps(span.global_batch)?;
        if span.start.step > steps {
            return Err(DataError::Start { step: span.start.step, steps });
        }
        let readahead = config.readahead_mb.saturating_mul(1 << 20);
        let shards = Shards::new(set, Retry::new(config.read_retries));
        let most = config.max_bad_samples.unwrap_or_else(|| default_most(order.samples()));
        let stand_ins = StandIns::new(shards.clone(), order.clone(), config.on_bad_sample, most);
        Ok(Self { shards, order, span, steps, readahead, stand_ins })
    }

    /// Steps per epoch, the same for every rank.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The order in use; its S and `shuffle_block` belong into every checkpoint.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Counts the reads that are tried again.
    pub fn retries(&self) -> Retries {
        self.shards.retries()
    }

    /// Finds samples in the place of bad ones; for the stage that decodes, too.
    pub fn stand_ins(&self) -> StandIns {
        self.stand_ins.clone()
    }

    /// The body of the stage: reads from the start to the last epoch's last step.
    ///
    /// # Errors
    /// A sample that is not what was packed, named with shard, key and offset, unless it may be skipped; a read that
    /// keeps failing.
    pub fn run(self, out: &mut Emitter<Fetched>) -> Result<(), BoxError> {
        let Span { start, epochs, .. } = self.span;
        for epoch in start.epoch..epochs {
            let order = self.order.epoch(epoch);
            let step = if epoch == start.epoch { start.step } else { 0 };
            let mut reader = EpochReader::new(&self, &order, step);
            while let Some(fetched) = reader.next(&mut |time| out.pause(time))? {
                out.send(fetched)?;
            }
        }
        Ok(())
    }
}

/// A sample at a position of an epoch, which may be that of a bad one.
fn fetched(epoch: u32, position: u64, sample: Sample, stands_in_for: Option<Box<Dropped>>) -> Fetched {
    let Sample { key, shard_name: shard, offset, label, image, .. } = sample;
    Fetched { origin: Origin { epoch, position, key, shard, offset, label, stands_in_for }, image }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_refuses_what_it_does_not_know() {
        let config: FetchConfig = serde_json::from_str(r#"{"readahead_mb": 8, "streams": 72}"#).unwrap();
        assert_eq!(config, FetchConfig { readahead_mb: 8, streams: Some(72), ..FetchConfig::default() });
        assert!(serde_json::from_str::<FetchConfig>(r#"{"read_ahead": 8}"#).is_err());
    }
}
