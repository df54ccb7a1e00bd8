//! What the options of `pack` do to a set.

use std::fs;
use std::path::Path;

use mugs_image::{Image, encode};
use mugs_shards::ShardSet;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::run;
use crate::sources::{samples, tar};
use crate::support::{contents, names, picture, put, source, verified};

fn jpeg(width: usize, height: usize, shade: u8) -> Vec<u8> {
    let mut image = Image::filled(width, height, [shade, 90, 200]);
    image.pixels.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= (at * at % 251) as u8);
    encode::jpeg(&image, 92).unwrap()
}

/// Packs; gives the result for programs.
fn packed(source: &Path, set: &Path, options: &[&str]) -> Value {
    let paths = ["pack", source.to_str().unwrap(), set.to_str().unwrap(), "--format", "json"];
    let output = run(&[&paths[..], options].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

fn report(set: &Path) -> Vec<Value> {
    let text = fs::read_to_string(set.join("report.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Pictures of which some are bad in each way.
fn mixed() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let good = jpeg(48, 40, 1);
    put(root.path(), "a/good.jpg", &good);
    put(root.path(), "a/again.jpg", &good);
    put(root.path(), "a/cut.jpg", &good[..good.len() - 300]);
    put(root.path(), "a/empty.jpg", b"");
    put(root.path(), "b/page.jpg", b"<html></html>");
    put(root.path(), "b/large.jpg", &jpeg(70, 50, 2));
    put(root.path(), "b/fine.png", &encode::png(&Image::filled(9, 9, [7; 3])).unwrap());
    root
}

#[test]
fn bad_pictures_are_left_out_counted_and_named() {
    let source = mixed();
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    let options = ["--on-bad-image", "skip", "--check", "decode", "--pixel-limit", "3000"];
    let result = packed(source.path(), &set, &options);
    assert_eq!(result["samples"], 3);
    let skipped = serde_json::json!({"empty": 1, "not_an_image": 1, "too_large": 1, "truncated": 1});
    assert_eq!(result["counts"]["skipped"], skipped);
    assert_eq!(result["counts"]["duplicate_content"], 1);
    let mut lines: Vec<String> = report(&set)
        .iter()
        .map(|line| format!("{} {} {}", line["sample"].as_str().unwrap(), line["kind"], line["action"]))
        .collect();
    lines.sort();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0], "a/cut.jpg \"truncated\" \"skipped\"");
    assert!(lines.iter().any(|line| line.starts_with("a_") && line.contains("duplicate_content")), "{lines:?}");
    // The header alone does not tell that a picture is cut.
    let header = packed(source.path(), &out.path().join("header"), &["--on-bad-image", "skip"]);
    assert_eq!((&header["samples"], &header["counts"]["skipped"]["truncated"]), (&5.into(), &Value::Null));
    let kept = packed(source.path(), &out.path().join("kept"), &["--on-bad-image", "keep"]);
    assert_eq!(
        (&kept["samples"], &kept["counts"]["kept"]),
        (&7.into(), &serde_json::json!({"empty": 1, "not_an_image": 1}))
    );
    let none = packed(source.path(), &out.path().join("none"), &["--check", "none"]);
    assert_eq!((&none["samples"], &none["counts"]["kept"]), (&7.into(), &serde_json::json!({})));
}

#[test]
fn a_picture_that_is_made_smaller_keeps_out_of_the_way_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let thumbnail = jpeg(8, 8, 3);
    let png = encode::png(&Image::filled(90, 60, [7; 3])).unwrap();
    let pack = |files: &[(&str, Vec<u8>)]| {
        put(folder.path(), "w.tar", &tar(files));
        let (tar, set) = (folder.path().join("w.tar"), tempfile::tempdir_in(folder.path()).unwrap());
        let paths = ["pack", tar.to_str().unwrap(), set.path().to_str().unwrap()];
        (run(&[&paths[..], &["--max-side", "40"]].concat()), set)
    };
    let (output, set) = pack(&[("a.png", png.clone()), ("a.jpg", thumbnail.clone())]);
    assert_eq!((output.code, verified(set.path()).problems.len()), (0, 0), "{}", output.stderr);
    let members = &samples(set.path())["a"];
    assert_eq!((members.len(), &members["jpg"]), (2, &thumbnail));
    assert_eq!(mugs_image::header(&members["jpeg"]).unwrap().width, 40);
    let (output, _set) = pack(&[("a.png", png), ("a.jpg", thumbnail.clone()), ("a.jpeg", thumbnail)]);
    assert!(output.code == 1 && output.stderr.contains("w.tar/a.png: has further members"), "{}", output.stderr);
}

#[test]
fn nothing_to_report_is_no_file() {
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    let result = packed(source().path(), &set, &["--on-bad-image", "skip"]);
    assert_eq!(result["report"], Value::Null);
    assert!(!names(&set).contains(&"report.jsonl".to_string()));
}

#[test]
fn a_source_of_nothing_but_bad_pictures_makes_no_set() {
    let source = tempfile::tempdir().unwrap();
    put(source.path(), "a/page.jpg", b"<html></html>");
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    let output = run(&["pack", source.path().to_str().unwrap(), set.to_str().unwrap(), "--on-bad-image", "skip"]);
    assert!(output.code == 1 && output.stderr.contains("a/page.jpg"), "{}", output.stderr);
    assert!(!set.exists());
}

#[test]
fn large_pictures_are_made_smaller_and_what_it_saves_is_said() {
    let source = mixed();
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    let options = ["--on-bad-image", "skip", "--max-side", "40", "--quality", "80", "--json"];
    let result = packed(source.path(), &set, &options);
    assert_eq!(result["counts"]["reencoded"], 3);
    assert!(result["counts"]["reencoded_to"].as_u64() < result["counts"]["reencoded_from"].as_u64());
    let set = ShardSet::open(&set).unwrap();
    let shard = set.open_shard(0).unwrap();
    for number in 0..shard.len() {
        let entry = shard.entry(number);
        let members = shard.read_members_of(number).unwrap();
        let json = entry.members.iter().position(|member| &*member.extension == "json").unwrap();
        let json: Value = serde_json::from_slice(&members[json]).unwrap();
        let header = mugs_image::header(&members[0]).unwrap();
        assert!(header.width.max(header.height) <= 40);
        assert_eq!((&json["width"], &json["height"]), (&header.width.into(), &header.height.into()));
    }
    let text = run(&[
        "pack",
        source.path().to_str().unwrap(),
        out.path().join("text").to_str().unwrap(),
        "--on-bad-image",
        "skip",
        "--max-side",
        "40",
    ]);
    assert!(text.stdout.contains("made smaller: 3 pictures") && text.stdout.contains("% saved"), "{}", text.stdout);
}

#[test]
fn json_says_what_the_folder_said() {
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    packed(source().path(), &set, &["--json"]);
    let opened = ShardSet::open(&set).unwrap();
    let shard = opened.open_shard(0).unwrap();
    let number = (0..shard.len()).find(|number| &*shard.entry(*number).key == "bird_deep_er_3").unwrap();
    let json: Value = serde_json::from_slice(&shard.read_members_of(number).unwrap()[2]).unwrap();
    let expected = serde_json::json!({
        "filename": "bird/deep/er/3.png", "class_name": "bird", "label": 1, "width": 2, "height": 2
    });
    assert_eq!(json, expected);
    assert_eq!(verified(&set).problems, []);
}

#[test]
fn a_limit_takes_the_first_of_the_same_order() {
    let source = source();
    let out = tempfile::tempdir().unwrap();
    let keys = |set: &Path| {
        let set = ShardSet::open(set).unwrap();
        let shards = (0..set.manifest().shards.len()).map(|number| set.open_shard(number).unwrap());
        shards
            .flat_map(|shard| shard.entries().iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    packed(source.path(), &out.path().join("all"), &[]);
    packed(source.path(), &out.path().join("some"), &["--limit", "4"]);
    assert_eq!(keys(&out.path().join("some")), keys(&out.path().join("all"))[..4]);
}

#[test]
fn shards_by_size_hold_as_much_as_fits() {
    let source = tempfile::tempdir().unwrap();
    (0..40).for_each(|i| put(source.path(), &format!("c/{i}.jpg"), &picture(i, 400 + 90 * i as usize)));
    put(source.path(), "c/huge.jpg", &picture(99, 20_000));
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    packed(source.path(), &set, &["--shard-size", "10kB"]);
    let manifest = ShardSet::open(&set).unwrap().manifest().clone();
    let over: Vec<_> = manifest.shards.iter().filter(|shard| shard.bytes > 10_000).collect();
    assert_eq!((over.len(), over[0].samples), (1, 1));
    assert_eq!(manifest.samples, 41);
}

#[test]
fn a_plan_says_what_packing_does() {
    let source = source();
    let out = tempfile::tempdir().unwrap();
    for options in [&["--samples-per-shard", "4"][..], &["--shard-size", "6kB"], &["--limit", "7"]] {
        let set = tempfile::tempdir_in(out.path()).unwrap();
        let paths = ["pack", source.path().to_str().unwrap(), "/no/such/place", "--dry-run", "--format", "json"];
        let plan = run(&[&paths[..], options].concat());
        let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
        let result = packed(source.path(), set.path(), options);
        for field in ["samples", "classes", "shards", "bytes"] {
            assert_eq!(plan[field], result[field], "{field} {options:?}");
        }
    }
    assert!(!Path::new("/no/such/place").exists());
}

#[test]
fn workers_and_compression_change_no_sample() {
    let source = source();
    let out = tempfile::tempdir().unwrap();
    let set = |name: &str| out.path().join(name);
    packed(source.path(), &set("one"), &["--workers", "1", "--zstd", "3"]);
    packed(source.path(), &set("many"), &["--workers", "7", "--zstd", "3"]);
    assert_eq!(contents(&set("one")), contents(&set("many")));
    packed(source.path(), &set("plain"), &[]);
    let (plain, small) = (ShardSet::open(set("plain")).unwrap(), ShardSet::open(set("one")).unwrap());
    let (plain, small) = (plain.open_shard(0).unwrap(), small.open_shard(0).unwrap());
    assert_eq!(plain.entries(), small.entries());
    for number in (0..plain.len()).rev() {
        assert_eq!(plain.read(number).unwrap().image, small.read(number).unwrap().image);
    }
    // The frames are a tar to any program that knows zstd.
    let bytes = fs::read(set("one").join("train-000000.tar.zst")).unwrap();
    let tar = zstd::decode_all(&bytes[..]).unwrap();
    assert_eq!(tar, fs::read(set("plain").join("train-000000.tar")).unwrap());
}
