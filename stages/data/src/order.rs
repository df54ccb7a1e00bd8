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

    /// The samples of a stream, in the order of its positions, from `entry` on.
    pub fn stream(&self, stream: u32, entry: u64) -> StreamOrder<'_> {
        StreamOrder { order: self, stream, entry, start: 0, block: Vec::new() }
    }

    /// Samples of a stream.
    fn stream_len(&self, stream: u32) -> u64 {
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
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Pinned: another order would be another training run, and a resumed one would read samples twice.
    #[test]
    fn the_order_stays_what_it_is() {
        let epoch = Order::new(&[3, 4, 2], 42, 2, 4).unwrap().epoch(1);
        let places: Vec<(usize, usize)> = (0..9).map(|p| epoch.place(p)).map(|p| (p.shard, p.sample)).collect();
        assert_eq!(places, [(1, 3), (0, 0), (1, 0), (2, 1), (1, 2), (0, 2), (1, 1), (0, 1), (2, 0)]);
    }

    #[test]
    fn more_streams_than_samples_leave_the_last_ones_empty() {
        let epoch = Order::new(&[2, 1], 0, 8, 16).unwrap().epoch(0);
        let lengths: Vec<usize> = (0..8).map(|stream| epoch.stream(stream, 0).count()).collect();
        assert_eq!(lengths, [1, 1, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn impossible_orders_say_what_would_be_possible() {
        let message = |result: Result<Order, OrderError>| result.unwrap_err().to_string();
        assert_eq!(message(Order::new(&[], 0, 1, 1)), "the shard set has no samples");
        assert_eq!(message(Order::new(&[1], 0, 0, 1)), "`streams` is 0, it must be from 1 to 65536");
        assert_eq!(message(Order::new(&[1], 0, 1, 0)), "`shuffle_block` is 0, it must be from 1 to 4294967295");
        let order = Order::new(&[100], 0, 64, 256).unwrap();
        assert_eq!(
            order.steps(101).unwrap_err().to_string(),
            "the shard set has 100 samples, fewer than one global batch of 101 (batch size x ranks x accumulation): \
             choose a smaller batch size"
        );
        assert_eq!(order.steps(33), Ok(3));
        let uneven = order.check_share(Share { rank: 0, world: 3 }, 33).unwrap_err();
        assert_eq!(
            uneven.to_string(),
            "64 `streams` cannot be shared by 3 ranks: the number of ranks must divide them"
        );
        assert!(order.check_share(Share { rank: 0, world: 2 }, 33).is_err());
        assert!(order.check_share(Share { rank: 2, world: 2 }, 32).is_err());
        assert!(order.check_share(Share { rank: 1, world: 2 }, 32).is_ok());
    }

    #[test]
    fn epochs_and_seeds_give_other_orders_of_shards_and_within_blocks() {
        let places = |seed, epoch: u32| {
            let order = Order::new(&[40; 8], seed, 4, 16).unwrap().epoch(epoch);
            (0..320).map(|position| order.place(position)).collect::<Vec<_>>()
        };
        assert_eq!(places(1, 2), places(1, 2));
        let all = [places(1, 2), places(1, 3), places(2, 2)];
        let shards = |places: &[Place]| places.iter().map(|place| place.shard).collect::<Vec<_>>();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert_ne!(all[a], all[b]);
            assert_ne!(shards(&all[a]), shards(&all[b]));
        }
    }

    /// Shard counts, S as (world, multiple of it), `shuffle_block`, seed.
    fn orders() -> impl Strategy<Value = (Order, u32)> {
        let counts = prop::collection::vec(0..60u64, 1..12);
        (counts, 1..6u32, 1..6u32, 1..40u32, any::<u64>())
            .prop_filter("no samples", |(counts, ..)| counts.iter().sum::<u64>() > 0)
            .prop_map(|(counts, world, multiple, block, seed)| {
                (Order::new(&counts, seed, world * multiple, block).unwrap(), world)
            })
    }

    proptest! {
        #[test]
        fn an_epoch_holds_every_sample_once((order, _) in orders(), number: u32) {
            let epoch = order.epoch(number);
            let seen: HashSet<Place> = (0..order.samples()).map(|position| epoch.place(position)).collect();
            prop_assert_eq!(seen.len() as u64, order.samples());
            for place in seen {
                prop_assert!((place.sample as u64) < order.counts[place.shard]);
            }
        }

        #[test]
        fn streams_deal_the_positions_round_robin((order, _) in orders(), number: u32, entry in 0..20u64) {
            let epoch = order.epoch(number);
            for stream in 0..order.streams() {
                let first = u64::from(stream) + entry * u64::from(order.streams());
                let expected = (first..order.samples()).step_by(order.streams() as usize);
                prop_assert!(epoch.stream(stream, entry).eq(expected.map(|position| epoch.place(position))));
            }
        }

        #[test]
        fn a_stream_reads_one_stretch_of_the_shards((order, _) in orders(), number: u32) {
            let epoch = order.epoch(number);
            let rank_of = |shard| epoch.shards.iter().position(|&other| other as usize == shard);
            let mut last = None;
            for stream in 0..order.streams() {
                let mut places: Vec<_> = epoch.stream(stream, 0).map(|p| (rank_of(p.shard), p.sample)).collect();
                places.sort_unstable();
                prop_assert!(places.is_empty() || last <= places.first().copied());
                last = places.last().copied().or(last);
            }
        }

        #[test]
        fn ranks_share_every_step((order, world) in orders(), per_rank in 1..9u64) {
            let global_batch = per_rank * u64::from(world);
            let Ok(steps) = order.steps(global_batch) else {
                prop_assert!(order.samples() < global_batch);
                return Ok(());
            };
            prop_assert!(steps * global_batch <= order.samples() && order.samples() < (steps + 1) * global_batch);
            for step in 0..steps {
                let range = step * global_batch..(step + 1) * global_batch;
                let mut all = Vec::new();
                for rank in 0..world {
                    order.check_share(Share { rank, world }, global_batch).unwrap();
                    let own: Vec<u64> = positions(Share { rank, world }, range.clone()).collect();
                    prop_assert_eq!(own.len() as u64, per_rank);
                    // Only the rank's own streams are read.
                    prop_assert!(own.iter().all(|p| p % u64::from(order.streams()) % u64::from(world) == u64::from(rank)));
                    all.extend(own);
                }
                all.sort_unstable();
                prop_assert!(all.into_iter().eq(range));
            }
        }
    }
}
