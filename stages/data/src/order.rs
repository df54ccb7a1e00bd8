//! The order of an epoch: which sample stands at which position, known before a byte is read.
//!
//! An epoch has N positions. The shards are permuted by (seed, epoch) and laid end to end; this sequence of N samples
//! is cut into S *streams* of N div S samples, the first N mod S of them one longer; each stream is cut into blocks of
//! `shuffle_block` samples, and each block is permuted by (seed, epoch, stream, block). Position p is entry p div S of
//! stream p mod S. Global step s takes the G positions from s·G on, and of these rank r of W those with p mod W = r.
//!
//! W divides S, so a rank reads whole streams and nothing else. The order knows neither W nor the number of threads:
//! whatever they are, step s trains on the same samples. Positions from floor(N / G)·G on are left out of their epoch
//! (the published `drop_last`), so every rank makes the same number of steps.

use std::sync::Arc;

use mugs_random::{derive, permutation};

/// The least number of streams that is chosen without being asked: enough that a batch mixes many places of the set.
const LEAST_STREAMS: u32 = 64;

/// The most streams: their number is the upper part of the blocks' address.
const MOST_STREAMS: u32 = 1 << 16;

/// An order that cannot be, with what would make it possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is nothing to order.
    #[error("the shard set has no samples")]
    Empty,
    /// Not even one step can be made.
    #[error(
        "the shard set has {samples} samples, fewer than one global batch of {global_batch} (batch size x ranks x \
         accumulation): choose a smaller batch size"
    )]
    FewerThanABatch {
        /// N.
        samples: u64,
        /// G.
        global_batch: u64,
    },
    /// An option is out of its range.
    #[error("`{option}` is {value}, it must be from {least} to {most}")]
    Range {
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// The ranks cannot share the streams evenly.
    #[error("{streams} `streams` cannot be shared by {world} ranks: the number of ranks must divide them")]
    Uneven {
        /// S.
        streams: u32,
        /// W.
        world: u32,
    },
    /// The ranks cannot share a batch evenly.
    #[error("a global batch of {global_batch} cannot be shared by {world} ranks: it must be a multiple of them")]
    UnevenBatch {
        /// G.
        global_batch: u64,
        /// W.
        world: u32,
    },
}

/// The number of streams for a run that starts with `world` ranks: the smallest multiple of `world` that is at least
/// 64. The run keeps it for good, in its checkpoints.
///
/// ```
/// # use mugs_data::order::default_streams;
/// assert_eq!([1, 8, 24, 40, 100].map(default_streams), [64, 64, 72, 80, 100]);
/// ```
pub fn default_streams(world: u32) -> u32 {
    LEAST_STREAMS.next_multiple_of(world.max(1))
}

/// The part of one rank in every global batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The rank, below `world`.
    pub rank: u32,
    /// How many ranks there are.
    pub world: u32,
}

/// Where a sample lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The shard, by its number in the manifest.
    pub shard: usize,
    /// The sample's number within the shard.
    pub sample: usize,
}

/// The orders of all epochs of a run: a pure function of the shards' sample counts, the seed, S and `shuffle_block`.
#[derive(Debug, Clone)]
pub struct Order {
    counts: Arc<[u64]>,
    samples: u64,
    seed: u64,
    streams: u32,
    shuffle_block: u32,
}

impl Order {
    /// The order over shards of `counts` samples.
    ///
    /// # Errors
    /// There is no sample, or `streams` (1 to 65536) or `shuffle_block` (1 or more) is out of range.
    pub fn new(counts: &[u64], seed: u64, streams: u32, shuffle_block: u32) -> Result<Self, OrderError> {
        let range = |option, value: u32, most| match value {
            value if (1..=most).contains(&value) => Ok(()),
            value => Err(OrderError::Range { option, value: value.into(), least: 1, most: most.into() }),
        };
        range("streams", streams, MOST_STREAMS)?;
        range("shuffle_block", shuffle_block, u32::MAX)?;
        let samples = counts.iter().sum();
        if samples == 0 {
            return Err(OrderError::Empty);
        }
        Ok(Self { counts: counts.into(), samples, seed, streams, shuffle_block })
    }

    /// N, the samples of the set.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// S, the number of streams.
    pub fn streams(&self) -> u32 {
        self.streams
    }

    /// How many samples are permuted with each other.
    pub fn shuffle_block(&self) -> u32 {
        self.shuffle_block
    }

    /// Steps of an epoch: floor(N / G).
    ///
    /// # Errors
    /// Not one step can be made, because G is more than N (or 0).
    pub fn steps(&self, global_batch: u64) -> Result<u64, OrderError> {
        match self.samples.checked_div(global_batch) {
            Some(steps) if steps > 0 => Ok(steps),
            _ => Err(OrderError::FewerThanABatch { samples: self.samples, global_batch }),
        }
    }

    /// Checks that the ranks can share streams and batches evenly.
    ///
    /// # Errors
    /// The rank is none, or their number does not divide S or G.
    pub fn check_share(&self, share: Share, global_batch: u64) -> Result<(), OrderError> {
        let Share { rank, world } = share;
        if world == 0 || !self.streams.is_multiple_of(world) {
            return Err(OrderError::Uneven { streams: self.streams, world });
        }
        if !global_batch.is_multiple_of(world.into()) {
            return Err(OrderError::UnevenBatch { global_batch, world });
        }
        if rank >= world {
            let most = (world - 1).into();
            return Err(OrderError::Range { option: "rank", value: rank.into(), least: 0, most });
        }
        Ok(())
    }

