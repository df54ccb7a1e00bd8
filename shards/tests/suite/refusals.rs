//! What cannot be packed is refused with exit code 1 and a sentence that names it; nothing is left behind.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use mugs_test_support::tally;

use crate::command::{Output, run};
use crate::support::{names, picture, put, source};

fn pack(source: &Path, set: &Path) -> Output {
    run(&["pack", source.to_str().unwrap(), set.to_str().unwrap(), "--samples-per-shard", "2"])
}

/// Whether nothing is left, or only what the next run goes on with, out of sight.
fn no_set(folder: &Path) -> bool {
    !folder.exists() || [&[][..], &[".packing".to_string()]].contains(&&names(folder)[..])
}

/// Spoils a good source and packs it, into a new folder and into an empty one.
fn refused(spoil: impl Fn(&Path), said: &[&str]) {
    let source = source();
    spoil(source.path());
    let out = tempfile::tempdir().unwrap();
    let (new, empty) = (out.path().join("new"), out.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    for set in [&new, &empty] {
        let output = pack(source.path(), set);
        assert_eq!((output.code, &*output.stdout), (1, ""), "{}", output.stderr);
        for part in said {
            assert!(output.stderr.contains(part), "{part:?} is missing in: {}", output.stderr);
        }
    }
    assert!(no_set(&new) && no_set(&empty));
    // Nothing at all, where no shard was finished.
    let whole = out.path().join("whole");
    let output = run(&["pack", source.path().to_str().unwrap(), whole.to_str().unwrap()]);
    assert!(output.code == 1 && !whole.exists(), "{}", output.stderr);
}

#[test]
fn bad_sources() {
    let clear = |root: &Path| names(root).iter().for_each(|class| fs::remove_dir_all(root.join(class)).unwrap());
    let link = |root: &Path, to: &str, name: &str| symlink(to, root.join(name)).unwrap();
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: [(Spoil, &[&str]); 11] = [
        (&clear, &["no pictures"]),
        (
            &|root| {
                clear(root);
                put(root, "a/x.txt", b"x")
            },
            &["no pictures", ".jpeg"],
        ),
        (&|root| fs::create_dir(root.join("dog")).unwrap(), &["dog", "without pictures"]),
        (&|root| put(root, "bird/none.jpg", b""), &["bird/none.jpg", "it is empty"]),
        (&|root| put(root, "bird/page.png", b"<html>"), &["bird/page.png", "not a picture", "--on-bad-image"]),
        (&|root| link(root, "nowhere", "bird/gone.jpg"), &["cannot read", "bird/gone.jpg", "No such file"]),
        (&|root| link(root, "self.jpg", "bird/self.jpg"), &["cannot read", "bird/self.jpg"]),
        (&|root| link(root, "../..", "bird/deep/up"), &["bird/deep/up", "symbolic link"]),
        (&|root| link(root, "/dev/zero", "bird/zero.jpg"), &["bird/zero.jpg", "regular file"]),
        (&|root| put(&root.join(OsStr::from_bytes(b"\xff")), "1.jpg", &picture(1, 29)), &["UTF-8"]),
        (&|root| fs::remove_dir_all(root).unwrap(), &["cannot read", "No such file"]),
    ];
    cases.iter().for_each(|(spoil, said)| refused(spoil, said));
    tally("packing refusals", cases.len(), "cases");
}

#[test]
fn destinations_that_hold_something_are_left_as_they_are() {
    let source = source();
    let out = tempfile::tempdir().unwrap();
    put(out.path(), "full/notes.txt", b"mine");
    put(out.path(), "torn/train-000000.tar", b"half a set");
    put(out.path(), "begun/.Xy12Zz.tmp", b"half a shard");
    put(out.path(), "file", b"a file");
    assert_eq!(pack(source.path(), &out.path().join("set")).code, 0);
    for (name, said) in [
        ("full", "not empty"),
        ("torn", "cut off"),
        ("begun", "cut off"),
        ("file", "is a file"),
        ("set", "already holds a set"),
    ] {
        let output = pack(source.path(), &out.path().join(name));
        assert!(output.code == 1 && output.stderr.contains(said), "{}", output.stderr);
    }
    assert_eq!(names(&out.path().join("full")), ["notes.txt"]);
    assert_eq!(names(&out.path().join("torn")), ["train-000000.tar"]);
    assert_eq!(fs::read(out.path().join("file")).unwrap(), b"a file");
    assert_eq!(run(&["verify", out.path().join("set").to_str().unwrap()]).code, 0);
}

#[test]
fn other_files_are_counted_and_named() {
    let source = source();
    put(source.path(), "bird/notes.txt", b"x");
    put(source.path(), "loose.jpg", &picture(1, 29));
    let out = tempfile::tempdir().unwrap();
    let output = pack(source.path(), &out.path().join("set"));
    assert_eq!(output.code, 0);
    for part in ["warning", "2 files", "bird/notes.txt", "loose.jpg"] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
}

#[test]
fn names_that_are_no_text_are_packed_and_reported() {
    let source = source();
    let name = |bytes: &[u8]| source.path().join("bird").join(OsStr::from_bytes(bytes));
    fs::write(name(b"\xff.jpg"), picture(1, 29)).unwrap();
    fs::write(name(b"\xff.txt"), b"x").unwrap();
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set");
    let output = run(&["pack", source.path().to_str().unwrap(), set.to_str().unwrap(), "--format", "json"]);
    let result: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.code, &result["ignored"]["first"][0]), (0, &"bird/\u{fffd}.txt".into()));
    assert_eq!(result["samples"], 12);
}
