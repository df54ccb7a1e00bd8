//! The commands as a user types them.

use std::process::Command;

use mugs_compute::checkpoint::Checkpoint;
use mugs_compute::optim::OptimizerKind;

use crate::support::{Lab, TINY, binary, run, text};

fn pipeline(arguments: &[&str]) -> std::process::Output {
    run(Command::new(binary("mugs-pipeline")).args(arguments))
}

#[test]
fn help_has_examples_and_usage_errors_exit_with_2() {
    for command in ["train", "bench", "crops", "knn", "recipes"] {
        let help = pipeline(&[command, "--help"]);
        assert!(help.status.success());
        assert!(text(&help.stdout).contains("Example"), "{command}");
    }
    assert_eq!(pipeline(&["train", "--no_such_option", "1"]).status.code(), Some(2));
    assert_eq!(pipeline(&["knn", "--data_path", "x"]).status.code(), Some(2));
    assert_eq!(pipeline(&["train", "--set", "no_such_option=1"]).status.code(), Some(2));
}

#[test]
fn recipes_are_listed_for_people_and_machines() {
    let listed = text(&pipeline(&["recipes"]).stdout);
    let base = "vit_base_400ep: 78.0 % k-NN, 80.6 % linear on ImageNet-1K, 1008 = 24 GPUs x 42 pictures a step\n";
    assert!(listed.contains(base) && listed.contains("  arch = \"vit_base\"\n"), "{listed}");
    let json = pipeline(&["recipes", "--format", "json"]);
    let recipes: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let names: Vec<&str> = recipes.as_array().unwrap().iter().map(|recipe| recipe["name"].as_str().unwrap()).collect();
    let published = ["vit_small_100ep", "vit_small_300ep", "vit_small_800ep", "vit_base_400ep", "vit_large_250ep"];
    assert_eq!((&names[..5], &names[5..]), (&published[..], &["cifar10_small"][..]));
    assert_eq!(recipes[5]["options"]["arch"], "vit_tiny");
    assert!(listed.contains("\ncifar10_small: CIFAR-10 on two processors"), "{listed}");
    let large = &recipes[4];
    assert_eq!((large["knn"].as_f64(), large["linear"].as_f64()), (Some(80.3), Some(82.1)));
    assert_eq!((large["global_batch"].as_u64(), &large["gpus"]), (Some(640), &serde_json::Value::Null));
    assert_eq!(recipes[3]["gpus"], 24);
    assert_eq!(large["options"]["drop_path_rate"].as_f64(), Some(0.3));
}

#[test]
fn a_run_takes_its_options_from_every_layer_and_goes_on_without_its_recipe() {
    let lab = Lab::new(12);
    let mut first = lab.train(
        "run",
        &["--recipe=vit_small_300ep", "--set", "min_lr=0.001", "--set", "fix=memory_pointer", "--max_steps=1"],
    );
    first.args(["--world_size=1", "--use_fp16", "False", "--optimizer=lars", "--use_bn_in_head=True"]);
    let output = run(first.env("MUGS_CLIP_GRAD", "0.5"));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the environment sets clip_grad = 0.5"), "{said}");
    assert!(said.contains("recipe vit_small_300ep (74.8 / 78.2 %"), "{said}");
    assert!(said.contains("--batch_size_per_gpu 4 --accumulate 256 keeps the published batch"), "{said}");
    let checkpoint = Checkpoint::read(&lab.path("run/checkpoint.pth")).unwrap();
    assert_eq!(checkpoint.state.optimizer.kind, OptimizerKind::Lars);
    assert!(checkpoint.state.student.iter().any(|(name, _)| name.ends_with("running_mean")));
    let config: serde_json::Value = serde_json::from_str(&checkpoint.mugs.configuration).unwrap();
    let number = |name: &str| config[name].as_f64().unwrap();
    assert_eq!([number("group_teacher_temp"), number("clip_grad"), number("min_lr")], [0.07, 0.5, 0.001]);
    assert_eq!([number("lr"), number("epochs")], [0.05, 3.0], "flags override the recipe");

    assert!(said.contains("--fix memory_pointer: A memory's pointer moves by the rows written"), "{said}");
    let refused = run(&mut lab.train("run", &["--recipe=vit_small_300ep", "--fix=memory_rows"]));
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains(r#"fix: ["memory_pointer"] -> ["memory_rows"]"#), "{said}");

    let mut again = Command::new(binary("mugs-pipeline"));
    again.arg("train").arg("--config").arg(lab.path("run/config.toml")).args([
        "--max_steps=2",
        "--strong_ratio=0.1",
        "--debug=1",
    ]);
    let output = run(&mut again);
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("goes on at epoch 0 step 1"), "{said}");
    assert!(said.contains("--debug true has no effect") && !said.contains("recipe"), "{said}");
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
fn knn_answers_for_trained_and_untrained_networks_and_for_pictures_as_they_are() {
    let lab = Lab::new(24);
    assert!(run(&mut lab.train("run", &["--max_steps=1"])).status.success());
    let set = lab.set.to_str().unwrap();
    let checkpoint = lab.path("run/checkpoint.pth");
    let trained = ["knn", "--checkpoint", checkpoint.to_str().unwrap(), "--val_path", set, "--k", "1", "3"];
    let untrained = ["knn", "--untrained", "--data_path", set, "--val_path", set, "--k", "1", "3"];
    let untrained: Vec<&str> = untrained.into_iter().chain(TINY.iter().copied()).collect();
    let baseline = |what| vec!["knn", "--baseline", what, "--data_path", set, "--val_path", set, "--k", "1", "3"];
    for arguments in [trained.to_vec(), untrained, baseline("pixels"), baseline("histogram")] {
        let output = pipeline(&[&arguments[..], &["--format", "json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        // Asked about the very pictures whose classes it knows, the nearest neighbour is the picture itself.
        assert_eq!((rows[0]["k"].as_u64(), rows[0]["top1"].as_f64()), (Some(1), Some(100.0)), "{rows}");
        assert_eq!(rows[1]["k"], 3);
    }
}
