//! The commands as a user types them.

use std::process::Command;

use crate::support::{Lab, TINY, binary, run, text};

fn pipeline(arguments: &[&str]) -> std::process::Output {
    run(Command::new(binary("mugs-pipeline")).args(arguments))
}

#[test]
fn help_has_examples_and_usage_errors_exit_with_2() {
    for command in ["train", "bench", "crops", "knn"] {
        let help = pipeline(&[command, "--help"]);
        assert!(help.status.success());
        assert!(text(&help.stdout).contains("Example"), "{command}");
    }
    assert_eq!(pipeline(&["train", "--no_such_option", "1"]).status.code(), Some(2));
    assert_eq!(pipeline(&["knn", "--data_path", "x"]).status.code(), Some(2));
}

#[test]
fn bench_measures_the_data_stages_and_says_it_to_machines() {
    let lab = Lab::new(12);
    let set = lab.set.to_str().unwrap();
    let output = pipeline(&["bench", "--data_path", set, "--workers=2", "--seconds=1", "--format=json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["images_per_second"].as_f64().unwrap() > 0.0);
    let stages: Vec<&str> = report["stages"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["fetch", "decode", "crop", "batch", "render", "learn"]);
    let crop = &report["stages"][2];
    assert!(crop["cpu_seconds_per_1000_images"].as_f64().unwrap() > 0.0, "{report}");
    let sum: f64 = ["busy", "send_wait", "recv_wait"].iter().map(|part| crop[*part].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 0.05, "busy and waits make up all of the time: {sum}");
}

#[test]
fn crops_are_drawn_into_one_picture() {
    let lab = Lab::new(5);
    let out = lab.path("crops.png");
    let output = run(Command::new(binary("mugs-pipeline"))
        .args(["crops", "--pictures=2", "--data_path"])
        .arg(&lab.set)
        .arg("--out")
        .arg(&out));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let header = mugs_image::header(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(header.format, mugs_image::Format::Png);
    // Two rows of crops of 224 pixels with a gap of 6 around each.
    assert_eq!(header.height, 2 * 224 + 3 * 6);
}

#[test]
fn knn_answers_for_trained_and_untrained_networks() {
    let lab = Lab::new(24);
    assert!(run(&mut lab.train("run", &["--max_steps=1"])).status.success());
    let set = lab.set.to_str().unwrap();
    let checkpoint = lab.path("run/checkpoint.pth");
    let trained = ["knn", "--checkpoint", checkpoint.to_str().unwrap(), "--val_path", set, "--k", "1", "3"];
    let untrained = ["knn", "--untrained", "--data_path", set, "--val_path", set, "--k", "1", "3"];
    let untrained: Vec<&str> = untrained.into_iter().chain(TINY.iter().copied()).collect();
    for arguments in [trained.to_vec(), untrained] {
        let output = pipeline(&[&arguments[..], &["--format", "json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        // Asked about the very pictures whose classes it knows, the nearest neighbour is the picture itself.
        assert_eq!((rows[0]["k"].as_u64(), rows[0]["top1"].as_f64()), (Some(1), Some(100.0)), "{rows}");
        assert_eq!(rows[1]["k"], 3);
    }
}