    /// The order of one epoch.
    pub fn epoch(&self, epoch: u32) -> EpochOrder {
        let shards = permutation(derive(self.seed, "order of shards"), epoch, 0, 0, self.counts.len());
        let mut end = 0;
        let ends = shards.iter().map(|&shard| {
            end += self.counts[shard as usize];
            end
        });
        EpochOrder {
            ends: ends.collect(),
            shards,
            epoch,
            seed: derive(self.seed, "order within blocks"),
            order: self.clone(),
        }
    }
}

/// Positions from `start` to `end` of the share's rank, ascending. Step s is `s * G .. (s + 1) * G`.
///
/// ```
/// # use mugs_data::order::{Share, positions};
/// assert!(positions(Share { rank: 1, world: 2 }, 12..18).eq([13, 15, 17]));
/// ```
pub fn positions(share: Share, range: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
    let (rank, world) = (u64::from(share.rank), u64::from(share.world.max(1)));
    let behind = (rank + world - range.start % world) % world;
    (range.start + behind..range.end).step_by(world as usize)
}

/// The order of one epoch.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    order: Order,
    epoch: u32,
    /// The blocks' seed.
    seed: u64,
    /// The shards in this epoch's order.
    shards: Vec<u32>,
    /// Where each of them ends in the sequence of all samples.
    ends: Vec<u64>,
}

impl EpochOrder {
    /// The epoch.
    pub fn number(&self) -> u32 {
        self.epoch
    }

    /// The sample at a position below N. Permutes a block to find it: [`EpochOrder::stream`] is the way through many.
    ///
    /// # Panics
    /// The position is not below N.
    pub fn place(&self, position: u64) -> Place {
        assert!(position < self.order.samples, "position {position} of {}", self.order.samples);
        let streams = u64::from(self.order.streams);
        let (stream, entry) = ((position % streams) as u32, position / streams);
        let (start, block) = self.block(stream, entry / u64::from(self.order.shuffle_block));
        self.at(start + u64::from(block[(entry % u64::from(self.order.shuffle_block)) as usize]))
    }

    /// The sample that comes `behind` places after a position below N in its stream, where the stream's last sample is
    /// followed by its first; none when that leads all around. Depends on no rank and no batch size.
    ///
    /// # Panics
    /// The position is not below N.
    pub fn behind(&self, position: u64, behind: u64) -> Option<Place> {
        let streams = u64::from(self.order.streams);
        let (stream, entry) = (position % streams, position / streams);
        let len = self.stream_len(stream as u32);
        (behind < len).then(|| self.place((entry + behind) % len * streams + stream))
    }

    /// The samples of a stream, in the order of its positions, from `entry` on.
    pub fn stream(&self, stream: u32, entry: u64) -> StreamOrder<'_> {
        StreamOrder { order: self, stream, entry, start: 0, block: Vec::new() }
    }

    /// Samples of a stream.
    pub(crate) fn stream_len(&self, stream: u32) -> u64 {
        let (samples, streams) = (self.order.samples, u64::from(self.order.streams));
        samples / streams + u64::from(u64::from(stream) < samples % streams)
    }

    /// Where a stream starts in the sequence of all samples.
    fn stream_start(&self, stream: u32) -> u64 {
        let (samples, streams, stream) = (self.order.samples, u64::from(self.order.streams), u64::from(stream));
        samples / streams * stream + stream.min(samples % streams)
    }

    /// Where a block starts in the sequence of all samples, and its permutation.
    fn block(&self, stream: u32, block: u64) -> (u64, Vec<u32>) {
        let size = u64::from(self.order.shuffle_block);
        let first = block * size;
        let len = self.stream_len(stream).saturating_sub(first).min(size);
        let address = u64::from(stream) << 32 | block;
        (self.stream_start(stream) + first, permutation(self.seed, self.epoch, address, 0, len as usize))
    }

    /// The sample at an index of the sequence of all samples.
    fn at(&self, index: u64) -> Place {
        let nth = self.ends.partition_point(|&end| end <= index);
        let start = if nth == 0 { 0 } else { self.ends[nth - 1] };
        Place { shard: self.shards[nth] as usize, sample: (index - start) as usize }
    }
}

/// The samples of a stream in their order; see [`EpochOrder::stream`].
#[derive(Debug, Clone)]
pub struct StreamOrder<'a> {
    order: &'a EpochOrder,
    stream: u32,
    /// The next one.
    entry: u64,
    /// Where the block at hand starts in the sequence of all samples.
    start: u64,
    /// Its permutation; empty before the first entry.
    block: Vec<u32>,
}

impl Iterator for StreamOrder<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        if self.entry >= self.order.stream_len(self.stream) {
            return None;
        }
        let size = u64::from(self.order.order.shuffle_block);
        let within = (self.entry % size) as usize;
        if within == 0 || self.block.is_empty() {
            (self.start, self.block) = self.order.block(self.stream, self.entry / size);
        }
        self.entry += 1;
        Some(self.order.at(self.start + u64::from(self.block[within])))
    }
}

#[cfg(test)]
mod tests;
