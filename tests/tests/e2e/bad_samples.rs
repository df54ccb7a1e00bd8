//! Bad samples in a run: left out, named, counted, and the run is the same whatever the workers and the stops.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::meters::{get, metered, parse};
use crate::resume::{epochs_logged, place, same_checkpoints};
use crate::support::{Lab, run, text};

/// Eleven steps an epoch, three epochs.
const PICTURES: u64 = 47;
const SKIP: [&str; 2] = ["--on_bad_sample=skip", "--streams=4"];

/// A set with three bad samples: two pictures were cut before they were packed, the bytes of one have changed since.
fn damaged() -> Lab {
    let lab = Lab::changed(PICTURES, |source| {
        for name in ["class1/004.jpg", "class1/013.jpg"] {
            let bytes = fs::read(source.join(name)).unwrap();
            fs::write(source.join(name), &bytes[..bytes.len() / 2]).unwrap();
        }
    });
    let shard = lab.set.join("train-000002.tar");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[512 + 100] ^= 1;
    fs::write(shard, bytes).unwrap();
    lab
}

/// What a run says of the samples that it leaves out, without the time of day.
fn left_out(output: &Output) -> Vec<String> {
    let said = text(&output.stderr);
    let lines = said.lines().filter(|line| line.contains("left out a bad sample"));
    lines.map(|line| line.split_once("WARN").unwrap().1.to_owned()).collect()
}

fn train(lab: &Lab, name: &str, more: &[&str]) -> Output {
    run(&mut lab.train(name, &[&SKIP, more].concat()))
}

fn logged(run: &Path) -> Vec<serde_json::Value> {
    epochs_logged(run).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_leaves_bad_samples_out_and_is_the_same_whatever_the_workers_and_the_stops() {
    let lab = damaged();
    let whole = train(&lab, "whole", &["--num_workers=1"]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let lines = left_out(&whole);
    let of = |reason: &str| lines.iter().filter(|line| line.contains(&format!("reason=\"{reason}\""))).count();
    assert_eq!(of("truncated") + of("checksum"), lines.len(), "{lines:#?}");
    // Three an epoch, but for those behind the last step.
    assert!(lines.len() > 6 && of("truncated") > of("checksum") && of("checksum") > 0, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("shard=train-") && line.contains("key=class")));
    assert!(lines.iter().filter(|line| line.contains("checksum")).all(|line| line.contains("offset=512 ")));
    let counted = logged(&lab.path("whole")).iter().map(|line| line["bad_samples"].as_u64().unwrap_or(0)).sum::<u64>();
    assert_eq!(counted, lines.len() as u64, "the log's counts are those of the lines");

    let three = train(&lab, "three", &["--num_workers=3", "--readahead_mb=0"]);
    assert_eq!(left_out(&three), lines);
    same_checkpoints(&lab.path("whole"), &lab.path("three"));

    // Stopped inside the first epoch and inside the second; begun without leave to skip.
    let failed = run(&mut lab.train("parts", &["--streams=4", "--num_workers=2"]));
    assert_eq!(failed.status.code(), Some(1));
    let mut said = left_out(&failed);
    assert!(said.is_empty());
    for (stop, workers) in [("--max_steps=7", "1"), ("--max_steps=18", "3"), ("--max_steps=0", "2")] {
        let part = train(&lab, "parts", &[stop, "--num_workers", workers]);
        assert!(part.status.success(), "{}", text(&part.stderr));
        said.extend(left_out(&part));
    }
    assert_eq!(said, lines, "each is named once");
    same_checkpoints(&lab.path("whole"), &lab.path("parts"));
    assert_eq!(epochs_logged(&lab.path("whole")), epochs_logged(&lab.path("parts")));
}

#[test]
fn one_bad_sample_more_than_allowed_ends_the_run_at_the_same_step() {
    let lab = damaged();
    let limited = |name: &str, more: &[&str]| {
        let output = train(&lab, name, &[&["--max_bad_samples=2"], more].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let said = text(&output.stderr);
        said.lines().find(|line| line.starts_with("error: ")).unwrap().to_owned()
    };
    let error = limited("one", &["--num_workers=1"]);
    for part in ["3 samples of epoch", "`max_bad_samples` allows 2", "class1_004", "class1_013", "checksum"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let (epoch, step) = place(&lab.path("one"));
    assert!(epoch > 0 || step > 1, "the steps before are kept");
    assert_eq!(limited("three", &["--num_workers=3", "--readahead_mb=0"]), error);
    same_checkpoints(&lab.path("one"), &lab.path("three"));
    // Stopped two steps before, where bad samples are counted already, it goes on counting.
    let last = (epoch * 11 + step - 2).to_string();
    assert!(train(&lab, "parts", &["--max_steps", &last]).status.success());
    assert_eq!(limited("parts", &["--num_workers=2"]), error);
    same_checkpoints(&lab.path("one"), &lab.path("parts"));
    // More may be allowed then: it is the run that was allowed them from the start.
    assert!(train(&lab, "parts", &[]).status.success());
    assert!(train(&lab, "free", &[]).status.success());
    same_checkpoints(&lab.path("free"), &lab.path("parts"));
}

#[test]
fn bad_samples_are_counted_by_reason() {
    let lab = damaged();
    let (mut child, address) = metered(&lab, &SKIP);
    let begun = Instant::now();
    let values = loop {
        let (values, _) = parse(&get(&address, "/metrics"));
        if values.get("mugs_train_step").is_some_and(|step| *step >= 22.0) || begun.elapsed().as_secs() > 60 {
            break values;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let dropped = |reason: &str| values[&format!("mugs_samples_dropped_total{{reason=\"{reason}\"}}")];
    assert!(dropped("truncated") >= 2.0 && dropped("checksum") >= 1.0, "{values:?}");
    assert_eq!(dropped("label"), 0.0);
}

#[test]
fn a_cut_shard_ends_the_run_or_loses_what_is_cut() {
    let lab = Lab::new(PICTURES);
    let shard = lab.set.join("train-000003.tar");
    let bytes = fs::metadata(&shard).unwrap().len();
    fs::OpenOptions::new().write(true).open(&shard).unwrap().set_len(bytes * 3 / 4).unwrap();
    let failed = run(&mut lab.train("run", &["--streams=4"]));
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("train-000003.tar"), "{}", text(&failed.stderr));
    let skipped = train(&lab, "run", &["--max_steps=11"]);
    assert!(skipped.status.success(), "{}", text(&skipped.stderr));
    let lines = left_out(&skipped);
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("train-000003.tar")), "{lines:?}");
}

#[test]
fn a_policy_that_is_none_is_refused() {
    let lab = Lab::new(3);
    assert_eq!(run(&mut lab.train("run", &["--on_bad_sample=ignore"])).status.code(), Some(2));
    let config = lab.path("run.toml");
    fs::write(&config, "on_bad_sample = \"ignore\"\n").unwrap();
    let refused = run(lab.train("run", &[]).arg("--config").arg(config));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--on_bad_sample ignore"), "{}", text(&refused.stderr));
}
