//! The order is a partition, dealt as documented, for any counts, ranks, streams and blocks.

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
    assert_eq!(uneven.to_string(), "64 `streams` cannot be shared by 3 ranks: the number of ranks must divide them");
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
    fn what_is_behind_a_position_goes_once_around_its_stream((order, _) in orders(), number: u32, position: u64) {
        let epoch = order.epoch(number);
        let position = position % order.samples();
        let (stream, entry) = ((position % u64::from(order.streams())) as u32, position / u64::from(order.streams()));
        let around = epoch.stream(stream, entry).chain(epoch.stream(stream, 0).take(entry as usize));
        prop_assert!(around.eq((0..).map_while(|behind| epoch.behind(position, behind))));
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
