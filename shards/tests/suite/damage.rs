//! One changed byte anywhere is found, and named as closely as it can be.

use std::fs;
use std::path::Path;

use mugs_random::{Address, Draws};
use mugs_shards::{MANIFEST, Problem, ShardSet};
use mugs_test_support::tally;

use crate::support::{config, packed, picture, put, try_pack, verified};

/// Flips a bit of the byte at `offset`, runs `check`, and flips it back.
fn with_flip<T>(file: &Path, offset: u64, bit: u8, check: impl FnOnce() -> T) -> T {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset as usize] ^= 1 << bit;
    fs::write(file, &bytes).unwrap();
    let result = check();
    bytes[offset as usize] ^= 1 << bit;
    fs::write(file, &bytes).unwrap();
    result
}

/// The one problem of a set with one changed byte.
fn only_problem(set: &Path) -> Problem {
    let mut problems = verified(set).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.pop().unwrap()
}

/// What verifying must say of a byte of a tar: the sample, and the offset that is named.
fn place_in_tar(set: &ShardSet, shard: usize, offset: u64) -> (Option<String>, u64) {
    let reader = set.open_shard(shard).unwrap();
    for entry in reader.entries() {
        for member in &entry.members {
            if offset < member.offset || offset >= member.end() && offset < member.end().next_multiple_of(512) {
                return (Some(entry.key.to_string()), offset);
            }
            if offset < member.end() {
                return (Some(entry.key.to_string()), member.offset);
            }
        }
    }
    (None, offset)
}

/// The key of the line of an index that holds the byte.
fn key_in_index(index: &[u8], offset: u64) -> Option<String> {
    let start = index[..offset as usize].iter().rposition(|byte| *byte == b'\n')? + 1;
    Some(String::from_utf8(index[start..].split(|byte| *byte == b'\t').next().unwrap().to_vec()).unwrap())
}

fn check_tar_flip(set: &ShardSet, shard: usize, offset: u64, bit: u8) {
    let file = &set.manifest().shards[shard].file;
    let (key, named) = place_in_tar(set, shard, offset);
    let problem = with_flip(&set.folder().join(file), offset, bit, || only_problem(set.folder()));
    assert_eq!((&problem.file, problem.key, problem.offset), (file, key, Some(named)), "byte {offset} of {file}");
}

#[test]
fn byte_flips() {
    let packed = packed();
    let set = ShardSet::open(&packed.set).unwrap();
    let mut draws = Draws::at(3, Address { epoch: 0, position: 0, lane: 0 });
    let mut ran = 0;
    for _ in 0..200 {
        let shard = draws.below(3) as usize;
        let info = &set.manifest().shards[shard];
        check_tar_flip(&set, shard, draws.below(info.bytes), draws.below(8) as u8);

        let index = packed.set.join(&info.index);
        let offset = draws.below(info.index_bytes);
        let key = key_in_index(&fs::read(&index).unwrap(), offset);
        let problem = with_flip(&index, offset, draws.below(8) as u8, || only_problem(&packed.set));
        assert_eq!((&problem.file, problem.key, problem.offset), (&info.index, key, Some(offset)));

        let manifest = packed.set.join(MANIFEST);
        let offset = draws.below(fs::metadata(&manifest).unwrap().len());
        let problem = with_flip(&manifest, offset, draws.below(8) as u8, || only_problem(&packed.set));
        assert_eq!(problem.file, MANIFEST);
        ran += 3;
    }
    tally("byte flips", ran, "flips");
}

#[test]
fn each_byte_of_a_whole_tar() {
    let source = tempfile::tempdir().unwrap();
    put(source.path(), "a/1.jpg", &picture(1, 100));
    let out = tempfile::tempdir().unwrap();
    try_pack(source.path(), &out.path().join("set"), &config(1, 0)).unwrap();
    let set = ShardSet::open(out.path().join("set")).unwrap();
    // Header, data, padding of two members, and the end blocks.
    assert_eq!(set.manifest().bytes(), 6 * 512);
    (0..6 * 512).for_each(|offset| check_tar_flip(&set, 0, offset, (offset % 8) as u8));
}

#[test]
fn reading_names_the_damaged_sample_and_delivers_the_others() {
    let packed = packed();
    let set = ShardSet::open(&packed.set).unwrap();
    let reader = set.open_shard(0).unwrap();
    for damaged in 0..reader.len() {
        for member in reader.entry(damaged).members.iter().filter(|member| member.length > 0) {
            let results = with_flip(&packed.set.join(reader.name()), member.end() - 1, 0, || {
                (0..reader.len()).map(|number| reader.read(number)).collect::<Vec<_>>()
            });
            for (number, result) in results.into_iter().enumerate() {
                let Err(error) = result else {
                    assert_ne!(number, damaged);
                    continue;
                };
                let text = error.to_string();
                assert!(number == damaged && error.kind() == "checksum" && error.is_bad_sample(), "{text}");
                for part in [reader.name(), &reader.entry(damaged).key, &format!("offset {}", member.offset)] {
                    assert!(text.contains(part), "{text}");
                }
            }
        }
    }
}

