//! Runs killed at any moment, and folders with damaged checkpoints: what goes on is always a sound checkpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mugs_compute::checkpoint::Checkpoint;
use mugs_random::{Address, Draws};
use mugs_test_support::tally;

use crate::resume::{Change, epochs_logged, place, same_checkpoints};
use crate::support::{Lab, run, start, text};

const PICTURES: u64 = 23;
const STEPS_PER_EPOCH: u64 = 5;
const KILLS: u64 = 20;

/// Small crops, and a checkpoint after every step: a large part of the time goes into saving.
const KILLED: &[&str] = &[
    "--epochs=1000",
    "--saveckp_freq=7",
    "--save_every_steps=1",
    "--keep=2",
    "--num_workers=1",
    "--global_crops_size=32",
    "--size_crops=16",
];

#[test]
fn killed_at_twenty_moments_a_run_ends_as_if_it_never_was() {
    let lab = Lab::new(PICTURES);
    let folder = lab.path("killed");
    let (mut unfinished, mut furthest) = (0, None);
    for kill in 0..KILLS {
        let said = kill_somewhere(&lab, kill);
        assert!(!said.contains("cannot be used") && !said.contains("error"), "kill {kill}: {said}");
        if let Some((epoch, step)) = furthest {
            assert!(said.contains(&format!("goes on at epoch {epoch} step {step}")), "kill {kill}: {said}");
        }
        unfinished += u64::from(unfinished_file(&folder).is_some());
        for path in checkpoints(&folder) {
            Checkpoint::read(&path).unwrap_or_else(|error| panic!("kill {kill}: {error:?}"));
        }
        furthest = folder.join("checkpoint.pth").is_file().then(|| place(&folder));
    }
    tally("killed while a checkpoint was written", unfinished as usize, "of 20 kills");
    let (epoch, step) = place(&folder);
    let last = format!("--max_steps={}", STEPS_PER_EPOCH * epoch + step + 7);
    for (name, saves) in [("killed", "--save_every_steps=1"), ("whole", "--save_every_steps=0")] {
        let ended = run(lab.train(name, KILLED).args([&*last, saves]));
        assert!(ended.status.success(), "{}", text(&ended.stderr));
    }
    same_checkpoints(&folder, &lab.path("whole"));
    assert_eq!(epochs_logged(&folder), epochs_logged(&lab.path("whole")));
    assert_eq!(unfinished_file(&folder), None);
    let by_step = checkpoints(&folder).iter().filter(|path| name(path).contains("step")).count();
    assert_eq!(by_step, 2);
}

/// Starts the run and kills it a while after it has begun, or after its first or second checkpoint, so that it gets
/// further whatever else the machine does; every other time in the middle of a checkpoint. Gives what it said.
fn kill_somewhere(lab: &Lab, kill: u64) -> String {
    let folder = lab.path("killed");
    let log = Change::of(folder.join("log.txt"));
    let mut child = start(&mut lab.train("killed", KILLED));
    log.wait_for(&mut child);
    for _ in 0..kill % 3 {
        Change::of(folder.join("checkpoint.pth")).wait_for(&mut child);
    }
    let mut draws = Draws::at(5, Address { epoch: 0, position: kill, lane: 0 });
    let mut sleep = |most| std::thread::sleep(Duration::from_micros(draws.below(most)));
    sleep(100_000);
    if kill % 2 == 1 {
        let begun = Instant::now();
        while unfinished_file(&folder).is_none() && begun.elapsed() < Duration::from_secs(5) {
            std::hint::spin_loop();
        }
        // At its beginning, in its middle, while it is made durable, or just renamed.
        sleep(20_000);
    }
    child.kill().unwrap();
    text(&child.wait_with_output().unwrap().stderr)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A checkpoint that is being written, or was when its process was killed.
fn unfinished_file(folder: &Path) -> Option<String> {
    files(folder).iter().map(|path| name(path)).find(|name| name.starts_with(".checkpoint-"))
}

fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let mut paths = files(folder);
    paths.retain(|path| name(path).starts_with("checkpoint"));
    paths.sort();
    paths
}

