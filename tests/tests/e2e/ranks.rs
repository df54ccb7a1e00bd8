//! Several ranks over Gloo: they train as one would, stop together, and go on in another number.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use mugs_compute::checkpoint::Checkpoint;
use mugs_compute::state::TrainState;
use mugs_test_support::{python, skip};
use tch::Tensor;

use crate::resume::{epochs_logged, place};
use crate::support::{Lab, binary, run, text};
use crate::team::{ENDLESS, Team};

const PICTURES: u64 = 23;

/// Plain gradient descent: AdamW makes a step of every rounding error where a gradient is next to nothing.
const SGD: &[&str] = &["--optimizer=sgd", "--lr=1", "--use_bn_in_head=true"];

fn weights(folder: &Path) -> BTreeMap<String, Tensor> {
    let TrainState { student, teacher, losses, .. } = Checkpoint::read(&folder.join("checkpoint.pth")).unwrap().state;
    let center = losses.into_iter().flat_map(|(_, tensors)| tensors).filter(|(name, _)| name == "center");
    let named = |network: &'static str, tensors: Vec<(String, Tensor)>| {
        tensors.into_iter().map(move |(name, tensor)| (format!("{network}.{name}"), tensor))
    };
    named("student", student).chain(named("teacher", teacher)).chain(center).collect()
}

fn same_weights(found: &Path, expected: &Path) {
    let (found, expected) = (weights(found), weights(expected));
    assert!(found.keys().eq(expected.keys()));
    for (name, tensor) in &found {
        let difference = (tensor - &expected[name]).abs().max().double_value(&[]);
        assert!(difference < 2e-4, "{name} differs by {difference:e}");
    }
}

/// The losses of the log are means over all ranks.
fn same_losses(found: &Path, expected: &Path) {
    let losses = |folder: &Path| -> Vec<f64> {
        let lines = epochs_logged(folder).into_iter();
        lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap()["loss"].as_f64().unwrap()).collect()
    };
    for (found, expected) in losses(found).into_iter().zip(losses(expected)) {
        assert!((found - expected).abs() < 2e-4, "{found}, not {expected}");
    }
}

fn nproc(lab: &Lab, name: &str, ranks: usize, more: &[&str]) -> Command {
    let mut command = lab.train(name, SGD);
    command.arg(format!("--nproc={ranks}")).arg(format!("--batch_size_per_gpu={}", 4 / ranks)).args(more);
    command
}

fn ended_well(command: &mut Command) {
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn one_two_and_four_ranks_train_the_same_and_take_over_from_each_other() {
    let lab = Lab::new(PICTURES);
    ended_well(&mut lab.train("one", SGD));
    for ranks in [2, 4] {
        let name = format!("of{ranks}");
        ended_well(&mut nproc(&lab, &name, ranks, &[]));
        same_weights(&lab.path(&name), &lab.path("one"));
        assert_eq!(epochs_logged(&lab.path(&name)).len(), 3);
        same_losses(&lab.path(&name), &lab.path("one"));
    }
    // A step of the first epoch, then one in the middle of the second, then the end: each with other ranks.
    ended_well(&mut nproc(&lab, "parts", 2, &["--max_steps=3"]));
    ended_well(&mut nproc(&lab, "parts", 4, &["--max_steps=7"]));
    ended_well(lab.train("parts", SGD).args(["--max_steps=9", "--batch_size_per_gpu=4"]));
    ended_well(&mut nproc(&lab, "parts", 2, &[]));
    same_weights(&lab.path("parts"), &lab.path("one"));

    let three = run(&mut nproc(&lab, "parts", 4, &["--nproc=3", "--batch_size_per_gpu=4", "--epochs=4"]));
    let said = text(&three.stderr);
    assert_eq!(three.status.code(), Some(1), "{said}");
    assert!(said.contains("go on with a number of ranks that divides 4, which 3 does not"), "{said}");
}

#[test]
fn a_signal_to_any_rank_stops_all_at_the_same_step() {
    let lab = Lab::new(PICTURES);
    for (name, code, rank) in [("TERM", 143, 1), ("INT", 130, 0)] {
        let mut team = Team::start(&lab, name, 2, ENDLESS, |_, _| ());
        team.wait_for_steps(&lab, name);
        team.signal(rank, name);
        let ended = team.end();
        for rank in &ended {
            assert_eq!(rank.status.code(), Some(code), "{}", rank.said);
        }
        let stopped = format!("stopped by SIG{name} after step");
        assert!(ended[0].last_line().contains(&stopped), "{}", ended[0].said);
    }
    // A checkpoint is asked of a rank that does not write it.
    let quiet: Vec<&str> = ENDLESS.iter().copied().filter(|option| !option.starts_with("--save_every")).collect();
    let mut team = Team::start(&lab, "usr", 2, &[&quiet[..], &["--epochs=100"]].concat(), |_, _| ());
    team.wait_until(|team| team.said(0).contains("step 1/"));
    team.signal(1, "USR1");
    team.wait_for_steps(&lab, "usr");
    team.signal(0, "TERM");
    assert!(team.end().iter().all(|rank| rank.status.code() == Some(143)));
}

#[test]
fn the_supervisor_stops_its_ranks_and_tells_their_exit_code() {
    let lab = Lab::new(PICTURES);
    let mut team = Team::start(&lab, "run", 0, &[], |_, _| ());
    let mut command = lab.train("run", ENDLESS);
    command.arg("--nproc=2");
    team.add(lab.path("supervisor.log"), command);
    team.wait_for_steps(&lab, "run");
    team.signal(0, "TERM");
    let ended = team.end();
    assert_eq!(ended[0].status.code(), Some(143), "{}", ended[0].said);
    let (epoch, step) = place(&lab.path("run"));
    assert!(epoch > 0 || step > 0);
}

#[test]
fn a_folder_of_pictures_is_packed_by_the_first_rank_for_all() {
    let lab = Lab::new(PICTURES);
    let mut command = nproc(&lab, "mine", 2, &["--max_steps=3"]);
    ended_well(command.arg("--data_path").arg(lab.path("pictures")));
    ended_well(nproc(&lab, "packed", 2, &["--max_steps=3"]).arg("--data_path").arg(&lab.set));
    assert_eq!(place(&lab.path("mine")), (0, 3));
}

#[test]
fn torchrun_launches_two_ranks() {
    let Some(python) = python(&["torch"]) else {
        return skip("torchrun", "Python has no torch");
    };
    let lab = Lab::new(PICTURES);
    ended_well(&mut nproc(&lab, "own", 2, &[]));
    let mut train = lab.train("torchrun", SGD);
    train.arg("--batch_size_per_gpu=2");
    let mut command = Command::new(python.parent().unwrap().join("torchrun"));
    // An agent of its own on a free port.
    command.args(["--standalone", "--no-python", "--nproc_per_node=2"]);
    command.arg(binary("mugs-pipeline")).args(train.get_args()).env("OMP_NUM_THREADS", "1");
    let output = run(&mut command);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("rank 0 of 2 (2 on this host), launched by torchrun"), "{said}");
    same_weights(&lab.path("torchrun"), &lab.path("own"));
}
