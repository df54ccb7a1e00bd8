//! Shards that end too early: what is whole is delivered, what is not is named.

use std::fs::{self, File};

use mugs_shards::{ShardError, ShardReader, ShardSet};
use mugs_test_support::tally;

use crate::support::{packed, verified};

/// A length of each kind: within and between all the parts of each member, and within the end blocks.
fn cuts(reader: &ShardReader, bytes: u64) -> Vec<u64> {
    let mut cuts = vec![0, bytes - 1024, bytes - 1023, bytes - 512, bytes - 1];
    for member in reader.entries().iter().flat_map(|entry| &entry.members) {
        let (start, end) = (member.offset, member.end());
        let padded = end.next_multiple_of(512);
        cuts.extend([start - 512, start - 300, start, start + member.length / 2, end - 1, end, padded - 1, padded]);
    }
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

#[test]
fn a_shard_cut_anywhere_gives_its_whole_samples_and_names_the_rest() {
    let packed = packed();
    let set = ShardSet::open(&packed.set).unwrap();
    let info = &set.manifest().shards[1];
    let path = packed.set.join(&info.file);
    let whole = fs::read(&path).unwrap();
    let cuts = cuts(&set.open_shard(1).unwrap(), info.bytes);
    for &cut in &cuts {
        fs::write(&path, &whole[..cut as usize]).unwrap();
        assert!(matches!(ShardSet::open(&packed.set), Err(ShardError::Size { found, .. }) if found == cut));
        let reader = ShardSet::open_partial(&packed.set).unwrap().open_shard(1).unwrap();
        let mut first_lost = None;
        for number in 0..reader.len() {
            let entry = reader.entry(number);
            let needed = entry.members.last().unwrap().end();
            match reader.read(number) {
                Ok(_) => assert!(needed <= cut, "cut at {cut}: {} was delivered", entry.key),
                Err(error) => {
                    assert!(needed > cut && error.kind() == "truncated" && error.is_bad_sample(), "{error}");
                    assert!(error.to_string().contains(&*entry.key) && error.to_string().contains(&info.file));
                    first_lost.get_or_insert(entry.key.to_string());
                }
            }
        }
        let problems = verified(&packed.set).problems;
        let [problem] = &problems[..] else { panic!("cut at {cut}: {problems:?}") };
        assert_eq!((&problem.file, &problem.key, problem.offset), (&info.file, &first_lost, Some(cut)));
    }
    tally("truncated shards", cuts.len(), "cuts");
}

#[test]
fn a_shard_cut_after_it_was_opened_is_an_error() {
    let packed = packed();
    let reader = ShardSet::open(&packed.set).unwrap().open_shard(0).unwrap();
    File::options().write(true).open(packed.set.join(reader.name())).unwrap().set_len(700).unwrap();
    assert_eq!(reader.read(3).unwrap_err().kind(), "truncated");
}

#[test]
fn a_cut_index_or_manifest_is_named() {
    let packed = packed();
    for (file, kind) in [("train-000002.idx", "truncated"), ("manifest.json", "manifest")] {
        let path = packed.set.join(file);
        let whole = fs::read(&path).unwrap();
        // At the end of a line, inside one, and to nothing.
        let line = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in [line, line - 5, 0] {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = ShardSet::open(&packed.set).unwrap_err();
            assert!(error.kind() == kind && error.to_string().contains(file), "{error}");
            assert_eq!(verified(&packed.set).problems[0].file, file);
        }
        fs::write(&path, &whole).unwrap();
    }
}
