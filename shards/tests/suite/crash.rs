//! Kills, signals, full disks and changed sources: what was begun goes on, and the result is the undisturbed run's.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mugs_random::{Address, Draws};
use mugs_shards::{Hooks, OnBadImage, PackConfig, PackError, Phase, PictureCheck, Progress, Resume, ShardSet};
use mugs_test_support::{skip, tally};
use tempfile::TempDir;

use crate::command::{Output, command, run};
use crate::support::{config, contents, names, picture, put, try_pack, verified};

/// Pictures of three classes, some of them bad.
fn source(count: u64) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for i in 0..count {
        let bytes = if i % 97 == 13 { b"<html>".to_vec() } else { picture(i / 2, 2000 + (i as usize / 2 * 37) % 3000) };
        put(root.path(), &format!("c{}/{i}.jpg", i % 3), &bytes);
    }
    root
}

/// The options of all runs: shards by size, bad pictures left out, pictures that are there twice.
const OPTIONS: [&str; 6] = ["--shard-size", "100kB", "--on-bad-image", "skip", "--zstd", "1"];

fn arguments<'a>(source: &'a Path, set: &'a Path) -> Vec<&'a str> {
    [&["pack", source.to_str().unwrap(), set.to_str().unwrap()][..], &OPTIONS].concat()
}

