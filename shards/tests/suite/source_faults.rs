//! Sources that say something wrong: it is named, and nothing is packed as if it were right.

use std::fs;
use std::path::Path;

use mugs_shards::ShardSet;

use crate::sources::{pack, packed, samples, tar};
use crate::support::{names, picture, put, verified};

/// Packing `source` ends with an error that says all of this, and without a set.
fn refused(source: &Path, options: &[&str], said: &[&str]) {
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    let output = pack(source, &set, options);
    assert_eq!(output.code, 1, "{said:?}");
    said.iter().for_each(|part| assert!(output.stderr.contains(part), "{part:?} is missing in: {}", output.stderr));
    assert!(!set.exists());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn labels_of_a_webdataset_that_are_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (cls, said) in [
        (&b""[..], "its label at offset 2560 is empty"),
        (b"99999999999", "its label at offset 2560 99999999999 is more than 4294967295"),
        (b"\xff\xfe", "its label at offset 2560 is neither digits nor a name (it is not UTF-8)"),
        (&[b'x'; 5000], "its label at offset 2560 has 5000 bytes, more than a label has"),
    ] {
        let files = [("a.jpg", picture(1, 90)), ("b.jpg", picture(2, 90)), ("b.cls", cls.to_vec())];
        let bytes = tar(&files);
        put(folder.path(), "w.tar", &bytes);
        put(folder.path(), "w.tar.gz", &gzip(&bytes));
        for name in ["w.tar", "w.tar.gz"] {
            refused(&folder.path().join(name), &[], &[&format!("{name}/b: "), said]);
            let set = folder.path().join("set");
            packed(&folder.path().join(name), &set, &["--on-bad-image", "skip"]);
            assert_eq!(samples(&set).keys().collect::<Vec<_>>(), ["a"]);
            let report = fs::read_to_string(set.join("report.jsonl")).unwrap();
            assert!(report.contains("bad_label"), "{report}");
            fs::remove_dir_all(set).unwrap();
        }
    }
}

#[test]
fn a_damaged_label_of_a_set_of_ours_is_not_packed_as_another_class() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["x", "y"] {
        put(folder.path(), &format!("source/{class}/1.jpg"), &picture(1, 90));
    }
    for options in [&[][..], &["--zstd", "1"]] {
        let set = folder.path().join("set");
        packed(&folder.path().join("source"), &set, options);
        let offset = {
            let set = ShardSet::open(&set).unwrap();
            let shard = set.open_shard(0).unwrap();
            shard.entry(0).label().unwrap().offset
        };
        let shard = set.join(names(&set).into_iter().find(|name| name.contains(".tar")).unwrap());
        if options.is_empty() {
            let mut bytes = fs::read(&shard).unwrap();
            // 0 becomes 1, and 1 becomes 0.
            bytes[offset as usize] ^= 1;
            fs::write(&shard, bytes).unwrap();
            refused(&set, &[], &["train-000000.tar", &format!(".cls at offset {offset} does not have its checksum")]);
        } else {
            let mut bytes = fs::read(&shard).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&shard, bytes).unwrap();
            refused(&set, &[], &["train-000000.tar.zst"]);
        }
        fs::remove_dir_all(set).unwrap();
    }
}

#[test]
fn no_sample_has_an_empty_key() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "flat/.jpg", &picture(1, 90));
    put(folder.path(), "list.jsonl", b"{\"path\":\"flat/.jpg\",\"key\":\"\"}");
    for (source, key) in [("flat", "_"), ("list.jsonl", "flat_")] {
        let set = tempfile::tempdir_in(folder.path()).unwrap();
        packed(&folder.path().join(source), set.path(), &[]);
        assert_eq!(samples(set.path()).keys().collect::<Vec<_>>(), [key]);
        assert!(verified(set.path()).problems.is_empty());
    }
}

fn warning(source: &Path, set: &Path) -> String {
    let output = pack(source, set, &[]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.stderr
}

#[test]
fn class_tars_beside_their_folders_are_not_taken_for_a_webdataset() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("train");
    put(&root, "n01440764.tar", &tar(&[("n01440764_1.JPEG", picture(1, 90))]));
    put(&root, "n01440764/n01440764_1.JPEG", &picture(1, 90));
    refused(&root, &[], &["both tars", "n01440764.tar", "--kind webdataset or --kind folder"]);
    let set = folder.path().join("set");
    packed(&root, &set, &["--kind", "folder"]);
    assert_eq!(samples(&set)["n01440764_n01440764_1"]["cls"], b"0");
    // A picture beside the tars says that they are not the source.
    put(&root, "a.jpg", &picture(2, 90));
    let said = warning(&root, &folder.path().join("other"));
    assert!(said.contains("left out 2 files") && said.contains("n01440764.tar"), "{said}");
}
