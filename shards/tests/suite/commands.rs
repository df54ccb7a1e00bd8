//! The commands beside `pack`, `verify` and `ls`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mugs_image::{Image, encode};
use mugs_shards::ShardSet;
use mugs_test_support::{python, skip};
use serde_json::Value;

use crate::command::{command, run};
use crate::support::{packed, picture, put, source, verified};

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Key and label → bytes of the picture, of a whole set.
pub fn pictures(set: &Path) -> BTreeMap<(String, Option<u32>), Vec<u8>> {
    let set = ShardSet::open(set).unwrap();
    let shards = (0..set.manifest().shards.len()).map(|number| set.open_shard(number).unwrap());
    let samples =
        shards.flat_map(|shard| (0..shard.len()).map(|number| shard.read(number).unwrap()).collect::<Vec<_>>());
    samples.map(|sample| ((sample.key.to_string(), sample.label), sample.image.to_vec())).collect()
}

#[test]
fn cat_gives_the_bytes_of_a_member() {
    let packed = packed();
    let set = text(&packed.set);
    let output = command(&["cat", set, "bird_2"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), picture(1, 512)));
    assert_eq!(run(&["cat", set, "bird_2", "--member", "cls"]).stdout, "1");
    let file = packed.set.with_file_name("out.bin");
    assert_eq!(run(&["cat", set, "bird_deep_er_3", "--out", text(&file)]).code, 0);
    assert_eq!(fs::read(&file).unwrap(), picture(2, 513));
    let output = run(&["cat", set, "bird"]);
    assert!(output.code == 1 && output.stderr.contains("no sample bird; perhaps ") && output.stderr.contains("bird_2"));
    let output = run(&["cat", set, "brid_3"]);
    assert!(output.code == 1 && !output.stderr.contains("deep"), "{}", output.stderr);
    let output = run(&["cat", set, "bird_deeq_er3"]);
    assert!(output.stderr.contains("no sample bird_deeq_er3; perhaps bird_deep_er_3"), "{}", output.stderr);
    let output = run(&["cat", set, "bird_2", "--member", "json"]);
    assert!(output.code == 1 && output.stderr.contains("has no json, only jpeg, cls"), "{}", output.stderr);
}

/// A tar whose only picture is called `name`, as no writer that minds would call it.
pub fn evil(name: &str) -> Vec<u8> {
    let data = picture(1, 600);
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(data.len() as u64);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    [&header.as_bytes()[..], &data, &[0; 424], &[0; 1024]].concat()
}

#[test]
fn tars_made_elsewhere_become_a_set_without_being_changed() {
    let out = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..6u64 {
        for (extension, bytes) in [("JPG", picture(number, 600)), ("cls", (number % 3).to_string().into_bytes())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mtime(1_700_000_000);
            // Longer than a plain header holds.
            let name = format!("{}/{number}.{extension}", "long".repeat(40));
            builder.append_data(&mut header, name, &bytes[..]).unwrap();
        }
    }
    let bytes = builder.into_inner().unwrap();
    put(out.path(), "web-0.tar", &bytes);
    put(out.path(), "classes.txt", b"ant\nbee\ncat\n");
    let classes = out.path().join("classes.txt");
    let output = run(&["index", text(out.path()), "--classes", text(&classes), "--name", "web", "--format", "json"]);
    let result: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&result["samples"], &result["shards"]), (&6.into(), &1.into()), "{}", output.stderr);
    assert_eq!(fs::read(out.path().join("web-0.tar")).unwrap(), bytes);
    fs::remove_file(&classes).unwrap();
    let report = verified(out.path());
    assert_eq!((report.problems, report.samples), (vec![], 6));
    let found = pictures(out.path());
    assert_eq!(found[&(format!("{}/4", "long".repeat(40)), Some(1))], picture(4, 600));
    // Any damage is found: in data with its sample, elsewhere in the tar as a whole.
    for offset in [100, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[offset] ^= 1;
        fs::write(out.path().join("web-0.tar"), &damaged).unwrap();
        let problems = verified(out.path()).problems;
        assert_eq!((problems.len(), &*problems[0].file), (1, "web-0.tar"), "{problems:?}");
    }
    fs::write(out.path().join("web-0.tar"), &bytes).unwrap();
    let again = run(&["index", text(out.path())]);
    assert!(again.code == 1 && again.stderr.contains("a set already"), "{}", again.stderr);
}

