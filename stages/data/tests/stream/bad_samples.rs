//! Bad samples: the next good one of the stream stands in, the same one whoever finds out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use mugs_data::DataError;
use mugs_data::bad::{BAD_SAMPLE_REASONS, OnBadSample};
use mugs_data::batch::HostBatch;
use mugs_data::decode::Warnings;
use mugs_data::fetch::{Cursor, FetchConfig};
use mugs_data::order::{Order, Share};
use mugs_flow::FlowError;
use mugs_image::{Image, encode};
use mugs_shards::ShardSet;
use proptest::prelude::*;

use crate::support::{BATCH, EPOCHS, ONE, PICTURES, Set, config, drain, start_with};

const STEPS: u64 = PICTURES / BATCH as u64;

fn skipping() -> FetchConfig {
    FetchConfig { on_bad_sample: OnBadSample::Skip, max_bad_samples: Some(PICTURES), ..config() }
}

/// What is wrong with a picture of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// Packed as it is, it is no picture.
    Unidentified,
    /// Packed as it is, half of it is missing.
    Cut,
    /// Packed as it is, its header says more pixels than are allowed.
    TooLarge,
    /// A byte of the shard has changed since.
    Changed,
}

/// A JPEG of some hundred bytes whose header says 20000x20000 pixels.
fn huge() -> Vec<u8> {
    let mut file = encode::jpeg(&Image::filled(16, 16, [90, 120, 30]), 90).unwrap();
    // SOF0: marker, length, precision, then rows and columns.
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 9].copy_from_slice(&[20_000u16.to_be_bytes(); 2].concat());
    file
}

