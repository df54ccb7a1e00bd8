//! A checkpoint made of the published one, and digests to compare tensors by.

use std::collections::BTreeMap;

use mugs_compute::checkpoint::{Checkpoint, MugsState, Value, load_value};
use mugs_compute::optim::{LossScaler, OptimizerKind};
use mugs_compute::state::{GroupState, Moments, OptimizerState, OrderedTensors, TrainState};
use sha2::{Digest, Sha256};
use tch::Tensor;

/// The published checkpoint of the golden data.
pub fn published() -> Value {
    load_value(&mugs_test_support::golden("model/checkpoint/checkpoint.pth")).unwrap()
}

/// SHA-256 of the row-major little-endian bytes, in hexadecimal.
pub fn digest(tensor: &Tensor) -> String {
    let tensor = tensor.contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    if !bytes.is_empty() {
        tensor.copy_data_u8(&mut bytes, tensor.numel());
    }
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same of a run with SGD or LARS, whose running directions are AdamW's first moments.
pub fn with_momentum(kind: OptimizerKind) -> Checkpoint {
    let mut checkpoint = checkpoint();
    let optimizer = &mut checkpoint.state.optimizer;
    let moments = std::mem::take(&mut optimizer.moments);
    optimizer.momentum = moments.into_iter().map(|(name, moments)| (name, moments.exp_avg)).collect();
    optimizer.kind = kind;
    checkpoint
}

/// The published run's state with our own position beside it.
pub fn checkpoint() -> Checkpoint {
    let root = published();
    let losses = ["instance-sup.", "local-group-sup.", "group-sup."];
    Checkpoint {
        state: TrainState {
            student: tensors(&root, "student", "module."),
            teacher: tensors(&root, "teacher", ""),
            student_memory: tensors(&root, "student_mem", ""),
            teacher_memory: tensors(&root, "teacher_mem", ""),
            losses: losses.iter().map(|name| ((*name).to_owned(), tensors(&root, name, ""))).collect(),
            optimizer: optimizer(root.get("optimizer").unwrap()),
            scaler: Some(LossScaler { scale: 4096.0, growth_tracker: 17 }),
        },
        epoch: 2,
        args: vec![
            ("arch".into(), Value::text("vit_small")),
            ("loss_weights".into(), Value::List(vec![Value::Float(1.0), Value::Float(0.5)])),
            ("global_crops_scale".into(), Value::Tuple(vec![Value::Float(0.25), Value::Int(-70_000)])),
            ("nothing".into(), Value::None),
        ],
        mugs: MugsState {
            seed: u64::MAX - 1,
            streams: 8,
            global_batch: 1 << 40,
            epoch: 2,
            step: 300,
            configuration: r#"{"arch":"vit_small","note":"größer"}"#.into(),
            data: "0123abcd".into(),
            sums: "{}".into(),
        },
    }
}

fn tensors(root: &Value, key: &str, prefix: &str) -> OrderedTensors {
    let entry = |(name, value): &(Value, Value)| match (name, value) {
        (Value::Str(name), Value::Tensor(tensor)) => {
            (name.strip_prefix(prefix).unwrap().to_owned(), tensor.shallow_clone())
        }
        other => panic!("{other:?}"),
    };
    root.get(key).unwrap().entries().unwrap().iter().map(entry).collect()
}

/// Parameters are named `p0`, `p1`, ... by their index.
fn optimizer(value: &Value) -> OptimizerState {
    let Some(Value::List(groups)) = value.get("param_groups") else { panic!("no groups") };
    let float = |group: &Value, key: &str| match group.get(key) {
        Some(Value::Float(value)) => *value,
        other => panic!("{key}: {other:?}"),
    };
    let group = |group: &Value| {
        let Some(Value::Str(name)) = group.get("name") else { panic!("no name") };
        let Some(Value::List(params)) = group.get("params") else { panic!("no params") };
        GroupState {
            name: name.clone(),
            lr: float(group, "lr"),
            weight_decay: float(group, "weight_decay"),
            apply_wd: group.get("apply_wd").is_none(),
            parameters: params.iter().map(parameter).collect(),
        }
    };
    let tensor = |value: &Value, key: &str| match value.get(key) {
        Some(Value::Tensor(tensor)) => tensor.shallow_clone(),
        other => panic!("{key}: {other:?}"),
    };
    let moments = |(index, value): &(Value, Value)| {
        let step = tensor(value, "step").double_value(&[]) as i64;
        let moments = Moments { step, exp_avg: tensor(value, "exp_avg"), exp_avg_sq: tensor(value, "exp_avg_sq") };
        (parameter(index), moments)
    };
    OptimizerState {
        kind: OptimizerKind::AdamW,
        momentum: BTreeMap::new(),
        groups: groups.iter().map(group).collect(),
        moments: value.get("state").unwrap().entries().unwrap().iter().map(moments).collect(),
    }
}

fn parameter(index: &Value) -> String {
    let Value::Int(index) = index else { panic!("{index:?} is no index") };
    format!("p{index}")
}