#[test]
fn tars_that_make_no_set_are_named() {
    let refused = |files: &[(&str, &[u8])], said: &[&str]| {
        let out = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| put(out.path(), name, bytes));
        let output = run(&["index", text(out.path())]);
        assert_eq!(output.code, 1, "{said:?}");
        said.iter().for_each(|part| assert!(output.stderr.contains(part), "{part:?}: {}", output.stderr));
        assert!(!out.path().join("manifest.json").exists());
    };
    let good = evil("a.jpg");
    refused(&[("a.tar", &good[..700])], &["a.tar", "offset 512", "a.jpg"]);
    refused(&[("a.tar", &good), ("b.tar", &good)], &["b.tar", "key a at offset 512 is in a.tar too"]);
    refused(&[("a.tar", &evil("a.txt"))], &["a.tar", "sample a at offset 512 has no picture, only txt"]);
    refused(&[("a.tar", &evil("#a.jpg"))], &["a.tar", "key #a at offset 512 begins with #"]);
    refused(&[("a.tar", &evil("b\t.jpg"))], &["a.tar", "offset 0 has control characters"]);
    let label = [&good[..good.len() - 1024], &crate::tars::member("a.cls", b"cat"), &[0; 1024]].concat();
    refused(&[("a.tar", &label)], &["a.tar", "a.cls at offset 2048 is \"cat\", no number"]);
    refused(&[("a.tar.gz", &good)], &["a.tar.gz", "only plain tars"]);
    refused(&[("a.tar", &good), ("a.idx", b"v1.2 1\n")], &["a.idx", "index of another program"]);
    refused(&[("notes.txt", b"x")], &["holds no tars"]);
}

#[test]
fn wids_index_says_what_the_shards_are() {
    let packed = packed();
    let output = run(&["wids", text(&packed.set), "--base-url", "https://example.org/train/"]);
    let index: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&index["__kind__"], &index["wids_version"]), (&"wids-shard-index-v1".into(), &1.into()));
    let shard = &index["shardlist"][2];
    let file = packed.set.join("train-000002.tar");
    assert_eq!(shard["url"], "https://example.org/train/train-000002.tar");
    assert_eq!((&shard["nsamples"], shard["filesize"].as_u64()), (&3.into(), Some(fs::metadata(&file).unwrap().len())));
    let sum = Command::new("md5sum").arg(&file).output().unwrap().stdout;
    assert_eq!(shard["md5sum"].as_str().unwrap().as_bytes(), &sum[..32]);
}

