//! Each kind of source becomes the set that it should.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use mugs_shards::ShardSet;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Output, run};
use crate::support::{contents, names, picture, put};

/// Packs with more options; the paths come first.
pub fn pack(source: &Path, set: &Path, options: &[&str]) -> Output {
    run(&[&["pack", source.to_str().unwrap(), set.to_str().unwrap()], options].concat())
}

pub fn packed(source: &Path, set: &Path, options: &[&str]) {
    let output = pack(source, set, options);
    assert_eq!(output.code, 0, "{}", output.stderr);
}

/// The members of each sample but the picture's own: `key` → extension → bytes.
pub fn samples(set: &Path) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let set = ShardSet::open(set).unwrap();
    let mut samples = BTreeMap::new();
    for shard in (0..set.manifest().shards.len()).map(|number| set.open_shard(number).unwrap()) {
        for number in 0..shard.len() {
            let entry = shard.entry(number);
            let members = entry.members.iter().zip(shard.read_members_of(number).unwrap());
            let members = members.map(|(member, bytes)| (member.extension.to_string(), bytes.to_vec())).collect();
            assert!(samples.insert(entry.key.to_string(), members).is_none());
        }
    }
    samples
}

fn classes(set: &Path) -> Vec<String> {
    ShardSet::open(set).unwrap().manifest().classes.clone()
}

/// A tar of these files.
pub fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(1_300_000_000);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

const SYNSETS: [&str; 3] = ["n02000000", "n01440764", "n01443537"];

/// Class folders as ImageNet's, and the tar of class tars that they come from (in another order than their names').
fn imagenet() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut outer = Vec::new();
    for (class, synset) in SYNSETS.iter().enumerate() {
        let files: Vec<(String, Vec<u8>)> = (0..7 + class as u64)
            .map(|number| {
                let bytes = picture(100 * class as u64 + number, 400 + 150 * number as usize);
                (format!("{synset}_{}.JPEG", 7 * number), bytes)
            })
            .collect();
        files.iter().for_each(|(name, bytes)| put(folder.path(), &format!("{synset}/{name}"), bytes));
        let files: Vec<(&str, Vec<u8>)> = files.iter().rev().map(|(name, bytes)| (&**name, bytes.clone())).collect();
        outer.push((format!("{synset}.tar"), tar(&files)));
    }
    let outer: Vec<(&str, Vec<u8>)> = outer.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    (folder, tar(&outer))
}

