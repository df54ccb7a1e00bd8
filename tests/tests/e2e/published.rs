//! A run of the published implementation, put into a run folder, goes on.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mugs_compute::checkpoint::{Checkpoint, Value, load_value, save_value};
use mugs_test_support::golden;

use crate::support::{Lab, binary, run, text};

/// The options of the published run that differ from the defaults, under their published names, and its dimensions.
const OPTIONS: &[&str] = &[
    "--arch=vit_small",
    "--embed_dim=48",
    "--depth=2",
    "--num_heads=3",
    "--head_hidden_dim=64",
    "--predictor_hidden_dim=96",
    "--drop_path_rate=0",
    "--momentum_teacher=0.9",
    "--weight_decay=0.04",
    "--weight_decay_end=0.2",
    "--clip_grad=0.3",
    "--batch_size_per_gpu=4",
    "--epochs=2",
    "--warmup_epochs=1",
    "--freeze_last_layer=1",
    "--lr=0.05",
    "--min_lr=0.0001",
    "--instance_out_dim=32",
    "--instance_queue_size=64",
    "--local_group_out_dim=32",
    "--local_group_knn_top_n=4",
    "--local_group_queue_size=64",
    "--group_out_dim=128",
    "--group_bottleneck_dim=32",
    "--group_warmup_teacher_temp=0.04",
    "--group_teacher_temp=0.07",
    "--group_warmup_teacher_temp_epochs=2",
    "--local_crops_number=2",
];

fn train(lab: &Lab, more: &[&str]) -> Output {
    let mut command = Command::new(binary("mugs-pipeline"));
    command.arg("train").arg("--data_path").arg(&lab.set).arg("--output_dir").arg(lab.path("run"));
    run(command.args(OPTIONS).args(["--threads=1", "--metrics_addr=off"]).args(more))
}

/// The published checkpoint with other options, which PyTorch would write as such, but for `args` as a plain dict.
fn with_epochs(epochs: i64, path: &Path) {
    let Value::Dict(mut root) = load_value(&golden("model/checkpoint/checkpoint.pth")).unwrap() else { panic!() };
    let at = root.iter().position(|(key, _)| matches!(key, Value::Str(key) if key == "args")).unwrap();
    let Value::Opaque(namespace) = root.remove(at).1 else { panic!("no Namespace") };
    let Value::Dict(mut args) = *namespace.state.unwrap() else { panic!("no attributes") };
    for (name, value) in &mut args {
        if matches!(name, Value::Str(name) if name == "epochs") {
            *value = Value::Int(epochs);
        }
    }
    root.insert(at, (Value::text("args"), Value::Dict(args)));
    save_value(&Value::Dict(root), path).unwrap();
}

#[test]
fn a_published_run_goes_on_at_the_start_of_its_next_epoch() {
    let lab = Lab::new(23);
    let (folder, newest) = (lab.path("run"), lab.path("run/checkpoint.pth"));
    fs::create_dir(&folder).unwrap();
    fs::copy(golden("model/checkpoint/log.txt"), folder.join("log.txt")).unwrap();
    fs::copy(golden("model/checkpoint/checkpoint.pth"), &newest).unwrap();
    let done = train(&lab, &[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("nothing is left to do"), "{}", text(&done.stderr));

    let refused = train(&lab, &["--epochs=3", "--lr=0.06", "--size_crops=64"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for part in ["epochs: 2 -> 3", "lr: 0.05 -> 0.06", "size_crops: [96] -> 64", "checkpoint.pth"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let refused = train(&lab, &["--batch_size_per_gpu=2"]);
    assert!(text(&refused.stderr).contains("--accumulate must be 4"), "{}", text(&refused.stderr));

    // A run that has an epoch left, of five steps here.
    with_epochs(3, &newest);
    let before = fs::read(&newest).unwrap();
    let on = train(&lab, &["--epochs=3", "--max_steps=12", "--seed=9"]);
    let said = text(&on.stderr);
    assert!(on.status.success(), "{said}");
    for part in ["written by the published implementation", "start of epoch 2", "seed 9", "taken 6 steps in 2 epochs"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let checkpoint = Checkpoint::read(&newest).unwrap();
    assert_eq!((checkpoint.mugs.epoch, checkpoint.mugs.step, checkpoint.mugs.seed), (2, 2, 9));
    let steps = |name: &str| checkpoint.state.optimizer.moments[name].step;
    // Two steps more; the last layer had been frozen for three.
    assert_eq!((steps("backbone.cls_token"), steps("group_head.last_layer.weight_v")), (8, 5));
    // What was copied there is kept, and the log goes on.
    assert_eq!(fs::read(folder.join("checkpoint-step00000010.pth")).unwrap(), before);
    let refused = train(&lab, &["--epochs=3"]);
    assert!(text(&refused.stderr).contains("seed: 9 -> 0"), "from now on it is ours: {}", text(&refused.stderr));
    let last = train(&lab, &["--epochs=3", "--seed=9"]);
    assert!(last.status.success(), "{}", text(&last.stderr));
    let log = fs::read_to_string(folder.join("log.txt")).unwrap();
    let epochs: Vec<u64> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["epoch"].as_u64())
        .collect();
    assert_eq!(epochs, [0, 1, 2]);
}

#[test]
fn knn_takes_the_network_of_a_published_checkpoint_with_its_own_options() {
    let lab = Lab::new(24);
    let set = lab.set.to_str().unwrap();
    let checkpoint = golden("model/checkpoint/checkpoint.pth");
    let asked = ["knn", "--data_path", set, "--val_path", set, "--k", "1", "--format", "json", "--num_workers=1"];
    let knn = |more: &[&str]| {
        let mut command = Command::new(binary("mugs-pipeline"));
        run(command.args(asked).arg("--checkpoint").arg(&checkpoint).arg("--threads=1").args(more))
    };
    // The dimensions that the published trainer has no options for.
    let of_this = &OPTIONS[1..6];
    let done = knn(of_this);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    // Asked about the very pictures whose classes it knows, the nearest neighbour is the picture itself.
    assert_eq!(rows[0]["top1"].as_f64(), Some(100.0), "{rows}");
    let refused = knn(&["--embed_dim=48", "--num_heads=3"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("checkpoint.pth") && said.contains("check the options that set dimensions"), "{said}");
}