/// Changes a bit in the middle of a file: a weight, which only a checksum can tell.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    // A file of its own: the other names of the old one keep theirs.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_made_up_for_by_the_one_before_and_named() {
    let lab = Lab::new(PICTURES);
    let (folder, newest) = (lab.path("run"), lab.path("run/checkpoint.pth"));
    let saving = ["--save_every_steps=1", "--keep=2"];
    let train = |last: &str| run(lab.train("run", &saving).arg(last));
    assert!(train("--max_steps=4").status.success());
    let names: Vec<String> = checkpoints(&folder).iter().map(|path| name(path)).collect();
    assert_eq!(names, ["checkpoint-step00000002.pth", "checkpoint-step00000003.pth", "checkpoint.pth"]);
    assert_eq!(place(&folder), (0, 4));

    damage(&newest);
    let on = train("--max_steps=8");
    let said = text(&on.stderr);
    assert!(on.status.success(), "{said}");
    for part in ["checkpoint.pth cannot be used", "data/", "going on from", "checkpoint-step00000003.pth", "step 3"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // The newest is gone, and so is the one kept last; an epoch's end was kept, too, and stands behind the other.
    fs::remove_file(&newest).unwrap();
    damage(&folder.join("checkpoint-step00000007.pth"));
    let on = train("--max_steps=9");
    let said = text(&on.stderr);
    assert!(on.status.success(), "{said}");
    for part in ["checkpoint-step00000007.pth cannot be used", "going on from", "checkpoint-step00000006.pth"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(run(&mut lab.train("whole", &["--max_steps=9"])).status.success());
    same_checkpoints(&folder, &lab.path("whole"));

    for path in checkpoints(&folder) {
        fs::write(&path, &fs::read(&path).unwrap()[..1000]).unwrap();
    }
    let refused = train("--max_steps=10");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for path in checkpoints(&folder) {
        assert!(said.contains(&name(&path)), "{} in {said}", path.display());
    }
    assert!(said.contains("none of the run's checkpoints can be read"), "{said}");
}

#[test]
fn a_kill_before_an_epoch_s_checkpoint_has_its_second_name_costs_nothing() {
    let lab = Lab::new(23);
    let options = ["--epochs=1", "--warmup_epochs=0", "--saveckp_freq=1"];
    assert!(run(&mut lab.train("run", &options)).status.success());
    let [newest, named] = ["run/checkpoint.pth", "run/checkpoint0000.pth"].map(|name| lab.path(name));
    let bytes = fs::read(&newest).unwrap();
    fs::remove_file(&named).unwrap();
    // Where no epoch is to be kept there is nothing to name.
    assert!(run(&mut lab.train("run", &["--epochs=1", "--warmup_epochs=0", "--saveckp_freq=0"])).status.success());
    assert!(!named.exists());
    let again = run(&mut lab.train("run", &options));
    assert!(text(&again.stderr).contains("is kept as checkpoint0000.pth too"), "{}", text(&again.stderr));
    assert!(fs::read(&named).unwrap() == bytes && fs::read(&newest).unwrap() == bytes);
}

#[test]
fn checkpoints_are_written_by_the_minute_and_none_is_kept_where_none_is_wanted() {
    let lab = Lab::new(PICTURES);
    // So short a time is over after every step.
    let options = ["--save_every_minutes=1e-9", "--keep=0", "--epochs=100000", "--saveckp_freq=0"];
    let checkpoint = Change::of(lab.path("run/checkpoint.pth"));
    let mut child = start(&mut lab.train("run", &options));
    checkpoint.wait();
    let (epoch, step) = place(&lab.path("run"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(epoch > 0 || step > 0);
    assert_eq!(checkpoints(&lab.path("run")), [lab.path("run/checkpoint.pth")]);
    let wrong = run(&mut lab.train("run", &["--save_every_minutes=-1"]));
    assert!(text(&wrong.stderr).contains("--save_every_minutes -1"), "{}", text(&wrong.stderr));
}
