//! Reads an epoch: in storage order from the disk, in the epoch's order to the next stage.

use std::collections::VecDeque;
use std::iter::{Peekable, Take};
use std::sync::Arc;

use mugs_flow::BoxError;
use mugs_shards::ShardReader;

use super::retry::Pause;
use super::shards::{Bad, Outcome};
use super::{Fetch, Span, fetched};
use crate::error::DataError;
use crate::item::{Fetched, Origin};
use crate::order::{EpochOrder, Place, StreamOrder, positions};

/// One rank's way through one epoch.
pub(super) struct EpochReader<'a> {
    fetch: &'a Fetch,
    epoch: u32,
    positions: Box<dyn Iterator<Item = u64> + 'a>,
    /// The rank's streams; stream i of the order is number i div world here.
    streams: Vec<Stream<'a>>,
    /// The most bytes that each stream holds, a single larger sample aside.
    budget: u64,
}

/// One stream: what of it is read, and what comes next.
struct Stream<'a> {
    places: Peekable<Take<StreamOrder<'a>>>,
    /// Samples read ahead, good and bad, in the order of delivery.
    ready: VecDeque<Outcome>,
    /// The most samples of the next sweep.
    most: usize,
    /// The shards of the last sweep, kept open: the next one most likely reads on in them.
    open: Vec<Arc<ShardReader>>,
}

impl<'a> EpochReader<'a> {
    /// Starts at a step of the epoch.
    pub(super) fn new(fetch: &'a Fetch, order: &'a EpochOrder, step: u64) -> Self {
        let Span { share, global_batch, .. } = fetch.span;
        let range = step * global_batch..fetch.steps * global_batch;
        let own = fetch.order.streams() / share.world;
        let count = u64::from(fetch.order.streams());
        let streams = (0..own).map(|nth| {
            let stream = u64::from(nth * share.world + share.rank);
            // Entries of the stream before a position.
            let before = |position: u64| position.saturating_sub(stream).div_ceil(count);
            let (first, end) = (before(range.start), before(range.end));
            // First sweeps of different lengths, so that the streams do not all sweep at the same time ever after.
            let most = 1 + (fetch.order.shuffle_block() - 1) as u64 * u64::from(nth + 1) / u64::from(own);
            Stream {
                places: order.stream(stream as u32, first).take((end - first) as usize).peekable(),
                ready: VecDeque::new(),
                most: most as usize,
                open: Vec::new(),
            }
        });
        let (streams, positions) = (streams.collect(), Box::new(positions(share, range)));
        let budget = fetch.readahead / u64::from(own);
        Self { fetch, epoch: order.number(), positions, streams, budget }
    }

    /// The next sample of the rank; none at the end of the epoch.
    pub(super) fn next(&mut self, pause: &mut Pause<'_>) -> Result<Option<Fetched>, BoxError> {
        let Some(position) = self.positions.next() else { return Ok(None) };
        let stream = position % u64::from(self.fetch.order.streams()) / u64::from(self.fetch.span.share.world);
        let stream = stream as usize;
        if self.streams[stream].ready.is_empty() {
            self.sweep(stream, pause)?;
        }
        match self.streams[stream].ready.pop_front() {
            None => Ok(None),
            Some(Outcome::Good(sample)) => Ok(Some(fetched(self.epoch, position, sample, None))),
            Some(Outcome::Bad(bad)) => {
                let Bad { key, shard, offset, error } = *bad;
                let (epoch, label, stands_in_for) = (self.epoch, None, None);
                let bad = Origin { epoch, position, key, shard, offset, label, stands_in_for };
                self.fetch.stand_ins.find(bad, DataError::Shard(error), pause).map(Some)
            }
        }
    }

    /// Reads the stream's next samples in one pass over the disk.
    fn sweep(&mut self, stream: usize, pause: &mut Pause<'_>) -> Result<(), BoxError> {
        let (mut wanted, mut bytes) = (Vec::new(), 0);
        while wanted.len() < self.streams[stream].most
            && let Some(&place) = self.streams[stream].places.peek()
        {
            let shard = self.fetch.shards.open(place.shard, pause)?;
            bytes += size(&shard, place);
            if bytes > self.budget && !wanted.is_empty() {
                break;
            }
            self.streams[stream].places.next();
            wanted.push((place, wanted.len(), shard));
        }
        wanted.sort_unstable_by_key(|&(place, ..)| place);
        let mut samples: Vec<Option<Outcome>> = wanted.iter().map(|_| None).collect();
        let mut open: Vec<Arc<ShardReader>> = Vec::new();
        for (place, turn, shard) in wanted {
            samples[turn] = Some(self.fetch.shards.read(&shard, place.sample, pause)?);
            if open.last().is_none_or(|last| !Arc::ptr_eq(last, &shard)) {
                open.push(shard);
            }
        }
        let stream = &mut self.streams[stream];
        stream.ready.extend(samples.into_iter().flatten());
        stream.open = open;
        stream.most = self.fetch.order.shuffle_block() as usize;
        Ok(())
    }
}

