//! A written checkpoint read back by us and by PyTorch.

use std::process::Command;

use mugs_compute::checkpoint::{Checkpoint, Value, load_value};
use mugs_compute::optim::OptimizerKind;
use mugs_test_support::{python, skip};
use serde_json::Value as Json;

use crate::sample::{checkpoint, digest, published, with_momentum};

/// Everything that differs between two trees; `None` where a tree has no such entry.
fn flatten(at: &str, value: &Value, lines: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::List(items) | Value::Tuple(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        Value::Dict(items) | Value::OrderedDict(items) => {
            items.iter().map(|(key, item)| (format!("{key:?}"), item)).collect()
        }
        Value::Tensor(tensor) => {
            return lines.push(format!("{at} {:?} {:?} {}", tensor.kind(), tensor.size(), digest(tensor)));
        }
        other => return lines.push(format!("{at} {other:?}")),
    };
    lines.push(format!("{at} {} {}", value.type_name(), children.len()));
    children.iter().for_each(|(key, item)| flatten(&format!("{at}.{key}"), item, lines));
}

fn flat(value: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    flatten("", value, &mut lines);
    lines
}

#[test]
fn comes_back_to_the_bit() {
    comes_back(&checkpoint());
    comes_back(&with_momentum(OptimizerKind::Sgd));
    comes_back(&with_momentum(OptimizerKind::Lars));
}

fn comes_back(original: &Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first.pth"), folder.path().join("second.pth"));
    original.write(&first).unwrap();
    let back = Checkpoint::read(&first).unwrap();
    assert_eq!(back.mugs, original.mugs);
    assert_eq!((back.epoch, &back.state.optimizer.groups), (original.epoch, &original.state.optimizer.groups));
    assert_eq!(back.state.optimizer.kind, original.state.optimizer.kind);
    assert_eq!(back.state.scaler, original.state.scaler);
    assert_eq!(back.state.optimizer.momentum.len(), original.state.optimizer.momentum.len());
    back.write(&second).unwrap();
    assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "a temporary file is left");
}

#[test]
fn has_the_published_entries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.pth");
    checkpoint().write(&path).unwrap();
    let (ours, published) = (load_value(&path).unwrap(), published());
    let names =
        |value: &Value| -> Vec<String> { value.entries().unwrap().iter().map(|(key, _)| format!("{key:?}")).collect() };
    assert_eq!(names(&ours)[..names(&published).len()], names(&published));
    for (key, expected) in published.entries().unwrap() {
        let Value::Str(key) = key else { panic!("{key:?}") };
        match (key.as_str(), ours.get(key).unwrap(), expected) {
            ("args", ..) => {}
            // Ours lie in the order of their indices, the published ones in the order of their first step.
            ("optimizer", found, expected) => {
                let sorted = |value: &Value| {
                    let mut lines = flat(value);
                    lines.sort();
                    lines
                };
                assert_eq!(sorted(found), sorted(expected));
            }
            (_, found, expected) => assert_eq!(flat(found), flat(expected), "{key}"),
        }
    }
}

#[test]
fn names_the_file_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/checkpoint.pth");
    let error = checkpoint().write(&path).unwrap_err();
    assert!(error.to_string().contains("missing/checkpoint.pth"), "{error}");
    // A folder in the way: the rename fails and the temporary file goes.
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    checkpoint().write(&taken).unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
}

const SCRIPT: &str = r#"
import hashlib, json, sys, torch
def walk(at, value, out):
    if isinstance(value, dict):
        for key, item in value.items():
            walk(at + [key], item, out)
    elif isinstance(value, torch.Tensor):
        digest = hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        out.append(["/".join(map(str, at)), str(value.dtype), list(value.shape), digest])
root = torch.load(sys.argv[1], weights_only=True)
out = []
walk([], root, out)
scaler = torch.amp.GradScaler("cpu")
scaler.load_state_dict(root["fp16_scaler"])
groups = [[type(g["betas"]).__name__, g["lr"], g["params"]] for g in root["optimizer"]["param_groups"]]
print(json.dumps({"tensors": out, "seed": root["mugs"]["seed"], "types": {k: type(v).__name__ for k, v in root.items()},
                  "args": root["args"], "groups": groups, "global_batch": root["mugs"]["global_batch"],
                  "scaler": [scaler.state_dict(), list(scaler.state_dict()) == list(root["fp16_scaler"])]}))