#[test]
fn stats_count_what_is_there() {
    let source = tempfile::tempdir().unwrap();
    let jpeg = |width, height, shade: u8| encode::jpeg(&Image::filled(width, height, [shade; 3]), 90).unwrap();
    put(source.path(), "a/1.jpg", &jpeg(64, 48, 1));
    put(source.path(), "a/2.jpg", &jpeg(64, 48, 1));
    put(source.path(), "a/3.png", &jpeg(130, 120, 3));
    put(source.path(), "b<&/4.jpg", &jpeg(700, 40, 4));
    put(source.path(), "b<&/5.jpg", &jpeg(20, 20, 5));
    put(source.path(), "b<&/6.jpg", b"<html>");
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    let output = run(&["pack", text(source.path()), text(&set), "--check", "none"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let svg = out.path().join("s.svg");
    let output = run(&["stats", text(&set), "--format", "json", "--svg", text(&svg)]);
    let stats: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(stats["formats"], serde_json::json!({"jpeg": 5}));
    let odd = serde_json::json!({"long": 1, "not_an_image": 1, "other_extension": 1, "small": 1});
    assert_eq!((&stats["odd"], &stats["duplicates"]), (&odd, &1.into()));
    assert_eq!((&stats["short_side"]["min"], &stats["long_side"]["max"]), (&20.into(), &700.into()));
    assert_eq!((&stats["short_side"]["median"], &stats["short_sides"]), (&48.into(), &serde_json::json!([4, 0, 1])));
    assert_eq!(stats["classes"][0], serde_json::json!({"name": "a", "samples": 3}));
    let drawn = fs::read_to_string(&svg).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>") && drawn.contains("b&lt;&amp;"));
    let shown = run(&["stats", text(&set)]).stdout;
    assert!(shown.contains("b___6: not_an_image") && shown.contains("2 classes"), "{shown}");
}

#[test]
fn reshard_is_pack_of_a_set() {
    let packed = packed();
    let out = tempfile::tempdir().unwrap();
    let (a, b) = (out.path().join("a"), out.path().join("b"));
    assert_eq!(run(&["reshard", text(&packed.set), text(&a), "--samples-per-shard", "5", "--seed", "2"]).code, 0);
    assert_eq!(run(&["pack", text(&packed.set), text(&b), "--samples-per-shard", "5", "--seed", "2"]).code, 0);
    assert_eq!(pictures(&a), pictures(&packed.set));
    assert_eq!(ShardSet::open(&a).unwrap().digest(), ShardSet::open(&b).unwrap().digest());
    let output = run(&["reshard", text(source().path()), text(&out.path().join("c"))]);
    assert!(output.code == 1 && output.stderr.contains("holds no tars"), "{}", output.stderr);
}

#[test]
fn completions_and_manual_know_every_command() {
    let commands = ["pack", "reshard", "index", "verify", "ls", "stats", "cat", "unpack", "wids", "completions", "man"];
    let help = run(&["--help"]).stdout;
    let out = tempfile::tempdir().unwrap();
    assert_eq!(run(&["man", "--out", text(out.path())]).code, 0);
    for name in commands {
        assert!(help.contains(&format!("\n  {name} ")), "{name}");
        let page = fs::read_to_string(out.path().join(format!("mugs-shard-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains(&format!("mugs\\-shard {name}")), "{name}");
        let help = run(&[name, "--help"]);
        assert!(help.code == 0 && help.stdout.contains("Examples:"), "{name}");
        for shell in ["bash", "zsh", "fish"] {
            assert!(run(&["completions", shell]).stdout.contains(name), "{name} {shell}");
        }
    }
    assert!(run(&["man"]).stdout.contains(".TH mugs-shard 1"));
}

/// Writes shards by webdataset, whose names have folders and dots.
const WRITE: &str = r#"
import sys, webdataset
with webdataset.ShardWriter(sys.argv[1] + "/w-%03d.tar", maxcount=4, verbose=0) as writer:
    for number in range(10):
        data = b"P6 2 2 255\n" + bytes([number]) * 40
        writer.write({"__key__": f"part/{number}", "jpg": data, "cls": number % 4, "txt": f"caption {number}"})
"#;

#[test]
fn shards_of_webdataset_are_indexed_and_packed_anew() {
    let Some(python) = python(&["webdataset"]) else {
        return skip("reading shards written by webdataset", "no Python with webdataset");
    };
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("w");
    fs::create_dir(&folder).unwrap();
    // The writer encodes a jpg itself unless it gets bytes.
    let output = Command::new(python).args(["-c", WRITE, text(&folder)]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let set = out.path().join("set");
    let packed = run(&["pack", text(&folder), text(&set), "--zstd", "1"]);
    assert_eq!(packed.code, 0, "{}", packed.stderr);
    let indexed = run(&["index", text(&folder)]);
    assert_eq!(indexed.code, 0, "{}", indexed.stderr);
    assert_eq!(verified(&folder).problems, []);
    let plain = |found: BTreeMap<(String, Option<u32>), Vec<u8>>| {
        found
            .into_iter()
            .map(|((key, label), bytes)| ((key.replace('/', "_"), label), bytes))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(plain(pictures(&folder)), pictures(&set));
    assert_eq!(pictures(&set)[&("part_7".to_string(), Some(3))][11..], [7; 40]);
}
