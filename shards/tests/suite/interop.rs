//! Other programs read the shards unchanged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use mugs_shards::ShardSet;
use mugs_test_support::{python, skip};

use crate::support::{names, packed};

/// Reads all shards by webdataset's own rules; a line per sample: key, extension, label, bytes in hexadecimal digits.
const READ: &str = r#"
import sys, webdataset
for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode():
    fields = {name: value for name, value in sample.items() if not name.startswith("__")}
    label = fields.pop("cls")
    assert isinstance(label, int), label
    (extension, data), = fields.items()
    print(sample["__key__"], extension, label, data.hex())
"#;

/// The same lines by our own reader.
fn lines(set: &ShardSet) -> String {
    let mut lines = String::new();
    for number in 0..set.manifest().shards.len() {
        let shard = set.open_shard(number).unwrap();
        for sample in (0..shard.len()).map(|number| shard.read(number).unwrap()) {
            write!(lines, "{} {} {} ", sample.key, sample.extension, sample.label.unwrap()).unwrap();
            sample.image.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
            lines.push('\n');
        }
    }
    lines
}

#[test]
fn webdataset_reads_the_same_samples_in_the_same_order() {
    let Some(python) = python(&["webdataset"]) else {
        return skip("reading shards by webdataset", "no Python with webdataset");
    };
    let packed = packed();
    let set = ShardSet::open(&packed.set).unwrap();
    let shards = set.manifest().shards.iter().map(|shard| packed.set.join(&shard.file));
    let output = Command::new(python).args(["-c", READ]).args(shards).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), lines(&set));
}

fn extract(tar: &Path, folder: &Path) {
    let output = Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(folder).output().unwrap();
    // A tar that is not quite as it should be makes GNU tar complain without failing.
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tar_extracts_the_same_files() {
    if Command::new("tar").arg("--version").output().is_err() {
        return skip("extracting shards by tar", "no tar");
    }
    let packed = packed();
    let set = ShardSet::open(&packed.set).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    for (number, shard) in set.manifest().shards.iter().enumerate() {
        extract(&packed.set.join(&shard.file), folder.path());
        let reader = set.open_shard(number).unwrap();
        for sample in (0..reader.len()).map(|number| reader.read(number).unwrap()) {
            expected.insert(format!("{}.{}", sample.key, sample.extension), sample.image.to_vec());
            expected.insert(format!("{}.cls", sample.key), sample.label.unwrap().to_string().into_bytes());
        }
    }
    let found =
        names(folder.path()).into_iter().map(|name| (name.clone(), fs::read(folder.path().join(name)).unwrap()));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}

/// Reads a shard by webdataset; a line per sample with its members and what json says of it.
const READ_JSON: &str = r#"
import sys, webdataset
for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode():
    members = sorted(name for name in sample if not name.startswith("__"))
    print(sample["__key__"], *members, sample["json"]["filename"], sample["json"]["label"] == sample["cls"])
"#;

#[test]
fn webdataset_reads_metadata_and_sets_that_were_packed_anew() {
    let Some(python) = python(&["webdataset"]) else {
        return skip("reading metadata by webdataset", "no Python with webdataset");
    };
    let out = tempfile::tempdir().unwrap();
    let (first, again) = (out.path().join("first"), out.path().join("again"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| assert_eq!(crate::command::run(arguments).code, 0);
    run(&["pack", &text(crate::support::source().path()), &text(&first), "--json", "--zstd", "2"]);
    run(&["reshard", &text(&first), &text(&again), "--shard-size", "6kB"]);
    let set = ShardSet::open(&again).unwrap();
    let shards = set.manifest().shards.iter().map(|shard| again.join(&shard.file));
    let output = Command::new(python).args(["-c", READ_JSON]).args(shards).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!((lines.lines().count(), set.manifest().shards.len() > 2), (11, true));
    assert!(lines.contains("bird_deep_er_3 cls json png bird/deep/er/3.png True"), "{lines}");
    assert!(lines.lines().all(|line| line.ends_with("True")), "{lines}");
}

#[test]
fn tar_reads_compressed_shards() {
    let zstd = Command::new("zstd").arg("--version").output().is_ok_and(|output| output.status.success());
    if !zstd || Command::new("tar").arg("--version").output().is_err() {
        return skip("reading compressed shards by tar", "no tar or no zstd");
    }
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    let config = mugs_shards::PackConfig { zstd: Some(3), ..crate::support::config(100, 0) };
    crate::support::try_pack(crate::support::source().path(), &set, &config).unwrap();
    let shard = set.join("train-000000.tar.zst");
    let output = Command::new("tar").arg("--zstd").arg("-tf").arg(&shard).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let reader = ShardSet::open(&set).unwrap().open_shard(0).unwrap();
    let expected = reader.entries().iter().flat_map(|entry| {
        entry.members.iter().map(|member| format!("{}.{}\n", entry.key, member.extension)).collect::<Vec<_>>()
    });
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected.collect::<String>());
}