fn start(source: &Path, set: &Path) -> Child {
    command(&arguments(source, set)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn pack(source: &Path, set: &Path) -> Output {
    run(&arguments(source, set))
}

fn looks_like_a_set(set: &Path) -> bool {
    set.exists() && names(set).iter().any(|name| name == "manifest.json")
}

/// Whether packing ended, but for an empty work folder.
fn is_finished(set: &Path) -> bool {
    looks_like_a_set(set) && !set.join(".packing/state.json").exists()
}

/// Kills packing at `count` random moments of its `whole` time, goes on after each and compares. Gives how many came
/// before the set was there.
fn kill_and_go_on(source: &Path, count: u64) -> usize {
    let out = tempfile::tempdir().unwrap();
    let undisturbed = out.path().join("undisturbed");
    let began = Instant::now();
    assert_eq!(pack(source, &undisturbed).code, 0);
    let mut whole = began.elapsed();
    let expected = contents(&undisturbed);
    let mut draws = Draws::at(3, Address { epoch: 0, position: 0, lane: 0 });
    let mut torn = 0;
    for round in 0..count {
        let set = out.path().join(round.to_string());
        let mut child = start(source, &set);
        let (began, moment) = (Instant::now(), whole.mul_f64(draws.uniform_f64()));
        while began.elapsed() < moment {
            if child.try_wait().unwrap().is_some() {
                // The undisturbed run was slower, since other tests ran beside it.
                whole = began.elapsed();
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        torn += usize::from(!looks_like_a_set(&set));
        if !is_finished(&set) {
            let output = pack(source, &set);
            assert_eq!(output.code, 0, "round {round}: {}", output.stderr);
        }
        let _ = fs::remove_dir(set.join(".packing"));
        assert_eq!(contents(&set), expected, "round {round}");
    }
    torn
}

#[test]
fn killed_at_any_moment_packing_goes_on_to_the_same_bytes() {
    let source = source(900);
    let torn = kill_and_go_on(source.path(), 30);
    assert!(torn >= 10, "only {torn} of 30 kills came before the end");
    tally("kills while packing", 30, "moments");
}

#[test]
fn killed_again_and_again_packing_still_ends() {
    let source = source(900);
    let out = tempfile::tempdir().unwrap();
    let (undisturbed, set) = (out.path().join("undisturbed"), out.path().join("set"));
    assert_eq!(pack(source.path(), &undisturbed).code, 0);
    for wait in 0..40 {
        let mut child = start(source.path(), &set);
        thread::sleep(Duration::from_millis(3 + wait));
        child.kill().unwrap();
        child.wait().unwrap();
        if is_finished(&set) {
            break;
        }
    }
    if !is_finished(&set) {
        assert_eq!(pack(source.path(), &set).code, 0);
    }
    let _ = fs::remove_dir(set.join(".packing"));
    assert_eq!(contents(&set), contents(&undisturbed));
}

#[test]
fn a_signal_keeps_what_was_finished() {
    let source = source(900);
    let out = tempfile::tempdir().unwrap();
    let mut met = 0;
    for signal in ["-INT", "-TERM"] {
        let set = out.path().join(signal);
        let mut child = start(source.path(), &set);
        let journal = set.join(".packing/journal.jsonl");
        while fs::metadata(&journal).map_or(0, |journal| journal.len()) == 0 && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        // On a busy machine the pack may be over before this thread sees it begin.
        if child.try_wait().unwrap().is_none() {
            let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
            assert!(sent.unwrap().success());
        }
        let code = child.wait().unwrap().code();
        if code == Some(0) {
            continue;
        }
        met += 1;
        assert_eq!(code, Some(if signal == "-INT" { 130 } else { 143 }));
        assert_eq!(names(&set), [".packing"]);
        let output = pack(source.path(), &set);
        assert!(output.code == 0 && output.stdout.contains("by an earlier run"), "{}", output.stdout);
        assert_eq!(verified(&set).problems, []);
    }
    assert!(met > 0, "no signal met a pack at work");
}

#[test]
fn a_finished_set_is_moved_into_place_without_its_source() {
    let source = source(300);
    let out = tempfile::tempdir().unwrap();
    let (whole, set) = (out.path().join("whole"), out.path().join("set"));
    assert_eq!(pack(source.path(), &whole).code, 0);
    // The state of a pack that ended at its first bad picture, which may go on leaving such out.
    let begun = out.path().join("begun");
    let (from, to) = (source.path().to_str().unwrap(), begun.to_str().unwrap());
    assert_eq!(run(&["pack", from, to, "--shard-size", "100kB", "--zstd", "1"]).code, 1);
    let state = fs::read(begun.join(".packing/state.json")).unwrap();
    // As a kill between the last shard and the first move leaves it: all is in the work folder.
    let child = start(source.path(), &set).wait_with_output().unwrap();
    assert!(child.status.success());
    let work = set.join(".packing");
    let files = names(&set);
    fs::create_dir(&work).unwrap();
    // A move is torn at any file: those before it are in place.
    for moved in [0, 1, files.len() / 2] {
        for name in &files {
            let (from, to) = (set.join(name), work.join(name));
            if from.exists() && !files[..moved].contains(name) {
                fs::rename(from, to).unwrap();
            }
        }
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("state.json"), &state).unwrap();
        let elsewhere = out.path().join("elsewhere");
        fs::rename(source.path(), &elsewhere).unwrap();
        let output = pack(source.path(), &set);
        fs::rename(&elsewhere, source.path()).unwrap();
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(contents(&set), contents(&whole), "{moved}");
        fs::create_dir(&work).unwrap();
    }
    fs::remove_dir(&work).unwrap();
}

/// A tar of class tars, as ImageNet's, of the pictures of [`source`].
fn tar_of_tars(folder: &Path, count: u64) -> PathBuf {
    let source = source(count);
    let mut outer = tar::Builder::new(Vec::new());
    for class in names(source.path()) {
        let mut inner = tar::Builder::new(Vec::new());
        for file in names(&source.path().join(&class)) {
            inner.append_path_with_name(source.path().join(&class).join(&file), &file).unwrap();
        }
        let bytes = inner.into_inner().unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        outer.append_data(&mut header, format!("{class}.tar"), &bytes[..]).unwrap();
    }
    let path = folder.join("ILSVRC2012_img_train.tar");
    fs::write(&path, outer.into_inner().unwrap()).unwrap();
    path
}

#[test]
fn a_source_that_is_read_once_goes_on_after_kills_too() {
    let folder = tempfile::tempdir().unwrap();
    let torn = kill_and_go_on(&tar_of_tars(folder.path(), 900), 12);
    assert!(torn >= 4, "only {torn} of 12 kills came before the end");
    tally("kills while packing a tar of tars", 12, "moments");
}

#[test]
fn buckets_that_are_half_full_are_filled_up_and_not_twice() {
    let folder = tempfile::tempdir().unwrap();
    let source = tar_of_tars(folder.path(), 300);
    let config = |limit| PackConfig { limit, on_bad_image: OnBadImage::Skip, ..config(40, 1) };
    for limit in [None, NonZero::new(90)] {
        let whole = folder.path().join(format!("whole-{limit:?}"));
        try_pack(&source, &whole, &config(limit)).unwrap();
        for after in [1, 100, 299] {
            let set = folder.path().join(format!("set-{limit:?}-{after}"));
            let stop = AtomicBool::new(false);
            let progress = |progress: Progress| {
                stop.fetch_or(progress.phase == Phase::Reading && progress.samples == after, Ordering::Relaxed);
            };
            let hooks = Hooks { pictures: &PictureCheck::default(), progress: &progress, stop: &stop };
            let error = mugs_shards::pack(&source, &set, &config(limit), Resume::Auto, hooks).unwrap_err();
            assert!(matches!(error, PackError::Stopped), "{error}");
            // What a kill leaves behind the last mark is cut off.
            let bucket = set.join(".packing/bucket-000");
            let mut bytes = fs::read(&bucket).unwrap();
            bytes.extend([7; 1000]);
            fs::write(&bucket, bytes).unwrap();
            try_pack(&source, &set, &config(limit)).unwrap();
            assert_eq!(contents(&set), contents(&whole), "{limit:?} {after}");
        }
    }
}

/// A pack that ended at a bad picture after some shards.
fn unfinished(source: &Path, out: &Path) -> PathBuf {
    let set = out.join("set");
    let output = run(&["pack", source.to_str().unwrap(), set.to_str().unwrap(), "--samples-per-shard", "20"]);
    assert!(output.code == 1 && output.stderr.contains("not a picture"), "{}", output.stderr);
    assert_eq!(names(&set), [".packing"]);
    set
}

#[test]
fn going_on_with_other_options_is_refused_by_name() {
    let source = source(300);
    let out = tempfile::tempdir().unwrap();
    let set = unfinished(source.path(), out.path());
    let other = tempfile::tempdir().unwrap();
    put(other.path(), "c/1.jpg", &picture(1, 40));
    let (from, to) = (source.path().to_str().unwrap(), set.to_str().unwrap());
    let again = ["pack", from, to, "--samples-per-shard", "20"];
    for (more, said) in [
        (&["--seed", "4"][..], "seed (0 then, 4 now)"),
        (&["--zstd", "3"], "zstd (null then, 3 now)"),
        (&["--json"], "json"),
        (&["--check", "decode"], "pictures"),
        (&["--dots", "last"], "dots"),
    ] {
        let output = run(&[&again[..], more].concat());
        assert!(output.code == 1 && output.stderr.contains(said), "{said}: {}", output.stderr);
    }
    let output = run(&["pack", other.path().to_str().unwrap(), to, "--samples-per-shard", "20"]);
    assert!(output.code == 1 && output.stderr.contains("unfinished pack, but of "), "{}", output.stderr);
    // It ended at its first bad picture, so it may go on leaving bad ones out; workers never matter.
    let output = run(&[&again[..], &["--on-bad-image", "skip", "--workers", "1"]].concat());
    assert!(output.code == 0 && output.stdout.contains("by an earlier run"), "{}{}", output.stdout, output.stderr);
    let fresh = out.path().join("fresh");
    let skip = ["pack", from, fresh.to_str().unwrap(), "--samples-per-shard", "20", "--on-bad-image", "skip"];
    assert_eq!(run(&skip).code, 0);
    assert_eq!(contents(&set), contents(&fresh));
}

#[test]
fn beginning_anew_is_possible() {
    let source = source(300);
    let out = tempfile::tempdir().unwrap();
    let set = unfinished(source.path(), out.path());
    let (from, to) = (source.path().to_str().unwrap(), set.to_str().unwrap());
    let output = run(&["pack", from, to, "--seed", "4", "--on-bad-image", "skip", "--resume", "never"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(ShardSet::open(&set).unwrap().manifest().seed, 4);
}

#[test]
fn a_source_that_changed_is_seen_where_it_matters() {
    let source = source(300);
    let out = tempfile::tempdir().unwrap();
    let set = unfinished(source.path(), out.path());
    // Mending what is still to come is what the error asked for.
    let bad: Vec<u64> = (0..300).filter(|i| i % 97 == 13).collect();
    bad.iter().for_each(|i| fs::remove_file(source.path().join(format!("c{}/{i}.jpg", i % 3))).unwrap());
    // A picture of the finished shards is gone.
    let index = fs::read_to_string(set.join(".packing/train-000000.idx")).unwrap();
    let key = index.lines().nth(1).unwrap().split('\t').next().unwrap();
    let file = source.path().join(format!("{}.jpg", key.replacen('_', "/", 1)));
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let (from, to) = (source.path().to_str().unwrap(), set.to_str().unwrap());
    let again = ["pack", from, to, "--samples-per-shard", "20"];
    let output = run(&again);
    assert!(output.code == 1 && output.stderr.contains("its source is not what it was"), "{}", output.stderr);
    fs::write(&file, kept).unwrap();
    assert_eq!(run(&again).code, 0);
    assert_eq!(verified(&set).samples, 300 - bad.len() as u64);
}

#[test]
fn a_full_disk_ends_with_the_path_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |size: &str| {
        let options = format!("size={size}");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output()
    };
    if !mount("200k").is_ok_and(|output| output.status.success()) {
        return skip("packing onto a full disk", "a tmpfs cannot be mounted here");
    }
    let source = source(300);
    let set = folder.path().join("set");
    let output = pack(source.path(), &set);
    let remount = |size: &str| {
        let options = format!("remount,size={size}");
        std::process::Command::new("mount").args(["-o", &options]).arg(folder.path()).status().unwrap().success()
    };
    let left = if set.exists() { names(&set) } else { Vec::new() };
    let enlarged = remount("20m");
    let again = pack(source.path(), &set);
    let problems = if again.code == 0 { verified(&set).problems } else { Vec::new() };
    assert!(std::process::Command::new("umount").arg(folder.path()).status().unwrap().success());
    assert!(output.code == 1 && output.stderr.contains("cannot write"), "{}", output.stderr);
    assert!(output.stderr.contains(set.to_str().unwrap()) && output.stderr.contains("space"), "{}", output.stderr);
    assert_eq!(left, [".packing"]);
    assert!(enlarged && again.code == 0 && again.stdout.contains("by an earlier run"), "{}", again.stderr);
    assert_eq!(problems, []);
    tally("full disks", 1, "tmpfs");
}
