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

#[test]
fn odd_members_of_the_train_tar_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Made as `tar -C n01440764 .` does, which the tar crate would tidy up: a name of the same length is changed.
    let mut dotted = tar(&[("xyn01440764_1.JPEG", picture(1, 90))]);
    rename(&mut dotted, b"./");
    let class = tar(&[("n01443537_1.JPEG", picture(2, 90))]);
    put(folder.path(), "odd.tar", &tar(&[("n01440764.tar", dotted.clone()), ("README.txt", b"x".to_vec())]));
    let said = warning(&at("odd.tar"), &at("set"));
    assert!(said.contains("left out 1 file") && said.contains("README.txt"), "{said}");
    assert_eq!(samples(&at("set")).keys().collect::<Vec<_>>(), ["n01440764_n01440764_1"]);
    // Behind the end of a class tar; its place is told in the file that is on the disk.
    let mut trailing = class.clone();
    trailing.extend([1; 512]);
    put(folder.path(), "trailing.tar", &tar(&[("n01443537.tar", trailing)]));
    let (said, offset) = (warning(&at("trailing.tar"), &at("trailing")), 512 + class.len());
    assert!(said.contains("trailing.tar/n01443537.tar") && said.contains(&format!("offset {offset}")), "{said}");
    // Without pictures its label would name nothing.
    let empty = tar(&[("readme.txt", b"x".to_vec())]);
    put(folder.path(), "empty.tar", &tar(&[("n01443537.tar", class.clone()), ("n02000000.tar", empty)]));
    let offset = 512 + class.len() + 512;
    refused(&at("empty.tar"), &[], &["empty.tar/n02000000.tar: it holds no pictures", &format!("offset {offset}")]);
    // The class tar is cut, the outer one is whole.
    put(folder.path(), "cut.tar", &tar(&[("n01440764.tar", dotted.clone()), ("n01443537.tar", class[..550].to_vec())]));
    let offset = 512 + dotted.len() + 512;
    refused(&at("cut.tar"), &[], &["cut.tar/n01443537.tar", &format!("offset {}", offset + 512), "n01443537_1.JPEG"]);
}

/// Changes the first bytes of the first name, and its header's checksum.
fn rename(tar: &mut [u8], start: &[u8]) {
    tar[..start.len()].copy_from_slice(start);
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn validation_pictures_and_labels_are_one_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let name = |number: u64| format!("ILSVRC2012_val_{number:08}.JPEG");
    let write = |file: &str, numbers: &[u64]| {
        let files: Vec<(String, Vec<u8>)> = numbers.iter().map(|&number| (name(number), picture(number, 90))).collect();
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
        put(folder.path(), file, &tar(&files));
    };
    write("val.tar", &[1, 2, 3]);
    write("twice.tar", &[1, 2, 1]);
    write("fewer.tar", &[1, 3]);
    let rows = |synset: &str| format!("ImageId,PredictionString\n{}", [1, 2, 3].map(|n| row(n, synset)).concat());
    put(folder.path(), "k.csv", rows("n01440764").as_bytes());
    put(folder.path(), "comma.csv", rows("n01440764").replacen("2,", "2;", 1).as_bytes());
    put(folder.path(), "truth.txt", b"1\n2\nx\n");
    put(folder.path(), "synsets.txt", b"n01440764 tench\nn01443537\tgoldfish\n");
    put(folder.path(), "double.txt", b"n01440764\nn01443537\nn01440764\n");
    put(folder.path(), "words.txt", b"tench\n");
    refused(
        &at("twice.tar"),
        &["--labels", &text("k.csv")],
        &["ILSVRC2012_val_00000001.JPEG at offset 2048 is there twice"],
    );
    let missing = ["k.csv, line 3: ILSVRC2012_val_00000002 is not in", "fewer.tar: 3 labels, 2 pictures"];
    refused(&at("fewer.tar"), &["--labels", &text("k.csv")], &missing);
    refused(&at("val.tar"), &["--labels", &text("comma.csv")], &["comma.csv, line 3: there is no comma"]);
    for (synsets, said) in [
        ("synsets.txt", "truth.txt, line 3: \"x\" is no ILSVRC2012_ID"),
        ("double.txt", "double.txt, line 3: synset n01440764 is there twice"),
        ("words.txt", "words.txt, line 1: \"tench\" is no synset"),
    ] {
        refused(&at("val.tar"), &["--labels", &text("truth.txt"), "--synsets", &text(synsets)], &[said]);
    }
}

/// A line of Kaggle's labels.
fn row(number: u64, synset: &str) -> String {
    format!("ILSVRC2012_val_{number:08},{synset} 1 2 3 4\n")
}
