//! `--dump_batches`: what is written is what was trained on, so that the same steps can be taken elsewhere.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mugs_compute::checkpoint::Checkpoint;
use mugs_compute::loss::LossConfig;
use mugs_compute::model::{Arch, ModelConfig};
use mugs_compute::schedule::Rates;
use mugs_compute::trainer::{StepInput, TrainConfig, Trainer};
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use crate::support::{Lab, run, text};

/// The networks of a tiny run.
fn model() -> ModelConfig {
    ModelConfig {
        embed_dim: 32,
        depth: 2,
        num_heads: 2,
        global_size: 64,
        drop_path_rate: 0.2,
        head_hidden_dim: 32,
        predictor_hidden_dim: 32,
        instance_out_dim: 16,
        local_group_out_dim: 16,
        local_group_knn_top_n: 4,
        group_bottleneck_dim: 16,
        group_out_dim: 32,
        ..ModelConfig::new(Arch::VitSmall)
    }
}

fn read(path: &Path) -> HashMap<String, Tensor> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            Dtype::BOOL => Kind::Bool,
            other => panic!("{name} is {other:?}"),
        };
        let shape: Vec<i64> = view.shape().iter().map(|side| *side as i64).collect();
        (name, Tensor::from_data_size(view.data(), &shape, kind))
    };
    file.tensors().into_iter().map(tensor).collect()
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A step's file as the trainer's input and rates.
fn input(tensors: &HashMap<String, Tensor>, step: u64) -> (StepInput, Rates) {
    let number = |name: &str| f64::try_from(&tensors[name]).unwrap();
    let positions = Vec::<i64>::try_from(&tensors["positions"]).unwrap();
    let input = StepInput {
        global: tensors["global"].shallow_clone(),
        local: Some(tensors["local"].shallow_clone()),
        weak: Vec::<bool>::try_from(&tensors["weak"]).unwrap(),
        positions: positions.into_iter().map(|position| position as u64).collect(),
        step,
    };
    let rates = Rates {
        lr: number("lr"),
        weight_decay: number("wd"),
        momentum: number("momentum"),
        teacher_temp: number("teacher_temp"),
        freeze_last_layer: bool::try_from(&tensors["freeze_last_layer"]).unwrap(),
        clip_grad: number("clip_grad"),
    };
    (input, rates)
}

