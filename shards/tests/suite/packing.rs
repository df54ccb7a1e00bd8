use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use mugs_shards::{Hooks, PackConfig, PackError, PictureCheck, Resume, Sample, ShardSet, pack};
use proptest::prelude::*;

use crate::support::{config, contents, names, packed, picture, put, source, try_pack, verified};

fn samples(set: &Path) -> Vec<Sample> {
    let set = ShardSet::open(set).unwrap();
    let shards = (0..set.manifest().shards.len()).map(|number| set.open_shard(number).unwrap());
    shards.flat_map(|shard| (0..shard.len()).map(move |number| shard.read(number).unwrap())).collect()
}

#[test]
fn every_picture_comes_back_with_key_and_label() {
    let packed = packed();
    let found: HashMap<String, (Vec<u8>, u32)> = samples(&packed.set)
        .into_iter()
        .map(|sample| (format!("{}.{}", sample.key, sample.extension), (sample.image.to_vec(), sample.label.unwrap())))
        .collect();
    let mut expected: HashMap<String, (Vec<u8>, u32)> = HashMap::from([
        ("bird_1.jpg".into(), (picture(0, 511), 1)),
        ("bird_2.jpeg".into(), (picture(1, 512), 1)),
        ("bird_deep_er_3.png".into(), (picture(2, 513), 1)),
        ("ant_a_b.jpg".into(), (picture(3, 23), 0)),
        ("ant_a_b-2.jpg".into(), (picture(4, 1024), 0)),
        ("cow___.webp".into(), (picture(5, 2000), 2)),
    ]);
    expected.extend((0..5).map(|i| (format!("cow_{i}.jpeg"), (picture(100 + i, 600 + 77 * i as usize), 2))));
    assert_eq!(found, expected);
    let set = ShardSet::open(&packed.set).unwrap();
    assert_eq!(set.manifest().classes, ["ant", "bird", "cow"]);
    assert_eq!(set.manifest().shards.iter().map(|shard| shard.samples).collect::<Vec<_>>(), [4, 4, 3]);
}

#[test]
fn a_sample_says_where_it_lies() {
    let packed = packed();
    for sample in samples(&packed.set) {
        let tar = fs::read(packed.set.join(&*sample.shard_name)).unwrap();
        let start = sample.offset as usize;
        assert_eq!(tar[start..start + sample.image.len()], sample.image);
        assert_eq!(*sample.shard_name, *format!("train-{:06}.tar", sample.shard));
    }
}

#[test]
fn the_bytes_depend_on_pictures_and_seed_alone() {
    let (source, again) = (source(), source());
    let out = tempfile::tempdir().unwrap();
    let pack = |source: &Path, name: &str, config: &PackConfig| {
        let set = out.path().join(name);
        try_pack(source, &set, config).unwrap();
        set
    };
    let first = pack(source.path(), "a", &config(4, 0));
    let workers = std::num::NonZero::new(1).unwrap();
    let second = pack(again.path(), "b", &PackConfig { workers, ..config(4, 0) });
    assert_eq!(contents(&first), contents(&second));
    let other = pack(source.path(), "c", &config(4, 1));
    let keys = |set: &Path| samples(set).iter().map(|sample| sample.key.to_string()).collect::<Vec<_>>();
    assert_ne!(keys(&first), keys(&other));
    // The packed bytes must stay what they are from version to version; the digest covers them all.
    assert_eq!(ShardSet::open(&first).unwrap().digest(), "7bfc81d8ed5eaea0178f58ea579b28b0");
}

#[test]
fn a_set_has_nothing_but_its_files() {
    let packed = packed();
    let shards = (0..3).flat_map(|number| ["idx", "tar"].map(|ending| format!("train-{number:06}.{ending}")));
    let expected: Vec<String> = ["manifest.json".to_string()].into_iter().chain(shards).collect();
    assert_eq!(names(&packed.set), expected);
    let report = verified(&packed.set);
    assert_eq!((report.problems.len(), report.strays.len(), report.samples), (0, 0, 11));
}

