//! What each of several ranks reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mugs_data::fetch::{Cursor, Fetch, FetchConfig, Span};
use mugs_data::order::{Order, Share, positions};
use mugs_flow::Flow;
use proptest::prelude::*;

use crate::support::{EPOCHS, PICTURES, Set, config};

/// Bytes that this thread has read so far, as the kernel counts them.
fn read_by_this_thread() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Samples, their bytes, and the bytes that were read for them.
fn fetched(set: &Set, share: Share, global_batch: u64) -> [u64; 3] {
    let span = Span { share, global_batch, start: Cursor::default(), epochs: EPOCHS };
    let fetch = Fetch::new(set.open(), &config(), 42, span).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let mut flow = Flow::new();
    let counted = Arc::clone(&read);
    let samples = flow.source("fetch", 4, move |out| {
        let before = read_by_this_thread();
        let done = fetch.run(out);
        let own = read_by_this_thread();
        // Reading the count is a read too.
        let of_counting = read_by_this_thread() - own;
        counted.store(own - before - of_counting, Ordering::Release);
        done
    });
    let mut running = flow.start("count", samples).unwrap();
    let (mut number, mut bytes) = (0, 0);
    while let Some(sample) = running.recv().unwrap() {
        number += 1;
        bytes += sample.image.len() as u64;
    }
    running.join().unwrap();
    [number, bytes, read.load(Ordering::Acquire)]
}

#[test]
fn each_rank_reads_the_bytes_of_its_own_samples() {
    let set = Set::pack(|_| ());
    let global_batch = 8;
    let steps = PICTURES / global_batch * u64::from(EPOCHS);
    let (mut whole, mut read_alone) = (None, None);
    for world in [1, 2, 4] {
        let ranks: Vec<_> = (0..world).map(|rank| fetched(&set, Share { rank, world }, global_batch)).collect();
        let sum = |index: usize| ranks.iter().map(|rank| rank[index]).sum::<u64>();
        assert_eq!(sum(0), steps * global_batch);
        // All ranks together deliver what one would.
        assert_eq!(*whole.get_or_insert(sum(1)), sum(1));
        let alone = *read_alone.get_or_insert(ranks[0][2]);
        for [number, bytes, read] in ranks {
            assert_eq!(number, steps * global_batch / u64::from(world));
            // Beside the pictures their tar headers, labels and padding, and the shards' indexes.
            assert!((bytes..bytes + 1536 * number).contains(&read), "{world} ranks: {read} bytes read for {bytes}");
            let share = alone / u64::from(world);
            assert!((share * 7 / 10..share * 13 / 10).contains(&read), "{world} ranks: {read} of {alone} bytes read");
        }
    }
}

proptest! {
    /// Whatever the shards' sizes, the batch and the streams: all ranks take equally many steps of equally many samples,
    /// no sample twice, together those of one rank; or it is refused before the first.
    #[test]
    fn ranks_take_equal_steps(
        counts in proptest::collection::vec(0_u64..40, 1..9),
        (batch, world, streams, block) in (1_u64..6, 1_u32..9, 1_u32..40, 1_u32..20),
        seed in 0_u64..1000,
    ) {
        let global_batch = batch * u64::from(world);
        let Ok(order) = Order::new(&counts, seed, streams, block) else {
            prop_assert_eq!(counts.iter().sum::<u64>(), 0);
            return Ok(());
        };
        let check = order.check_share(Share { rank: 0, world }, global_batch);
        prop_assert_eq!(check.is_ok(), streams.is_multiple_of(world));
        let Ok(steps) = order.steps(global_batch) else {
            prop_assert!(order.samples() < global_batch);
            return Ok(());
        };
        let epoch = order.epoch(1);
        let mut all = Vec::new();
        for rank in 0..world {
            let own: Vec<u64> = positions(Share { rank, world }, 0..steps * global_batch).collect();
            prop_assert_eq!(own.len() as u64, steps * batch);
            for step in 0..steps {
                let range = step * global_batch..(step + 1) * global_batch;
                prop_assert_eq!(own.iter().filter(|position| range.contains(position)).count() as u64, batch);
            }
            if check.is_ok() {
                // Its samples lie in its own streams.
                prop_assert!(own.iter().all(|position| position % u64::from(streams) % u64::from(world) == u64::from(rank)));
            }
            all.extend(own.into_iter().map(|position| epoch.place(position)));
        }
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len() as u64, steps * global_batch);
    }
}

#[test]
fn a_share_that_cannot_be_is_refused_before_the_first_step() {
    let set = Set::pack(|_| ());
    let new = |streams, world, global_batch| {
        let config = FetchConfig { streams: Some(streams), ..config() };
        let span = Span { share: Share { rank: 0, world }, global_batch, start: Cursor::default(), epochs: 1 };
        Fetch::new(set.open(), &config, 42, span).map(drop).unwrap_err().to_string()
    };
    assert!(new(4, 3, 6).contains("4 `streams` cannot be shared by 3 ranks"), "{}", new(4, 3, 6));
    assert!(new(4, 4, 6).contains("a global batch of 6 cannot be shared by 4 ranks"), "{}", new(4, 4, 6));
    assert!(new(4, 4, 72).contains("71 samples, fewer than one global batch of 72"), "{}", new(4, 4, 72));
}
