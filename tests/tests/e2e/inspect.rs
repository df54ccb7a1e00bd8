//! `inspect` on a published checkpoint, on a run, and on what is neither; the log lines that a run leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Lab, binary, run, text};

fn inspect(arguments: &[&str]) -> std::process::Output {
    run(Command::new(binary("mugs-pipeline")).arg("inspect").args(arguments).env("COLUMNS", "90"))
}

fn json(path: &Path, more: &[&str]) -> Value {
    let output = inspect(&[&[path.to_str().unwrap(), "--format=json"], more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Name, type and shape of every tensor in the description of the published checkpoint.
fn described(name: &str, value: &Value, tensors: &mut BTreeMap<String, (String, Value)>) {
    if value["type"] == "tensor" {
        tensors.insert(name.into(), (value["dtype"].as_str().unwrap().into(), value["shape"].clone()));
    }
    let items = value.get("items").and_then(Value::as_array);
    for (number, item) in items.into_iter().flatten().enumerate() {
        let (key, value) = match item.as_array() {
            Some(pair) => (pair[0].as_str().map_or(pair[0].to_string(), str::to_owned), &pair[1]),
            None => (number.to_string(), item),
        };
        described(&if name.is_empty() { key } else { format!("{name}.{key}") }, value, tensors);
    }
}

#[test]
fn a_published_checkpoint_shows_its_place_options_losses_and_tensors() {
    let folder = mugs_test_support::golden("model/checkpoint");
    let report = json(&folder.join("checkpoint.pth"), &["--tensors"]);
    assert_eq!(report["progress"]["finished"], true);
    assert_eq!((&report["progress"]["epochs_done"], &report["options"]["values"]["lr"]), (&2.into(), &0.05.into()));
    assert_eq!(report["log"]["epochs"][1]["means"]["loss"], 3.808206876118978);
    assert_eq!(report["checkpoint"]["objects"][0], "argparse.Namespace");

    let structure: Value = serde_json::from_slice(&fs::read(folder.join("structure.json")).unwrap()).unwrap();
    let mut expected = BTreeMap::new();
    described("", &structure["content"], &mut expected);
    let sections = report["checkpoint"]["sections"].as_array().unwrap();
    let shown: BTreeMap<String, (String, Value)> = sections
        .iter()
        .flat_map(|section| section["list"].as_array().unwrap())
        .map(|t| (t["name"].as_str().unwrap().into(), (t["dtype"].as_str().unwrap().into(), t["shape"].clone())))
        .collect();
    assert_eq!(shown, expected);
    let names: Vec<&str> = sections.iter().map(|section| section["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["student", "teacher", "memories", "queues and centre", "optimiser"]);
    mugs_test_support::tally("inspect published", expected.len(), "tensors");
}

#[test]
fn a_run_is_shown_with_its_curves_beside_a_published_log_s() {
    let lab = Lab::new(23);
    let trained = run(&mut lab.train("run", &["--max_steps=12"]));
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let (path, drawn) = (lab.path("run"), lab.path("losses.svg"));
    let published = mugs_test_support::golden("model/checkpoint/log.txt");
    let [path_text, drawn_text, log] = [&path, &drawn, &published].map(|path| path.to_str().unwrap());

    let output = inspect(&[path_text, "--svg", drawn_text, "--against", log]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for part in [
        "epoch 3 of 3, step 2 of 5; 12 of 15 steps (80.0 %), 5 an epoch; not finished",
        "embed_dim = 32",
        "run/log.txt: epochs to 1, total loss",
        "checkpoint/log.txt: epochs to 1, total loss 3.8082 at the end",
        "local-group loss",
        "student_mem teacher_mem",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert!(shown.lines().filter(|line| line.contains(['*', 'o']) && line.contains('|')).count() > 4, "{shown}");
    let svg = fs::read_to_string(&drawn).unwrap();
    for part in ["total loss", "group loss", "learning rate", "weight decay", ">epoch<", ">loss, nats<", "log.txt<"] {
        assert!(svg.contains(part), "{part}");
    }

    // Inside the first epoch its length is known from the data alone.
    let begun = run(&mut lab.train("begun", &["--max_steps=2"]));
    assert!(begun.status.success(), "{}", text(&begun.stderr));
    let progress = json(&lab.path("begun"), &[])["progress"].clone();
    assert_eq!((&progress["step"], &progress["steps_per_epoch"]), (&2.into(), &5.into()));
    assert!(text(&inspect(&[lab.path("begun").to_str().unwrap()]).stdout).contains("no epoch is finished yet"));
}

#[test]
fn what_cannot_be_shown_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let golden = fs::read(mugs_test_support::golden("model/checkpoint/checkpoint.pth")).unwrap();
    fs::write(folder.path().join("checkpoint.pth"), &golden[..golden.len() / 2]).unwrap();
    fs::write(folder.path().join("checkpoint0003.pth"), &golden).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let cases: [(&str, &[&str]); 4] = [
        ("", &["cannot inspect", "it also has checkpoint0003.pth", "checkpoint.pth: not a sound zip file"]),
        ("none.pth", &["none.pth", "folder of a run or a checkpoint"]),
        ("empty", &["is no run", "checkpoint.pth, config.toml, log.txt"]),
        ("checkpoint0003.pth", &["none.txt"]),
    ];
    for (name, parts) in cases {
        let more: &[&str] = if name == "checkpoint0003.pth" { &["--against", "none.txt"] } else { &[] };
        let output = inspect(&[&[folder.path().join(name).to_str().unwrap()], more].concat());
        assert_eq!(output.status.code(), Some(1), "{name}");
        let error = text(&output.stderr);
        assert!(parts.iter().all(|part| error.contains(part)), "{name}: {error}");
    }
}

#[test]
fn every_start_appends_its_lines_to_the_run_s_log() {
    let lab = Lab::new(23);
    assert!(run(&mut lab.train("run", &["--max_steps=2"])).status.success());
    assert!(run(&mut lab.train("run", &["--max_steps=4"])).status.success());
    assert_eq!(run(&mut lab.train("run", &["--lr=0.9"])).status.code(), Some(1));
    let log = fs::read_to_string(lab.path("run/train.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("INFO mugs-pipeline 0."), 3, "{log}");
    assert!(lines[0].contains("--max_steps=2"), "{log}");
    assert_eq!((count("step 1/2"), count("step 2/2"), count("step 4/4")), (1, 1, 1), "{log}");
    assert_eq!(count("goes on at epoch 0 step 2"), 1, "{log}");
    assert_eq!(count("ERROR cannot go on from"), 1, "{log}");
    assert!(lines.iter().all(|line| line.starts_with("20") && !line.contains('\u{1b}')), "{log}");
}

#[test]
fn a_run_whose_logs_cannot_be_written_goes_on() {
    let lab = Lab::new(23);
    fs::create_dir_all(lab.path("run/train.log")).unwrap();
    fs::write(lab.path("run/tensorboard"), "a file").unwrap();
    let output = run(&mut lab.train("run", &["--max_steps=2"]));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        (said.matches("train.log is no longer written").count(), said.matches("no TensorBoard").count()),
        (1, 1)
    );
}