/// A set in which the pictures of these numbers are damaged.
fn damaged(damages: &BTreeMap<u64, Damage>) -> Set {
    let set = Set::pack(|source| {
        for (number, damage) in damages {
            let names = ["jpg", "png"].map(|end| source.join(format!("class{}/{number:03}.{end}", number % 3)));
            let path = names.iter().find(|path| path.exists()).unwrap();
            let bytes = fs::read(path).unwrap();
            match damage {
                Damage::Unidentified => fs::write(path, "no picture at all").unwrap(),
                Damage::Cut => fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
                Damage::TooLarge => fs::write(path, huge()).unwrap(),
                Damage::Changed => {}
            }
        }
    });
    let changed: BTreeSet<String> =
        damages.iter().filter(|(_, damage)| **damage == Damage::Changed).map(|(number, _)| key(*number)).collect();
    each_sample(&set.open(), |shard, entry| {
        if changed.contains(&*entry.key) {
            let path = set.path.join(shard);
            let mut bytes = fs::read(&path).unwrap();
            bytes[entry.picture().unwrap().offset as usize + 9] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    });
    set
}

fn key(number: u64) -> String {
    format!("class{}_{number:03}", number % 3)
}

fn each_sample(set: &ShardSet, mut visit: impl FnMut(&str, &mugs_shards::SampleEntry)) {
    for number in 0..set.manifest().shards.len() {
        let shard = set.open_shard(number).unwrap();
        shard.entries().iter().for_each(|entry| visit(shard.name(), entry));
    }
}

/// The keys at the positions of an epoch, bad samples left in.
fn keys(set: &ShardSet, epoch: u32) -> Vec<String> {
    let counts: Vec<u64> = set.manifest().shards.iter().map(|shard| shard.samples).collect();
    let order = Order::new(&counts, 42, 4, 8).unwrap().epoch(epoch);
    let place = |position| order.place(position);
    let key = |place: mugs_data::order::Place| set.open_shard(place.shard).unwrap().entry(place.sample).key.to_string();
    (0..PICTURES).map(place).map(key).collect()
}

/// What stands at the positions of an epoch, in words of design.md: the next good one, cyclically in its stream.
fn expected(keys: &[String], bad: &BTreeSet<String>) -> Vec<String> {
    let stand_in = |position: usize| {
        let stream: Vec<&String> = keys.iter().skip(position % 4).step_by(4).collect();
        let behind = stream.iter().cycle().skip(position / 4).find(|key| !bad.contains(**key));
        behind.unwrap().to_string()
    };
    (0..keys.len()).map(stand_in).collect()
}

fn run(
    set: &ShardSet,
    config: &FetchConfig,
    share: Share,
    workers: usize,
    from: Cursor,
) -> Result<Vec<HostBatch>, FlowError> {
    drain(start_with(config, set.clone(), share, workers, from, &Warnings::default()))
}

fn check(set: &ShardSet, batches: &[HostBatch], damages: &BTreeMap<u64, Damage>) {
    let bad: BTreeSet<String> = damages.keys().map(|number| key(*number)).collect();
    for epoch in 0..EPOCHS {
        let own = keys(set, epoch);
        let expected = expected(&own, &bad);
        for batch in batches.iter().filter(|batch| batch.contents.epoch == epoch) {
            let contents = &batch.contents;
            for (position, key) in contents.positions.iter().zip(&contents.keys) {
                assert_eq!(&**key, expected[*position as usize], "epoch {epoch}, position {position}");
            }
            let dropped: Vec<(u64, &str)> = contents.dropped.iter().map(|d| (d.position, &*d.key)).collect();
            let own = contents.positions.iter().map(|position| (*position, own[*position as usize].as_str()));
            assert_eq!(dropped, own.filter(|(_, key)| bad.contains(*key)).collect::<Vec<_>>());
        }
    }
}

/// 1 to 20 damaged pictures.
fn damages() -> impl Strategy<Value = BTreeMap<u64, Damage>> {
    let damage = [Damage::Unidentified, Damage::Cut, Damage::TooLarge, Damage::Changed];
    let damage = proptest::sample::select(damage.to_vec());
    proptest::collection::btree_map(0..PICTURES, damage, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_next_good_one_stands_in_whatever_the_workers_and_the_start(
        damages in damages(), epoch in 0..EPOCHS, step in 0..STEPS,
    ) {
        let set = damaged(&damages);
        let opened = set.open();
        let whole = run(&opened, &skipping(), ONE, 1, Cursor::default()).unwrap();
        prop_assert_eq!(whole.len() as u64, u64::from(EPOCHS) * STEPS);
        check(&opened, &whole, &damages);
        // Little readahead: other sweeps, so other moments at which the bad samples are found.
        let slow = FetchConfig { readahead_mb: 0, ..skipping() };
        for (workers, config) in [(2, skipping()), (3, slow)] {
            prop_assert!(run(&opened, &config, ONE, workers, Cursor::default()).unwrap() == whole);
        }
        let rest = run(&opened, &skipping(), ONE, 3, Cursor { epoch, step }).unwrap();
        prop_assert!(rest == whole[(u64::from(epoch) * STEPS + step) as usize..]);
        for rank in 0..2 {
            let half = run(&opened, &skipping(), Share { rank, world: 2 }, 2, Cursor::default()).unwrap();
            check(&opened, &half, &damages);
        }
    }
}

#[test]
fn a_sample_that_stands_in_keeps_its_own_place_and_its_copies_differ() {
    let set = damaged(&BTreeMap::from([(11, Damage::Unidentified)]));
    let batches = run(&set.open(), &skipping(), ONE, 2, Cursor::default()).unwrap();
    let epoch = batches.iter().filter(|batch| batch.contents.epoch == 0);
    let pictures = epoch.flat_map(|batch| (0..BATCH).map(move |number| (batch, number)));
    let pictures: Vec<(&HostBatch, usize)> = pictures.collect();
    let (bad, stands_in) = pictures
        .iter()
        .find(|(batch, _)| !batch.contents.dropped.is_empty())
        .map(|(batch, _)| {
            let dropped = &batch.contents.dropped[0];
            let number = batch.contents.positions.iter().position(|position| *position == dropped.position).unwrap();
            (dropped, (*batch, number))
        })
        .unwrap();
    assert_eq!((&*bad.key, bad.reason, bad.in_a_row), ("class2_011", "unidentified", 1));
    assert!(bad.what.starts_with(&format!("sample class2_011 in shard {} at offset {}", bad.shard, bad.offset)));
    let key = |(batch, number): (&HostBatch, usize)| batch.contents.keys[number].clone();
    let copies: Vec<_> = pictures.into_iter().filter(|picture| key(*picture) == key(stands_in)).collect();
    assert_eq!(copies.len(), 2, "once in the place of the bad one, once in its own");
    let crops = |(batch, number): (&HostBatch, usize)| batch.global.crop(number).to_vec();
    assert_ne!(crops(copies[0]), crops(copies[1]));
}

#[test]
fn a_cut_shard_loses_only_what_is_cut() {
    let set = Set::pack(|_| ());
    let whole = set.open();
    let shard = whole.open_shard(2).unwrap();
    let cut = shard.entry(6).picture().unwrap().offset + 10;
    fs::OpenOptions::new().write(true).open(set.path.join(shard.name())).unwrap().set_len(cut).unwrap();
    let batches = run(&ShardSet::open_partial(&set.path).unwrap(), &skipping(), ONE, 3, Cursor::default()).unwrap();
    let dropped = batches.iter().flat_map(|batch| &batch.contents.dropped);
    let dropped: BTreeSet<(&str, &str)> = dropped.map(|dropped| (&*dropped.key, dropped.reason)).collect();
    assert_eq!(dropped, (6..9).map(|number| (&*shard.entry(number).key, "truncated")).collect());
}

#[test]
fn reasons_are_those_that_are_counted() {
    let damages = [Damage::Unidentified, Damage::Cut, Damage::Changed, Damage::TooLarge];
    let set = damaged(&(1..).zip(damages).collect());
    let batches = run(&set.open(), &skipping(), ONE, 2, Cursor::default()).unwrap();
    let reasons: BTreeMap<&str, &str> =
        batches.iter().flat_map(|batch| &batch.contents.dropped).map(|d| (&*d.key, d.reason)).collect();
    let expected = [
        ("class1_001", "unidentified"),
        ("class2_002", "truncated"),
        ("class0_003", "checksum"),
        ("class1_004", "too_large"),
    ];
    assert_eq!(reasons, BTreeMap::from(expected));
    assert!(reasons.values().all(|reason| BAD_SAMPLE_REASONS.contains(reason)));
}

#[test]
fn a_picture_of_too_many_pixels_is_named_with_the_option_that_lets_it_pass() {
    let set = damaged(&BTreeMap::from([(7, Damage::TooLarge)]));
    let opened = set.open();
    let mut offset = 0;
    each_sample(&opened, |_, entry| {
        if &*entry.key == "class1_007" {
            offset = entry.picture().unwrap().offset;
        }
    });
    let words = "is bad (too_large): jpeg of 20000x20000 pixels is larger than the limit of 178956970 pixels; raise the \
                 limit to read it (option --max_pixels)";
    let error = run(&opened, &config(), ONE, 2, Cursor::default()).unwrap_err();
    assert_eq!(error.stage(), "decode");
    let text = error.to_string();
    assert!(text.contains("sample class1_007 in shard "), "{text}");
    assert!(text.contains(&format!(".tar at offset {offset} {words}")), "{text}");
    // Left out, it is named in the same words, once an epoch but where it lies behind the last step.
    let batches = run(&opened, &skipping(), ONE, 2, Cursor::default()).unwrap();
    let dropped: Vec<_> = batches.iter().flat_map(|batch| &batch.contents.dropped).collect();
    assert!((1..=EPOCHS as usize).contains(&dropped.len()), "{dropped:?}");
    for bad in dropped {
        assert_eq!((&*bad.key, bad.reason, bad.offset), ("class1_007", "too_large", offset));
        assert!(bad.what.contains(words), "{}", bad.what);
    }
}

#[test]
fn too_many_in_a_row_and_a_whole_bad_stream_are_errors() {
    let all = damaged(&(0..PICTURES).map(|number| (number, Damage::Unidentified)).collect());
    let error = |config: &FetchConfig| run(&all.open(), config, ONE, 3, Cursor::default()).unwrap_err();
    let few = error(&FetchConfig { max_bad_samples: Some(3), ..skipping() });
    let Some(DataError::NoStandIn { in_a_row: 4, .. }) = few.cause() else { panic!("{few}") };
    assert!(few.to_string().contains("`max_bad_samples` allows 3 in an epoch"), "{few}");
    let stream = error(&skipping());
    assert!(stream.to_string().contains("in a row are bad, which is all of their stream"), "{stream}");
    assert!(stream.to_string().contains("at offset"), "{stream}");
    // The default: 10 of so few.
    let default = error(&FetchConfig { max_bad_samples: None, ..skipping() });
    assert!(default.to_string().contains("11 in a row are bad, `max_bad_samples` allows 10"), "{default}");
}

#[test]
fn a_shard_that_cannot_be_read_is_no_bad_sample() {
    let set = Set::pack(|_| ());
    let opened = set.open();
    let gone = set.path.join(&opened.manifest().shards[4].file);
    fs::remove_file(&gone).unwrap();
    let error = run(&opened, &skipping(), ONE, 2, Cursor::default()).unwrap_err();
    assert_eq!(error.stage(), "fetch");
    assert!(error.to_string().contains(&format!("cannot read {}", gone.display())), "{error}");
}