#[test]
fn the_steps_that_were_written_lead_to_the_checkpoint_of_the_run() {
    let lab = Lab::new(23);
    let dump = lab.path("dump");
    let folder = dump.to_str().unwrap();
    let more = ["--dump_batches", folder, "--dump_steps=2", "--max_steps=2", "--num_workers=1"];
    let output = run(&mut lab.train("run", &more));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut names: Vec<_> = fs::read_dir(&dump).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = ["README.md", "config.toml", "initial.safetensors", "losses.jsonl"];
    assert_eq!(names, [&expected[..], &["step00000000.safetensors", "step00000001.safetensors"]].concat());

    tch::set_num_threads(1);
    let losses = LossConfig { instance_queue_size: 32, local_group_queue_size: 32, ..LossConfig::default() };
    let mut trainer =
        Trainer::new(&model(), &TrainConfig { losses, ..TrainConfig::default() }, 0, Device::Cpu).unwrap();
    let initial = read(&dump.join("initial.safetensors"));
    let state = trainer.state();
    for (part, tensors) in
        [("student", &state.student), ("teacher", &state.teacher), ("teacher_mem", &state.teacher_memory)]
    {
        for (name, tensor) in tensors {
            assert!(initial[&format!("{part}.{name}")].equal(tensor), "{part}.{name}");
        }
    }
    for (loss, tensors) in &state.losses {
        for (name, tensor) in tensors {
            assert!(initial[&format!("{loss}|{name}")].equal(tensor), "{loss}|{name}");
        }
    }
    let lines = lines(&dump.join("losses.jsonl"));
    assert_eq!(lines.len(), 2);
    for step in 0..2 {
        let tensors = read(&dump.join(format!("step{step:08}.safetensors")));
        looks_like_crops(&tensors);
        let (input, rates) = input(&tensors, step);
        let report = trainer.step(&input, &rates).unwrap();
        let line = &lines[step as usize];
        assert_eq!((line["step"].as_u64(), line["total"].as_f64()), (Some(step), Some(report.total)));
        for (name, value) in &report.terms {
            assert_eq!(line[*name].as_f64(), Some(*value), "{name}");
        }
        assert_eq!(line["lr"].as_f64(), Some(rates.lr));
    }
    let checkpoint = Checkpoint::read(&lab.path("run/checkpoint.pth")).unwrap();
    for ((name, expected), (_, found)) in checkpoint.state.student.iter().zip(&trainer.state().student) {
        assert!(expected.equal(found), "{name}");
    }
    // Nothing is overwritten.
    let again = run(&mut lab.train("run", &["--dump_batches", folder]));
    let said = text(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{said}");
    assert!(
        said.contains("--dump_batches: it is not empty, and nothing is overwritten") && said.contains(folder),
        "{said}"
    );
}

/// Shapes, and pixels: bytes of a picture, normalised, but for the rectangles that are erased from strong crops.
fn looks_like_crops(tensors: &HashMap<String, Tensor>) {
    assert_eq!(tensors["global"].size(), [16, 3, 64, 64]);
    assert_eq!(tensors["local"].size(), [8, 3, 32, 32]);
    assert_eq!(Vec::<i64>::try_from(&tensors["positions"]).unwrap(), [0, 1, 2, 3]);
    assert_eq!((tensors["weak"].size(), tensors["weak"].kind()), (vec![4], Kind::Bool));
    let plane = |values: [f32; 3]| Tensor::from_slice(&values).view([3, 1, 1]);
    let (mean, deviation) = (plane([0.485, 0.456, 0.406]), plane([0.229, 0.224, 0.225]));
    let bytes: Tensor = (tensors["global"].narrow(0, 0, 8) * deviation + mean) * 255.0;
    let off = f64::try_from((&bytes - bytes.round()).abs().max()).unwrap();
    assert!(off < 1e-3, "{off}");
    let [least, most] = [bytes.min(), bytes.max()].map(|value| f64::try_from(value).unwrap().round());
    assert!(least >= 0.0 && most <= 255.0 && most - least > 100.0, "{least} to {most}");
}

/// What Python needs to take the steps: names, shapes and types.
const READ: &str = r#"
import json, sys
from safetensors.numpy import load_file
from safetensors import safe_open
step = load_file(sys.argv[1] + "/step00000000.safetensors")
initial = load_file(sys.argv[1] + "/initial.safetensors")
with safe_open(sys.argv[1] + "/step00000000.safetensors", "numpy") as f: about = f.metadata()
print(json.dumps({"step": {k: [list(v.shape), str(v.dtype)] for k, v in step.items()}, "about": about,
    "lr": float(step["lr"]), "initial": len(initial), "keys": len(json.loads(about["keys"]))}))
"#;

#[test]
fn python_opens_micro_batches_and_the_state_of_a_run_that_goes_on() {
    let lab = Lab::new(23);
    assert!(run(&mut lab.train("run", &["--max_steps=1"])).status.success());
    let dump = lab.path("dump");
    let halves = ["--batch_size_per_gpu=2", "--accumulate=2", "--max_steps=3", "--local_crops_number=2"];
    let output = run(lab.train("run", &halves).arg("--dump_batches").arg(&dump).arg("--dump_steps=1"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(lines(&dump.join("losses.jsonl"))[0]["step"], 1);
    assert!(!dump.join("step00000002.safetensors").exists());
    let step = read(&dump.join("step00000001.safetensors"));
    assert_eq!(step["micro1.global"].size(), [8, 3, 64, 64]);
    assert_eq!(Vec::<i64>::try_from(&step["micro1.positions"]).unwrap(), [2, 3]);
    let initial = read(&dump.join("initial.safetensors"));
    assert_eq!(i64::try_from(&initial["optimizer.backbone.cls_token.step"]).unwrap(), 1);

    let Some(python) = mugs_test_support::python(&["safetensors", "numpy"]) else {
        mugs_test_support::skip("safetensors", "no Python with safetensors and numpy");
        return;
    };
    fs::rename(dump.join("step00000001.safetensors"), dump.join("step00000000.safetensors")).unwrap();
    let output = run(Command::new(python).args(["-c", READ]).arg(&dump));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["step"]["micro0.global"], serde_json::json!([[8, 3, 64, 64], "float32"]));
    assert_eq!(found["step"]["micro0.weak"], serde_json::json!([[2], "bool"]));
    assert_eq!((found["about"]["step"].as_str(), found["keys"].as_u64()), (Some("1"), Some(4)));
    assert_eq!(found["lr"].as_f64(), Some(f64::try_from(&step["lr"]).unwrap()));
    assert_eq!(found["initial"].as_u64(), Some(initial.len() as u64));
}