#[test]
fn a_damaged_index_or_manifest_is_not_opened() {
    let packed = packed();
    let index = packed.set.join("train-000001.idx");
    let error = with_flip(&index, 70, 0, || ShardSet::open(&packed.set).unwrap().open_shard(1).unwrap_err());
    assert!(error.kind() == "index" && error.to_string().contains("train-000001.idx"), "{error}");
    let error = with_flip(&packed.set.join(MANIFEST), 30, 0, || ShardSet::open(&packed.set).unwrap_err());
    assert!(error.kind() == "manifest" && error.to_string().contains(MANIFEST), "{error}");
}

#[test]
fn damage_of_index_and_tar_together_names_both() {
    let packed = packed();
    let (tar, index) = (packed.set.join("train-000002.tar"), packed.set.join("train-000002.idx"));
    let problems = with_flip(&tar, 600, 0, || with_flip(&index, 60, 0, || verified(&packed.set).problems));
    let files: Vec<&str> = problems.iter().map(|problem| &*problem.file).collect();
    assert_eq!(files, ["train-000002.idx", "train-000002.tar"]);
}

#[test]
fn shards_that_changed_places_or_went_missing_are_named() {
    let packed = packed();
    let path = |name: &str| packed.set.join(name);
    fs::rename(path("train-000001.tar"), path("elsewhere.tar")).unwrap();
    let problems = verified(&packed.set).problems;
    let said: Vec<(&str, &str)> = problems.iter().map(|problem| (&*problem.file, &*problem.what)).collect();
    let unexpected = "unexpected: the manifest does not know it";
    assert_eq!(said, [("train-000001.tar", "is missing"), ("elsewhere.tar", unexpected)]);
    assert!(ShardSet::open(&packed.set).unwrap_err().to_string().contains("train-000001.tar"));

    fs::rename(path("train-000000.tar"), path("train-000001.tar")).unwrap();
    fs::rename(path("elsewhere.tar"), path("train-000000.tar")).unwrap();
    let problems = verified(&packed.set).problems;
    for file in ["train-000000.tar", "train-000001.tar"] {
        assert!(problems.iter().any(|problem| problem.file == file), "{file}: {problems:?}");
    }
}

#[test]
fn bytes_behind_the_end_are_found() {
    let packed = packed();
    let tar = packed.set.join("train-000000.tar");
    let mut bytes = fs::read(&tar).unwrap();
    let end = bytes.len() as u64;
    bytes.extend([0; 512]);
    fs::write(&tar, bytes).unwrap();
    let problem = only_problem(&packed.set);
    assert_eq!((&*problem.file, problem.key, problem.offset), ("train-000000.tar", None, Some(end)));
    assert!(matches!(ShardSet::open(&packed.set), Err(mugs_shards::ShardError::Size { .. })));
}

/// A compressed shard of several frames.
fn compressed() -> (tempfile::TempDir, ShardSet) {
    let source = tempfile::tempdir().unwrap();
    (0..30).for_each(|i| put(source.path(), &format!("c/{i}.jpg"), &picture(i, 90_000 + 1000 * i as usize)));
    let out = tempfile::tempdir().unwrap();
    let config = mugs_shards::PackConfig { zstd: Some(1), ..config(1000, 0) };
    try_pack(source.path(), &out.path().join("set"), &config).unwrap();
    let set = ShardSet::open(out.path().join("set")).unwrap();
    (out, set)
}