#[test]
fn the_train_tar_makes_the_same_set_as_its_folders() {
    let (folder, bytes) = imagenet();
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("ILSVRC2012_img_train.tar");
    fs::write(&file, bytes).unwrap();
    for options in [&["--samples-per-shard", "4"][..], &["--shard-size", "3kB"], &["--limit", "9"], &["--zstd", "2"]] {
        let options = [options, &["--seed", "3", "--json"]].concat();
        let (a, b) = (tempfile::tempdir_in(out.path()).unwrap(), tempfile::tempdir_in(out.path()).unwrap());
        packed(folder.path(), a.path(), &options);
        packed(&file, b.path(), &options);
        assert_eq!(contents(a.path()), contents(b.path()), "{options:?}");
        assert_eq!(classes(a.path()), ["n01440764", "n01443537", "n02000000"]);
    }
    let plan = run(&["pack", file.to_str().unwrap(), "/no/such", "--dry-run", "--format", "json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!((&plan["samples"], &plan["classes"], &plan["shards"]), (&24.into(), &3.into(), &1.into()));
}

#[test]
fn a_damaged_train_tar_names_its_class_tar_and_the_offset() {
    let (_folder, mut bytes) = imagenet();
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("ILSVRC2012_img_train.tar");
    // Behind the outer header of the second class tar, its own first header.
    let second = 512 + tar_bytes(&bytes, 0).next_multiple_of(512);
    bytes[second + 512 + 150] ^= 0xff;
    fs::write(&file, &bytes).unwrap();
    let output = pack(&file, &out.path().join("set"), &[]);
    assert_eq!(output.code, 1);
    for part in ["n01440764.tar", &format!("offset {}", second + 512)] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    bytes.truncate(second + 2000);
    fs::write(&file, &bytes).unwrap();
    let output = pack(&file, &out.path().join("set"), &[]);
    assert!(output.code == 1 && output.stderr.contains("n01440764.tar"), "{}", output.stderr);
    assert!(!out.path().join("set").exists());
}

/// The size in the header at `offset`.
fn tar_bytes(bytes: &[u8], offset: usize) -> usize {
    tar::Header::from_byte_slice(&bytes[offset..offset + 512]).size().unwrap() as usize
}

/// A validation tar of five pictures, and its labels in both forms.
fn validation(folder: &Path) -> (PathBuf, Vec<&'static str>) {
    let labels = vec![SYNSETS[1], SYNSETS[2], SYNSETS[0], SYNSETS[1], SYNSETS[0]];
    let names: Vec<String> = (1..=5).map(|number| format!("ILSVRC2012_val_{number:08}.JPEG")).collect();
    let files: Vec<(&str, Vec<u8>)> =
        names.iter().enumerate().map(|(number, name)| (&**name, picture(number as u64, 600))).collect();
    let path = folder.join("ILSVRC2012_img_val.tar");
    fs::write(&path, tar(&files)).unwrap();
    // IDs are numbers of the devkit's own: SYNSETS in their order here.
    let id = |label: &&str| SYNSETS.iter().position(|synset| synset == label).unwrap() + 1;
    let truth: Vec<String> = labels.iter().map(|label| id(label).to_string()).collect();
    fs::write(folder.join("truth.txt"), truth.join("\n") + "\n").unwrap();
    fs::write(folder.join("synsets.txt"), SYNSETS.map(|synset| format!("{synset} a name")).join("\n")).unwrap();
    let kaggle = labels
        .iter()
        .enumerate()
        .map(|(number, label)| format!("ILSVRC2012_val_{:08},{label} 1 2 3 4 {label} 5 6 7 8 \n", number + 1));
    fs::write(folder.join("LOC_val_solution.csv"), format!("ImageId,PredictionString\n{}", kaggle.collect::<String>()))
        .unwrap();
    (path, labels)
}

#[test]
fn the_validation_tar_gets_its_labels_from_either_file() {
    let out = tempfile::tempdir().unwrap();
    let (path, labels) = validation(out.path());
    let at = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    packed(&path, &out.path().join("a"), &["--labels", &at("truth.txt"), "--synsets", &at("synsets.txt")]);
    packed(&path, &out.path().join("b"), &["--labels", &at("LOC_val_solution.csv")]);
    assert_eq!(contents(&out.path().join("a")), contents(&out.path().join("b")));
    let classes = classes(&out.path().join("a"));
    assert_eq!(classes, ["n01440764", "n01443537", "n02000000"]);
    let samples = samples(&out.path().join("a"));
    for (number, label) in labels.iter().enumerate() {
        let members = &samples[&format!("{label}_ILSVRC2012_val_{:08}", number + 1)];
        assert_eq!(members["jpeg"], picture(number as u64, 600));
        let class = classes.iter().position(|class| class == label).unwrap();
        assert_eq!(members["cls"], class.to_string().into_bytes());
    }
}

#[test]
fn wrong_labels_are_named_with_their_line() {
    let out = tempfile::tempdir().unwrap();
    let (path, _) = validation(out.path());
    let folder = out.path();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (truth, synsets, kaggle) = (at("truth.txt"), at("synsets.txt"), at("LOC_val_solution.csv"));
    let refused = |options: &[&str], said: &str| {
        let output = pack(&path, &folder.join("set"), options);
        assert!(output.code == 1 && output.stderr.contains(said), "{said:?} is missing in: {}", output.stderr);
        assert!(!folder.join("set").exists());
    };
    refused(&["--labels", &truth], "truth.txt, line 1: it is an ILSVRC2012_ID: name the file");
    fs::write(folder.join("classes.txt"), "n01440764\nn02000000\n").unwrap();
    refused(&["--labels", &kaggle, "--classes", &at("classes.txt")], "LOC_val_solution.csv, line 3: synset n01443537");
    let change = |file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        fs::write(folder.join(file), text.replacen(from, to, 1)).unwrap();
        text
    };
    let text = change("truth.txt", "2\n", "4\n");
    refused(&["--labels", &truth, "--synsets", &synsets], "truth.txt, line 1: ILSVRC2012_ID 4 has no synset");
    fs::write(folder.join("truth.txt"), format!("{text}1\n")).unwrap();
    refused(&["--labels", &truth, "--synsets", &synsets], "truth.txt, line 6: ILSVRC2012_val_00000006 is not in");
    fs::write(folder.join("truth.txt"), &text[..8]).unwrap();
    refused(&["--labels", &truth, "--synsets", &synsets], "ILSVRC2012_val_00000005.JPEG");
    let text = change("LOC_val_solution.csv", ",n02", ",m02");
    refused(&["--labels", &kaggle], "line 4: \"m02000000\" is no synset");
    fs::write(&kaggle, text.replace("_00000002", "_00000001")).unwrap();
    refused(&["--labels", &kaggle], "line 3: ILSVRC2012_val_00000001 is in line 2 too");
    refused(&[], "its labels are in another file");
}

#[test]
fn a_flat_folder_has_no_labels() {
    let source = tempfile::tempdir().unwrap();
    (0..5).for_each(|number| put(source.path(), &format!("{number}.jpg"), &picture(number, 100)));
    let out = tempfile::tempdir().unwrap();
    packed(source.path(), &out.path().join("set"), &[]);
    let samples = samples(&out.path().join("set"));
    assert_eq!(samples["3"], BTreeMap::from([("jpg".to_string(), picture(3, 100))]));
    assert_eq!(classes(&out.path().join("set")), [""; 0]);
}

#[test]
fn lists_of_both_forms_make_the_same_set() {
    let source = tempfile::tempdir().unwrap();
    (0..4).for_each(|number| put(source.path(), &format!("x/{number}.jpg"), &picture(number, 100)));
    let absolute = source.path().join("x/3.jpg");
    let rows = [("x/0.jpg", "cat", "one"), ("x/1.jpg", "dog", "two"), (absolute.to_str().unwrap(), "cat", "three")];
    let tsv: String = rows.iter().map(|(path, label, key)| format!("{path}\t{label}\t{key}\n")).collect();
    let json: String = rows
        .iter()
        .map(|(path, label, key)| format!("{}\n", serde_json::json!({"path": path, "label": label, "key": key})))
        .collect();
    put(source.path(), "list.tsv", tsv.as_bytes());
    put(source.path(), "list.jsonl", json.as_bytes());
    let out = tempfile::tempdir().unwrap();
    for name in ["list.tsv", "list.jsonl"] {
        packed(&source.path().join(name), &out.path().join(name), &[]);
    }
    assert_eq!(contents(&out.path().join("list.tsv")), contents(&out.path().join("list.jsonl")));
    let samples = samples(&out.path().join("list.tsv"));
    assert_eq!(samples.keys().collect::<Vec<_>>(), ["one", "three", "two"]);
    assert_eq!((&samples["three"]["jpg"], &samples["two"]["cls"]), (&picture(3, 100), &b"1".to_vec()));
    put(source.path(), "order.txt", b"dog\ncat\n");
    let order = source.path().join("order.txt");
    packed(&source.path().join("list.tsv"), &out.path().join("o"), &["--classes", order.to_str().unwrap()]);
    assert_eq!(classes(&out.path().join("o")), ["dog", "cat"]);
}

/// Two shards as others make them: folders in the names, upper case, captions, labels that are names.
fn foreign(folder: &Path) {
    let sample = |number: u64| {
        [
            (format!("x/{number}.JPG"), picture(number, 500 + 13 * number as usize)),
            (format!("x/{number}.cls"), if number.is_multiple_of(2) { b"cat".to_vec() } else { b"dog\n".to_vec() }),
            (format!("x/{number}.txt"), format!("caption {number}").into_bytes()),
        ]
    };
    for shard in 0..2 {
        let files: Vec<(String, Vec<u8>)> = (0..5).flat_map(|number| sample(5 * shard + number)).collect();
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
        put(folder, &format!("web-{shard:03}.tar"), &tar(&files));
    }
}

#[test]
fn webdatasets_are_packed_anew_plain_and_compressed() {
    let source = tempfile::tempdir().unwrap();
    foreign(source.path());
    let out = tempfile::tempdir().unwrap();
    let set = |name: &str| out.path().join(name);
    packed(source.path(), &set("folder"), &["--samples-per-shard", "3"]);
    packed(&source.path().join("web-{000..001}.tar"), &set("braces"), &["--samples-per-shard", "3"]);
    assert_eq!(contents(&set("folder")), contents(&set("braces")));
    let found = samples(&set("folder"));
    assert_eq!(found["x_7"]["jpg"], picture(7, 591));
    assert_eq!((&found["x_7"]["cls"], &found["x_7"]["txt"]), (&b"1".to_vec(), &b"caption 7".to_vec()));
    assert_eq!((found.len(), classes(&set("folder"))), (10, vec!["cat".to_string(), "dog".to_string()]));
    for ending in ["gz", "zst"] {
        let folder = tempfile::tempdir().unwrap();
        for name in names(source.path()) {
            let bytes = fs::read(source.path().join(&name)).unwrap();
            let file = File::create(folder.path().join(format!("{name}.{ending}"))).unwrap();
            if ending == "gz" {
                let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                encoder.write_all(&bytes).unwrap();
                encoder.finish().unwrap();
            } else {
                zstd::stream::copy_encode(&bytes[..], file, 1).unwrap();
            }
        }
        packed(folder.path(), &set(ending), &["--samples-per-shard", "3"]);
        // The names of the shards are part of what people read, not of the set.
        assert_eq!(contents(&set(ending)), contents(&set("folder")), "{ending}");
    }
}

#[test]
fn our_own_sets_are_packed_anew_with_their_checksums() {
    let (folder, _) = imagenet();
    let out = tempfile::tempdir().unwrap();
    let set = |name: &str| out.path().join(name);
    packed(folder.path(), &set("first"), &["--samples-per-shard", "5", "--json"]);
    packed(&set("first"), &set("zstd"), &["--zstd", "3", "--shard-size", "4kB"]);
    packed(&set("zstd"), &set("again"), &["--samples-per-shard", "5"]);
    assert_eq!(contents(&set("first")), contents(&set("again")));
    let shards = ShardSet::open(set("zstd")).unwrap().manifest().shards.clone();
    assert!(shards.len() > 3 && shards.iter().all(|shard| shard.tar_bytes() <= 4000 || shard.samples == 1));
    // A picture that is damaged is not packed as if it were none.
    let shard = set("first").join("train-000001.tar");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[600] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let output = pack(&set("first"), &set("damaged"), &[]);
    assert!(output.code == 1 && output.stderr.contains("does not have its checksum"), "{}", output.stderr);
}

#[test]
fn samples_that_others_get_wrong_are_named() {
    let out = tempfile::tempdir().unwrap();
    let refused = |files: &[(&str, Vec<u8>)], options: &[&str], said: &[&str]| {
        put(out.path(), "w.tar", &tar(files));
        let output = pack(&out.path().join("w.tar"), &out.path().join("set"), options);
        assert_eq!(output.code, 1, "{said:?}");
        said.iter().for_each(|part| assert!(output.stderr.contains(part), "{part:?}: {}", output.stderr));
        assert!(!out.path().join("set").exists());
    };
    let jpg = || picture(1, 90);
    // F6, F7, F8, no picture at all.
    refused(&[("a.jpg", jpg()), ("a.jpg", jpg())], &[], &["w.tar", "sample a has a second jpg", "offset 1024"]);
    let torn = [("a.jpg", jpg()), ("b.jpg", jpg()), ("a.cls", b"1".to_vec()), ("b.cls", b"2".to_vec())];
    refused(&torn, &[], &["w.tar", "a.cls at offset 2048", "not next to"]);
    let dots = [("x/Track 2.0.jpg", jpg()), ("x/Track 2.1.jpg", jpg())];
    refused(&dots, &[], &["w.tar/x/Track 2", "no picture", "--dots last"]);
    refused(&[("a.txt", b"x".to_vec())], &[], &["w.tar/a", "no picture, only txt"]);
    put(out.path(), "w.tar", &tar(&dots));
    packed(&out.path().join("w.tar"), &out.path().join("last"), &["--dots", "last"]);
    assert_eq!(samples(&out.path().join("last")).keys().collect::<Vec<_>>(), ["x_Track_2_0", "x_Track_2_1"]);
    // F22: a name is a name, never a path. The tar crate refuses to write one that leaves the folder.
    let mut evil = tar(&[("xx/xx/evil.jpg", jpg())]);
    evil[..5].copy_from_slice(b"../..");
    let sum: u32 = evil[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    evil[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    put(out.path(), "w.tar", &evil);
    packed(&out.path().join("w.tar"), &out.path().join("evil"), &[]);
    assert_eq!(samples(&out.path().join("evil")).keys().collect::<Vec<_>>(), ["______evil"]);
    // The same key in two shards.
    put(out.path(), "two/a.tar", &tar(&[("k.jpg", jpg())]));
    put(out.path(), "two/b.tar", &tar(&[("k.jpg", picture(2, 90))]));
    let output = pack(&out.path().join("two"), &out.path().join("dup"), &[]);
    assert!(output.code == 1 && output.stderr.contains("b.tar/k.jpg: key k is there twice"), "{}", output.stderr);
    packed(&out.path().join("two"), &out.path().join("dup"), &["--on-bad-image", "keep"]);
    assert_eq!(samples(&out.path().join("dup")).keys().collect::<Vec<_>>(), ["k", "k-2"]);
    // A tar that was cut between two members is read, and said to be odd.
    let mut cut = tar(&[("a.jpg", jpg()), ("b.jpg", jpg())]);
    cut.truncate(1024);
    put(out.path(), "cut.tar", &cut);
    let output = pack(&out.path().join("cut.tar"), &out.path().join("cut"), &[]);
    assert!(
        output.code == 0 && output.stderr.contains("warning") && output.stderr.contains("cut.tar"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_byte_order_mark_before_a_list_or_labels_is_no_part_of_them() {
    let out = tempfile::tempdir().unwrap();
    put(out.path(), "0.jpg", &picture(0, 100));
    put(out.path(), "list.tsv", "\u{feff}0.jpg\tcat\r\n".as_bytes());
    put(out.path(), "classes.txt", "\u{feff}cat\r\n".as_bytes());
    let list = out.path().join("classes.txt");
    packed(&out.path().join("list.tsv"), &out.path().join("set"), &["--classes", list.to_str().unwrap()]);
    assert_eq!(classes(&out.path().join("set")), ["cat"]);
    let (path, _) = validation(out.path());
    let labels = out.path().join("LOC_val_solution.csv");
    let text = fs::read_to_string(&labels).unwrap();
    fs::write(&labels, format!("\u{feff}{text}")).unwrap();
    packed(&path, &out.path().join("val"), &["--labels", labels.to_str().unwrap()]);
    assert_eq!(samples(&out.path().join("val")).len(), 5);
}

#[test]
fn a_gap_in_the_numbers_of_shards_is_no_loss_and_a_missing_one_is_named() {
    let source = tempfile::tempdir().unwrap();
    for number in [0, 2] {
        put(source.path(), &format!("w-{number}.tar"), &tar(&[(&format!("{number}.jpg"), picture(number, 90))]));
    }
    let out = tempfile::tempdir().unwrap();
    packed(source.path(), &out.path().join("set"), &[]);
    assert_eq!(samples(&out.path().join("set")).len(), 2);
    let output = pack(&source.path().join("w-{0..2}.tar"), &out.path().join("gap"), &[]);
    assert!(output.code == 1 && output.stderr.contains("w-1.tar"), "{}", output.stderr);
}

#[test]
fn what_is_nothing_is_told_what_would_be() {
    let out = tempfile::tempdir().unwrap();
    put(out.path(), "notes.pdf", b"x");
    let output = pack(&out.path().join("notes.pdf"), &out.path().join("set"), &[]);
    assert!(output.code == 1 && output.stderr.contains("ILSVRC2012_img_train.tar"), "{}", output.stderr);
    let output = pack(&out.path().join("gone-{0..2}.tar"), &out.path().join("set"), &[]);
    assert!(output.code == 1 && output.stderr.contains("gone-0.tar"), "{}", output.stderr);
}
