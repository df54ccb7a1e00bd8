//! What goes wrong is named, ends the run, and loses nothing.

use std::process::Command;

use mugs_compute::checkpoint::Checkpoint;

use crate::support::{Lab, binary, run, start, text};

#[test]
fn a_loss_that_is_not_finite_stops_before_any_update_and_names_the_batch() {
    let lab = Lab::new(23);
    assert!(run(&mut lab.train("run", &["--max_steps=2", "--lr=1e30"])).status.success());
    let before = std::fs::read(lab.path("run/checkpoint.pth")).unwrap();
    let failed = run(&mut lab.train("run", &["--lr=1e30"]));
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed.stderr));
    let said = text(&failed.stderr);
    for part in ["step", "instance-sup.", "nothing was updated", "class"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let after = Checkpoint::read(&lab.path("run/checkpoint.pth")).unwrap();
    let finite = after.state.student.iter().filter(|(_, t)| t.isfinite().all().int64_value(&[]) == 1).count();
    assert!(!before.is_empty());
    assert!(finite > 0, "the checkpoint opens and holds the state before the step");
}

#[test]
fn a_checkpoint_that_is_written_counts_though_an_older_one_cannot_be_removed() {
    let lab = Lab::new(23);
    assert!(run(&mut lab.train("run", &["--max_steps=1"])).status.success());
    let older = lab.path("run/checkpoint-step00000000.pth");
    std::fs::create_dir(&older).unwrap();
    std::fs::File::open(&older).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let options = ["--save_every_steps=1", "--keep=1", "--max_steps=4"];
    let failed = run(&mut lab.train("run", &options));
    let said = text(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot remove ") && said.contains("checkpoint-step00000000.pth"), "{said}");
    std::fs::remove_dir(&older).unwrap();
    // All is kept under the step that it is of.
    let step = |name: &str| Checkpoint::read(&lab.path(name)).unwrap().mugs.step;
    let files = ["checkpoint-step00000001.pth", "checkpoint-step00000002.pth", "checkpoint.pth"];
    assert_eq!(files.map(|name| step(&format!("run/{name}"))), [1, 2, 3]);
    assert!(run(&mut lab.train("run", &options)).status.success());
}

#[test]
fn a_damaged_sample_ends_the_run_and_is_named() {
    let lab = Lab::new(23);
    let shard = std::fs::read_dir(&lab.set).unwrap().map(|entry| entry.unwrap().path());
    let shard = shard.filter(|path| path.extension().is_some_and(|e| e == "tar")).min().unwrap();
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let failed = run(&mut lab.train("run", &[]));
    assert_eq!(failed.status.code(), Some(1));
    let said = text(&failed.stderr);
    assert!(said.contains(shard.file_name().unwrap().to_str().unwrap()), "{said}");
    assert!(said.contains("class") && said.contains("512"), "key and offset: {said}");
}

#[test]
fn missing_or_wrong_inputs_are_said_in_one_sentence() {
    let lab = Lab::new(3);
    let pipeline = |arguments: &[&str]| run(Command::new(binary("mugs-pipeline")).args(arguments));
    let cases: [(&[&str], &str); 5] = [
        (&["train", "--output_dir", "x"], "--data_path"),
        (&["train", "--data_path", "x"], "--output_dir"),
        (&["bench", "--data_path", "no/such/set"], "no/such/set"),
        (&["bench", "--data_path", "x", "--size_crops", "100"], "--size_crops 100"),
        (&["train", "--output_dir", "x", "--arch", "vit_huge"], "vit_huge"),
    ];
    for (arguments, named) in cases {
        let output = pipeline(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{arguments:?}: {}", text(&output.stderr));
    }
    let few = run(&mut lab.train("run", &[]));
    assert_eq!(few.status.code(), Some(1));
    assert!(text(&few.stderr).contains('3') && text(&few.stderr).contains('4'), "{}", text(&few.stderr));
}

#[test]
fn two_runs_in_one_folder_are_refused() {
    let lab = Lab::new(23);
    let mut first = start(&mut lab.train("run", &["--epochs=100000"]));
    let begun = std::time::Instant::now();
    while !lab.path("run/log.txt").exists() && begun.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let second = run(&mut lab.train("run", &[]));
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another run works in"), "{}", text(&second.stderr));
}