/// The bytes that a sample keeps in memory once it is read.
fn size(shard: &ShardReader, place: Place) -> u64 {
    let members = shard.entries().get(place.sample).map(|entry| &entry.members[..]).unwrap_or_default();
    members.last().map_or(0, |last| last.end() - members[0].offset)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use mugs_shards::{CheckLevel, Hooks, PackConfig, PictureCheck, Resume, ShardSet, pack};
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::fetch::{Cursor, FetchConfig};
    use crate::order::Share;

    /// Bytes of the n-th sample's picture: 1000 to 7000.
    fn weight(number: usize) -> usize {
        1000 + number * 37 % 61 * 100
    }

    /// A set of 150 samples in shards of 20, which nobody decodes.
    fn set() -> (TempDir, ShardSet) {
        let folder = TempDir::new().unwrap();
        let (source, destination) = (folder.path().join("source"), folder.path().join("set"));
        std::fs::create_dir_all(source.join("class")).unwrap();
        for number in 0..150 {
            let bytes = vec![number as u8; weight(number)];
            std::fs::write(source.join(format!("class/{number:03}.jpeg")), bytes).unwrap();
        }
        let config = PackConfig { samples_per_shard: 20.try_into().unwrap(), ..PackConfig::default() };
        let pictures = PictureCheck { check: CheckLevel::None, ..PictureCheck::default() };
        let hooks = Hooks { pictures: &pictures, progress: &|_| (), stop: &AtomicBool::new(false) };
        pack(&source, &destination, &config, Resume::Auto, hooks).unwrap();
        let set = ShardSet::open(destination).unwrap();
        (folder, set)
    }

    /// One epoch's fetch that may hold so many bytes.
    fn fetch(
        set: &ShardSet,
        streams: u32,
        shuffle_block: u32,
        readahead: u64,
        share: Share,
        global_batch: u64,
    ) -> Fetch {
        let config = FetchConfig { shuffle_block, streams: Some(streams), ..FetchConfig::default() };
        let span = Span { share, global_batch, start: Cursor::default(), epochs: 1 };
        Fetch { readahead, ..Fetch::new(set.clone(), &config, 7, span).unwrap() }
    }

    #[test]
    fn no_more_is_held_than_allowed_and_the_order_is_the_same() {
        let (_folder, set) = set();
        let mut all: Vec<Vec<Fetched>> = Vec::new();
        for readahead in [0, 20_000, 100_000, 250_000, 1 << 30] {
            let fetch = fetch(&set, 4, 16, readahead, Share { rank: 0, world: 1 }, 10);
            let order = fetch.order.epoch(0);
            let mut reader = EpochReader::new(&fetch, &order, 0);
            let (mut samples, mut most_held) = (Vec::new(), 0);
            while let Some(sample) = reader.next(&mut |_| Ok(())).unwrap() {
                let held = reader.streams.iter().flat_map(|stream| &stream.ready);
                let bytes = |outcome: &Outcome| match outcome {
                    Outcome::Good(sample) => sample.image.len(),
                    Outcome::Bad(bad) => panic!("{bad:?}"),
                };
                most_held = most_held.max(held.map(bytes).sum());
                samples.push(sample);
            }
            assert!(most_held as u64 <= readahead, "{most_held} bytes of {readahead}");
            assert!(readahead == 0 || most_held > 0);
            all.push(samples);
        }
        for (position, sample) in all[0].iter().enumerate() {
            let number: usize = sample.origin.key.trim_start_matches("class_").parse().unwrap();
            assert_eq!(sample.image, vec![number as u8; weight(number)]);
            assert_eq!(sample.origin.position, position as u64);
            assert_eq!((sample.origin.epoch, sample.origin.label), (0, Some(0)));
        }
        let origins = |samples: &[Fetched]| samples.iter().map(|sample| sample.origin.clone()).collect::<Vec<_>>();
        for samples in &all[1..] {
            assert_eq!(origins(samples), origins(&all[0]));
        }
    }

    #[test]
    fn few_shards_are_open_at_once() {
        let (_folder, set) = set();
        let fetch = fetch(&set, 2, 8, 1 << 30, Share { rank: 0, world: 1 }, 10);
        let order = fetch.order.epoch(0);
        let mut reader = EpochReader::new(&fetch, &order, 0);
        while reader.next(&mut |_| Ok(())).unwrap().is_some() {
            let open = fetch.shards.open_count();
            // A sweep is within two blocks of 8 neighbours, which lie in two shards of 20 at most.
            assert!(open <= 2 * 2, "{open} shards are open");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        /// Whatever the ranks, the start and the readahead: each position, its sample, once.
        #[test]
        fn ranks_read_what_the_order_says(
            (world, multiple) in (1..5u32, 1..4u32), block in 1..30u32, per_rank in 1..9u64, step in 0..4u64,
            readahead in 0..300_000u64,
        ) {
            let (_folder, set) = set();
            let global_batch = per_rank * u64::from(world);
            for rank in 0..world {
                let share = Share { rank, world };
                let fetch = fetch(&set, world * multiple, block, readahead, share, global_batch);
                let order = fetch.order.epoch(3);
                let mut reader = EpochReader::new(&fetch, &order, step);
                for position in positions(share, step * global_batch..fetch.steps * global_batch) {
                    let sample = reader.next(&mut |_| Ok(())).unwrap().unwrap();
                    let place = order.place(position);
                    let shard = set.open_shard(place.shard).unwrap();
                    prop_assert_eq!(&sample.origin.key, &shard.entry(place.sample).key);
                    prop_assert_eq!((sample.origin.epoch, sample.origin.position), (3, position));
                }
                prop_assert!(reader.next(&mut |_| Ok(())).unwrap().is_none());
            }
        }
    }
}
