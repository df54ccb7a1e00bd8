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