#[test]
fn a_stop_leaves_no_set_and_goes_on() {
    let source = source();
    let out = tempfile::tempdir().unwrap();
    try_pack(source.path(), &out.path().join("whole"), &config(2, 0)).unwrap();
    for after in [0, 1, 4, 10] {
        let stop = AtomicBool::new(after == 0);
        let progress = |progress: mugs_shards::Progress| stop.store(progress.samples >= after, Ordering::Relaxed);
        let hooks = Hooks { pictures: &PictureCheck::default(), progress: &progress, stop: &stop };
        let set = out.path().join(format!("new/{after}"));
        let error = pack(source.path(), &set, &config(2, 0), Resume::Auto, hooks).unwrap_err();
        assert!(matches!(error, PackError::Stopped), "{error}");
        // What was begun is kept, out of sight; where nothing was finished nothing is left.
        assert_eq!(set.exists(), after > 1, "{after}");
        if set.exists() {
            assert_eq!(names(&set), [".packing"]);
        }
        let report = try_pack(source.path(), &set, &config(2, 0)).unwrap();
        assert_eq!(report.resumed, after / 2 * 2);
        assert_eq!(contents(&set), contents(&out.path().join("whole")));
    }
}

#[test]
fn a_picture_that_vanishes_or_changes_while_packing_is_named() {
    let gone: fn(&Path) = |path| fs::remove_file(path).unwrap();
    let longer: fn(&Path) = |path| fs::write(path, picture(1, 9000)).unwrap();
    let shorter: fn(&Path) = |path| fs::write(path, picture(1, 23)).unwrap();
    for (change, said) in [(gone, "cannot read"), (longer, "changed while it was packed"), (shorter, "changed")] {
        let source = tempfile::tempdir().unwrap();
        (0..200).for_each(|number| put(source.path(), &format!("c/{number}.jpg"), &picture(number, 500)));
        let out = tempfile::tempdir().unwrap();
        // Far more samples than are read ahead are changed once the first is packed.
        let progress = |progress: mugs_shards::Progress| {
            if progress.samples == 1 {
                (100..200).for_each(|number| change(&source.path().join(format!("c/{number}.jpg"))));
            }
        };
        let hooks = Hooks { pictures: &PictureCheck::default(), progress: &progress, stop: &AtomicBool::new(false) };
        let config = PackConfig { workers: 1.try_into().unwrap(), ..config(1000, 0) };
        let set = out.path().join("set");
        let error = pack(source.path(), &set, &config, Resume::Auto, hooks).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("c/1") && error.contains(".jpg"), "{error}");
        assert!(!set.exists());
    }
}

#[test]
fn an_index_number_beyond_the_end_is_an_error() {
    let packed = packed();
    let set = ShardSet::open(&packed.set).unwrap();
    assert_eq!(set.open_shard(3).unwrap_err().kind(), "range");
    assert_eq!(set.open_shard(2).unwrap().read(3).unwrap_err().kind(), "range");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_source_is_packed_whole_and_verifies(
        lengths in prop::collection::vec((0u8..3, 23usize..1600), 1..30),
        samples_per_shard in 3u64..12,
        seed: u64,
    ) {
        let source = tempfile::tempdir().unwrap();
        for (number, (class, length)) in lengths.iter().enumerate() {
            put(source.path(), &format!("c{class}/{number}.jpg"), &picture(number as u64, *length));
        }
        let out = tempfile::tempdir().unwrap();
        let set = out.path().join("set");
        try_pack(source.path(), &set, &config(samples_per_shard, seed)).unwrap();
        prop_assert_eq!(verified(&set).problems, []);
        let mut found: Vec<Vec<u8>> = samples(&set).iter().map(|sample| sample.image.to_vec()).collect();
        let mut put: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(i, l)| picture(i as u64, l.1)).collect();
        found.sort();
        put.sort();
        prop_assert_eq!(found, put);
    }
}