"#;

#[test]
fn opens_in_pytorch_with_weights_only() {
    let Some(python) = python(&["torch", "numpy"]) else {
        return skip("checkpoint in PyTorch", "no Python with torch");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.pth");
    let original = checkpoint();
    original.write(&path).unwrap();
    let output = Command::new(python).args(["-c", SCRIPT]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Json = serde_json::from_slice(&output.stdout).unwrap();
    let mut expected = Vec::new();
    tensors("", &load_value(&path).unwrap(), &mut expected);
    assert_eq!(seen["tensors"], Json::Array(expected));
    assert_eq!(seen["tensors"].as_array().unwrap().len(), 309);
    assert_eq!(seen["seed"], (u64::MAX - 1).to_string());
    assert_eq!(seen["global_batch"], 1_u64 << 40);
    assert_eq!((&seen["types"]["student"], &seen["types"]["args"]), (&"OrderedDict".into(), &"dict".into()));
    assert_eq!(seen["args"]["global_crops_scale"], serde_json::json!([0.25, -70_000]));
    assert_eq!(seen["groups"][0][1], original.state.optimizer.groups[0].lr);
    assert_eq!(seen["groups"][0][0], "tuple");
    let constants = serde_json::json!({ "scale": 4096.0, "growth_factor": 2.0, "backoff_factor": 0.5,
        "growth_interval": 2000, "_growth_tracker": 17 });
    assert_eq!(seen["scaler"], serde_json::json!([constants, true]));
}

/// PyTorch's own SGD takes our state over and steps from it.
const SGD: &str = r#"
import json, sys, torch
root = torch.load(sys.argv[1], weights_only=True)["optimizer"]
shapes = {index: entry["momentum_buffer"].shape for index, entry in root["state"].items()}
groups = [{"params": [torch.nn.Parameter(torch.zeros(shapes.get(i, (1,)))) for i in group["params"]],
           **{k: v for k, v in group.items() if k != "params"}} for group in root["param_groups"]]
optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
fresh = [sorted(group) for group in torch.optim.SGD(groups, lr=0.1, momentum=0.9).state_dict()["param_groups"]]
optimizer.load_state_dict(root)
print(json.dumps({"same_keys": fresh == [sorted(group) for group in root["param_groups"]],
                  "sum": sum(float(entry["momentum_buffer"].double().sum()) for entry in optimizer.state.values())}))
"#;

#[test]
fn pytorch_s_sgd_takes_our_state() {
    let Some(python) = python(&["torch", "numpy"]) else {
        return skip("SGD's state in PyTorch", "no Python with torch");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.pth");
    let original = with_momentum(OptimizerKind::Sgd);
    original.write(&path).unwrap();
    let output = Command::new(python).args(["-c", SGD]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Json = serde_json::from_slice(&output.stdout).unwrap();
    let momentum = original.state.optimizer.momentum.values();
    let sum: f64 = momentum.map(|tensor| tensor.to_kind(tch::Kind::Double).sum(None).double_value(&[])).sum();
    assert_eq!(seen["same_keys"], true);
    assert!((seen["sum"].as_f64().unwrap() - sum).abs() < 1e-9, "{seen} {sum}");
}

fn tensors(at: &str, value: &Value, out: &mut Vec<Json>) {
    if let Value::Tensor(tensor) = value {
        let dtype = if tensor.kind() == tch::Kind::Float { "torch.float32" } else { "torch.int64" };
        return out.push(serde_json::json!([at, dtype, tensor.size(), digest(tensor)]));
    }
    for (key, item) in value.entries().unwrap_or_default() {
        let key = match key {
            Value::Str(key) => key.clone(),
            Value::Int(key) => key.to_string(),
            other => panic!("{other:?}"),
        };
        tensors(&if at.is_empty() { key } else { format!("{at}/{key}") }, item, out);
    }
}