#[test]
fn byte_flips_of_a_compressed_shard() {
    let (_out, set) = compressed();
    let info = &set.manifest().shards[0];
    let index = fs::read_to_string(set.folder().join(&info.index)).unwrap();
    // Offset and length in the file, and the first key behind it.
    let lines: Vec<Vec<&str>> = index.lines().map(|line| line.split('\t').collect()).collect();
    let frames: Vec<(u64, u64, &str)> = lines
        .windows(2)
        .filter(|pair| pair[0][0] == "#frame")
        .map(|pair| (pair[0][1].parse().unwrap(), pair[0][2].parse().unwrap(), pair[1][0]))
        .collect();
    assert!(frames.len() > 2);
    let mut draws = Draws::at(5, Address { epoch: 0, position: 0, lane: 0 });
    let mut ran = 0;
    for _ in 0..200 {
        let offset = draws.below(info.bytes);
        let frame = frames.iter().rfind(|frame| frame.0 <= offset).unwrap();
        let path = set.folder().join(&info.file);
        let problem = with_flip(&path, offset, draws.below(8) as u8, || only_problem(set.folder()));
        // A bit that zstd does not read is only seen in the file as a whole.
        let place = (problem.key.as_deref(), problem.offset);
        assert!(place == (Some(frame.2), Some(frame.0)) || place == (None, None), "byte {offset}: {problem:?}");
        ran += 1;
    }
    for cut in [0, 1, frames[1].0, frames[1].0 + 5, info.bytes - 1] {
        let path = set.folder().join(&info.file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let problems = verified(set.folder()).problems;
        let lost: Vec<u64> = frames.iter().filter(|frame| frame.0 + frame.1 > cut).map(|frame| frame.0).collect();
        assert_eq!(problems.iter().map(|problem| problem.offset.unwrap()).collect::<Vec<_>>(), lost, "cut to {cut}");
        fs::write(&path, bytes).unwrap();
        ran += 1;
    }
    assert_eq!(verified(set.folder()).problems, []);
    tally("damages of compressed shards", ran, "flips and cuts");
}

#[test]
fn pictures_that_do_not_decode_are_named_where_that_is_asked() {
    let source = tempfile::tempdir().unwrap();
    let image = mugs_image::Image::filled(64, 64, [90, 10, 30]);
    let good = mugs_image::encode::jpeg(&image, 90).unwrap();
    put(source.path(), "a/good.jpg", &good);
    put(source.path(), "a/cut.jpg", &good[..good.len() - 40]);
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    try_pack(source.path(), &set, &config(10, 0)).unwrap();
    assert_eq!(verified(&set).problems, []);
    let output = crate::command::run(&["verify", set.to_str().unwrap(), "--decode", "--jobs", "2"]);
    let picture = ShardSet::open(&set).unwrap().open_shard(0).unwrap();
    let number = (0..2).find(|number| &*picture.entry(*number).key == "a_cut").unwrap();
    let offset = picture.entry(number).picture().unwrap().offset;
    let said = format!("train-000000.tar: sample a_cut: offset {offset}: truncated");
    assert!(output.code == 1 && output.stdout.starts_with(&said), "{}{}", output.stdout, output.stderr);
}

#[test]
fn shards_that_the_manifest_does_not_know_are_problems_and_other_files_are_not() {
    let packed = packed();
    put(&packed.set, "train-000003.tar", b"x");
    put(&packed.set, "notes.txt", b"x");
    put(&packed.set, "report.jsonl", b"");
    put(&packed.set, ".packing/state.json", b"{}");
    let report = verified(&packed.set);
    assert_eq!((&*only_problem(&packed.set).file, report.strays), ("train-000003.tar", vec!["notes.txt".to_string()]));
    let warnings: Vec<(&str, &str)> = report.warnings.iter().map(|warning| (&*warning.file, &*warning.what)).collect();
    assert_eq!(warnings, [(".packing", "an unfinished pack: start the same pack again to end it")]);
}

#[test]
fn a_missing_index_is_named_and_its_shard_is_still_verified() {
    let packed = packed();
    fs::remove_file(packed.set.join("train-000001.idx")).unwrap();
    let problem = only_problem(&packed.set);
    assert_eq!((&*problem.file, &*problem.what), ("train-000001.idx", "is missing"));
    let problems = with_flip(&packed.set.join("train-000001.tar"), 700, 0, || verified(&packed.set).problems);
    let files: Vec<&str> = problems.iter().map(|problem| &*problem.file).collect();
    assert_eq!(files, ["train-000001.idx", "train-000001.tar"]);
}

#[test]
fn pictures_that_libjpeg_warns_about_are_warnings() {
    let source = tempfile::tempdir().unwrap();
    let image = mugs_image::Image::filled(64, 64, [90, 10, 30]);
    let good = mugs_image::encode::jpeg(&image, 90).unwrap();
    // Bytes between the tables and the scan that belong to nothing.
    let scan = good.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    put(source.path(), "a/odd.jpg", &[&good[..scan], b"odd bytes", &good[scan..]].concat());
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    try_pack(source.path(), &set, &config(10, 0)).unwrap();
    let output = crate::command::run(&["verify", set.to_str().unwrap(), "--decode", "--workers", "2"]);
    assert!(output.code == 0 && output.stdout.ends_with("as it was packed; 1 warning\n"), "{}", output.stdout);
    let said = "warning: train-000000.tar: sample a_odd: offset 512: ";
    assert!(output.stderr.contains(said) && output.stderr.contains("extraneous bytes"), "{}", output.stderr);
}
