//! `unpack`: back to class folders, and what it refuses.

use std::fs;
use std::path::Path;

use mugs_shards::{PackConfig, ShardSet};
use serde_json::Value;

use crate::command::{command, run};
use crate::commands::{evil, pictures, text};
use crate::support::{config, names, picture, put, source, try_pack};

#[test]
fn what_is_unpacked_and_packed_again_is_the_same() {
    for (labels, zstd) in [(true, None), (true, Some(1)), (false, None)] {
        let source = if labels { source() } else { tempfile::tempdir().unwrap() };
        if !labels {
            (0..5).for_each(|number| put(source.path(), &format!("{number}.jpg"), &picture(number, 90)));
        }
        let out = tempfile::tempdir().unwrap();
        let (set, folder, again) = (out.path().join("set"), out.path().join("folder"), out.path().join("again"));
        try_pack(source.path(), &set, &PackConfig { zstd, ..config(4, 0) }).unwrap();
        let output = run(&["unpack", text(&set), text(&folder), "--format", "json"]);
        let result: Value = serde_json::from_str(&output.stdout).unwrap();
        let count = ShardSet::open(&set).unwrap().manifest().samples;
        assert_eq!((&result["samples"], &result["files"]), (&count.into(), &count.into()));
        try_pack(&folder, &again, &config(4, 0)).unwrap();
        assert_eq!(
            ShardSet::open(&set).unwrap().manifest().classes,
            ShardSet::open(&again).unwrap().manifest().classes
        );
        let values = |set: &Path| {
            let mut values: Vec<_> = pictures(set).into_iter().map(|((_, label), bytes)| (label, bytes)).collect();
            values.sort();
            values
        };
        assert_eq!(values(&set), values(&again));
        let output = run(&["unpack", text(&set), text(&folder)]);
        assert!(output.code == 1 && output.stderr.contains("is not empty"), "{}", output.stderr);
    }
}

/// A tar of pictures of the given names with the given labels.
fn labelled(samples: &[(&str, u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (key, label) in samples {
        for (extension, bytes) in [("jpg", picture(u64::from(*label), 90)), ("cls", label.to_string().into_bytes())] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, format!("{key}.{extension}"), &bytes[..]).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[test]
fn classes_that_packing_would_number_otherwise_are_warned_of() {
    let numbers: Vec<(String, u32)> = (0..11).map(|number| (format!("k{number}"), number)).collect();
    let numbers: Vec<(&str, u32)> = numbers.iter().map(|(key, number)| (&**key, *number)).collect();
    for (samples, classes) in [
        (&[("x", 0), ("y", 2)][..], "ant\nbee\ncat\n".to_string()),
        (&[("x", 0), ("y", 1)], "bee\nant\n".into()),
        (&numbers, (0..11).map(|number| format!("{number}\n")).collect()),
    ] {
        let out = tempfile::tempdir().unwrap();
        put(out.path(), "set/s.tar", &labelled(samples));
        put(out.path(), "classes", classes.as_bytes());
        let [set, names, folder, again] = ["set", "classes", "folder", "again"].map(|name| out.path().join(name));
        assert_eq!(run(&["index", text(&set), "--classes", text(&names)]).code, 0);
        let output = run(&["unpack", text(&set), text(&folder), "--format", "json"]);
        assert!(output.code == 0 && output.stderr.contains("pack --classes"), "{}", output.stderr);
        assert!(output.stdout.contains("\"same_classes\":false"), "{}", output.stdout);
        let output = run(&["pack", text(&folder), text(&again), "--classes", text(&names)]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        let labels = |set: &Path| {
            let mut labels: Vec<_> = pictures(set).into_iter().map(|((_, label), bytes)| (label, bytes)).collect();
            labels.sort();
            labels
        };
        assert_eq!(labels(&set), labels(&again));
    }
}

#[test]
fn names_are_refused_before_anything_is_written() {
    let out = tempfile::tempdir().unwrap();
    put(out.path(), "late/a.tar", &labelled(&[("a", 0), ("b", 1)]));
    put(out.path(), "late/b.tar", &evil("../evil.jpg"));
    put(out.path(), "class/a.tar", &labelled(&[("a", 0), ("b", 1)]));
    put(out.path(), "classes", b"x/a\nx/b\n");
    let classes = out.path().join("classes");
    for (set, options, said) in [
        ("late", &[][..], "b.tar: sample ../evil: its key"),
        ("class", &["--classes", text(&classes)], "class 0 is called \"x/a\""),
    ] {
        let set = out.path().join(set);
        assert_eq!(run(&[&["index", text(&set)], options].concat()).code, 0);
        let folder = out.path().join("folder");
        let output = run(&["unpack", text(&set), text(&folder)]);
        assert!(output.code == 1 && output.stderr.contains(said), "{}", output.stderr);
        assert!(!folder.exists());
    }
}

#[test]
fn killed_while_unpacking_no_file_is_cut() {
    let source = tempfile::tempdir().unwrap();
    let bytes = |number: u64| picture(number, 20_000 + number as usize);
    (0..400).for_each(|number| put(source.path(), &format!("a/{number}.jpg"), &bytes(number)));
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    try_pack(source.path(), &set, &config(100, 0)).unwrap();
    for round in 0..5 {
        let folder = out.path().join(round.to_string());
        let mut child = command(&["unpack", text(&set), text(&folder)]).spawn().unwrap();
        // Not by time: as soon as so many files are there.
        let there = || fs::read_dir(folder.join("a")).map_or(0, Iterator::count);
        while there() < 1 + 60 * round && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        for name in names(&folder.join("a")).iter().filter(|name| !name.starts_with('.')) {
            let number = name.trim_start_matches("a_").trim_end_matches(".jpg").parse().unwrap();
            assert!(fs::read(folder.join("a").join(name)).unwrap() == bytes(number), "{name}");
        }
    }
}

#[test]
fn names_that_leave_the_destination_are_refused() {
    for name in ["../../evil.jpg", "/tmp/evil.jpg", "a/../../evil.jpg"] {
        let out = tempfile::tempdir().unwrap();
        put(out.path(), "set/e.tar", &evil(name));
        let set = out.path().join("set");
        assert_eq!(run(&["index", text(&set)]).code, 0);
        let folder = out.path().join("a/b");
        let output = run(&["unpack", text(&set), text(&folder)]);
        assert!(output.code == 1 && output.stderr.contains("would leave the destination"), "{}", output.stderr);
        assert_eq!(names(out.path()), ["set"]);
    }
}
