//! The optimiser's entry: what it remembers by running index over the groups, as `torch.optim.AdamW` and `SGD` and the
//! published LARS have it.

use std::collections::BTreeMap;

use tch::Tensor;

use super::layout::{LayoutError, get_in, wrong};
use super::value::Value;
use crate::optim::OptimizerKind;
use crate::state::{GroupState, Moments, OptimizerState};

/// Steps are stored as float32, which holds whole numbers up to here.
const MAX_STEP: i64 = 1 << 24;

pub(super) fn to_value(optimizer: &OptimizerState) -> Result<Value, LayoutError> {
    let mut state = Vec::new();
    let mut groups = Vec::new();
    let mut index = 0;
    for group in &optimizer.groups {
        let first = index;
        for name in &group.parameters {
            if let Some(moments) = optimizer.moments.get(name) {
                state.push((Value::Int(index), moments_value(name, moments)?));
            }
            if let Some(momentum) = optimizer.momentum.get(name) {
                let entry = (momentum_key(optimizer.kind), Value::Tensor(momentum.shallow_clone()));
                state.push((Value::Int(index), Value::dict([entry])));
            }
            index += 1;
        }
        groups.push(group_value(optimizer.kind, group, first..index));
    }
    Ok(Value::dict([("state", Value::Dict(state)), ("param_groups", Value::List(groups))]))
}

fn moments_value(name: &str, moments: &Moments) -> Result<Value, LayoutError> {
    if !(0..=MAX_STEP).contains(&moments.step) {
        return Err(wrong(&format!("optimizer.state of {name}"), format!("step {} has no float32", moments.step)));
    }
    Ok(Value::dict([
        ("step", Value::Tensor(Tensor::from(moments.step as f32))),
        ("exp_avg", Value::Tensor(moments.exp_avg.shallow_clone())),
        ("exp_avg_sq", Value::Tensor(moments.exp_avg_sq.shallow_clone())),
    ]))
}

/// The name under which the published optimiser keeps its running direction.
fn momentum_key(kind: OptimizerKind) -> &'static str {
    if kind == OptimizerKind::Lars { "mu" } else { "momentum_buffer" }
}

/// A group with the keys and the order that PyTorch 2.11 writes.
fn group_value(kind: OptimizerKind, group: &GroupState, indices: std::ops::Range<i64>) -> Value {
    let decay = ("weight_decay", Value::Float(group.weight_decay));
    let mut items = vec![("name", Value::text(&group.name))];
    if !group.apply_wd {
        items.extend([("apply_wd", Value::Bool(false)), ("weight_decay", Value::Float(group.weight_decay))]);
    }
    items.push(("lr", Value::Float(group.lr)));
    let (no, none) = (|| Value::Bool(false), || Value::None);
    match kind {
        OptimizerKind::AdamW => {
            let betas = Value::Tuple(vec![Value::Float(0.9), Value::Float(0.999)]);
            items.extend([("betas", betas), ("eps", Value::Float(1e-8))]);
            items.extend(group.apply_wd.then_some(decay));
            items.extend([("amsgrad", no()), ("maximize", no()), ("foreach", none()), ("capturable", no())]);
            items.extend([("differentiable", no()), ("fused", none()), ("decoupled_weight_decay", Value::Bool(true))]);
        }
        OptimizerKind::Sgd => {
            items.extend([("momentum", Value::Float(0.9)), ("dampening", Value::Int(0))]);
            items.extend(group.apply_wd.then_some(decay));
            items.extend([("nesterov", no()), ("maximize", no()), ("foreach", none())]);
            items.extend([("differentiable", no()), ("fused", none())]);
        }
        OptimizerKind::Lars => {
            items.extend(group.apply_wd.then_some(decay));
            items.extend([("momentum", Value::Float(0.9)), ("eta", Value::Float(0.001))]);
            items.extend([("weight_decay_filter", none()), ("lars_adaptation_filter", none())]);
        }
    }
    items.push(("params", Value::List(indices.map(Value::Int).collect())));
    Value::dict(items)
}

/// Which optimiser wrote these groups, by the keys that only it has.
fn kind_of(groups: &[Value]) -> OptimizerKind {
    let has = |key: &str| groups.first().is_some_and(|group| group.get(key).is_some());
    match (has("eta"), has("dampening")) {
        (true, _) => OptimizerKind::Lars,
        (_, true) => OptimizerKind::Sgd,
        _ => OptimizerKind::AdamW,
    }
}

/// The state, where each group's parameters are called `names`, in the order of the group's own numbers.
pub(super) fn from_value(value: &Value, names: Vec<Vec<String>>) -> Result<OptimizerState, LayoutError> {
    let groups = param_groups(value)?;
    if names.len() != groups.len() {
        let what = format!("{} groups, but {} are expected", groups.len(), names.len());
        return Err(wrong("optimizer.param_groups", what));
    }
    let mut by_number = BTreeMap::new();
    for (group, names) in groups.iter().zip(&names) {
        let numbers = numbers(group)?;
        if numbers.len() != names.len() {
            let what = format!("a group of {} parameters, but {} are expected", numbers.len(), names.len());
            return Err(wrong("optimizer.param_groups", what));
        }
        by_number.extend(numbers.into_iter().zip(names.iter().cloned()));
    }
    let kind = kind_of(groups);
    let state = get_in(value, "optimizer", "state")?;
    let state = state.entries().ok_or_else(|| wrong("optimizer.state", "is no dict"))?;
    let (mut moments, mut momentum) = (BTreeMap::new(), BTreeMap::new());
    for (number, value) in state {
        let name = if let Value::Int(number) = number { by_number.get(number) } else { None };
        let name = name.ok_or_else(|| wrong("optimizer.state", "has an index that no parameter has"))?;
        let parent = format!("optimizer.state of {name}");
        match kind {
            OptimizerKind::AdamW => drop(moments.insert(name.clone(), read_moments(&parent, value)?)),
            kind => drop(momentum.insert(name.clone(), read_tensor(&parent, value, momentum_key(kind))?)),
        }
    }
    let groups = groups.iter().zip(names).map(|(group, names)| read_group(group, names)).collect::<Result<_, _>>()?;
    Ok(OptimizerState { kind, groups, moments, momentum })
}

pub(super) fn param_groups(value: &Value) -> Result<&[Value], LayoutError> {
    match get_in(value, "optimizer", "param_groups")? {
        Value::List(groups) => Ok(groups),
        other => Err(wrong("optimizer.param_groups", format!("is a {}, not a list", other.type_name()))),
    }
}

/// The numbers that a group's parameters have in the optimiser's state.
pub(super) fn numbers(group: &Value) -> Result<Vec<i64>, LayoutError> {
    let bad = || wrong("optimizer.param_groups.params", "is no list of ints");
    let number = |value: &Value| if let Value::Int(number) = value { Ok(*number) } else { Err(bad()) };
    match get_in(group, "optimizer.param_groups", "params")? {
        Value::List(numbers) => numbers.iter().map(number).collect(),
        _ => Err(bad()),
    }
}

/// The groups' parameter names as our own checkpoints store them.
pub(super) fn stored_names(value: &Value) -> Result<Vec<Vec<String>>, LayoutError> {
    let bad = || wrong("mugs.parameters", "is no list of lists of names");
    let name = |value: &Value| if let Value::Str(name) = value { Ok(name.clone()) } else { Err(bad()) };
    let group = |value: &Value| match value {
        Value::List(names) => names.iter().map(name).collect(),
        _ => Err(bad()),
    };
    let Value::List(groups) = value else { return Err(bad()) };
    groups.iter().map(group).collect()
}

/// The group's published name.
pub(super) fn group_name(group: &Value) -> Result<&str, LayoutError> {
    match get_in(group, "optimizer.param_groups", "name")? {
        Value::Str(name) => Ok(name),
        other => Err(wrong("optimizer.param_groups.name", format!("is a {}, not a str", other.type_name()))),
    }
}

fn read_group(group: &Value, parameters: Vec<String>) -> Result<GroupState, LayoutError> {
    let parent = "optimizer.param_groups";
    let number = |key: &str| match get_in(group, parent, key)? {
        Value::Float(value) => Ok(*value),
        // A rate of 0 may be written as an int.
        Value::Int(value) => Ok(*value as f64),
        other => Err(wrong(&format!("{parent}.{key}"), format!("is a {}, not a float", other.type_name()))),
    };
    let apply_wd = !matches!(group.get("apply_wd"), Some(Value::Bool(false)));
    Ok(GroupState {
        name: group_name(group)?.to_owned(),
        lr: number("lr")?,
        weight_decay: number("weight_decay")?,
        apply_wd,
        parameters,
    })
}

fn read_tensor(parent: &str, value: &Value, key: &str) -> Result<Tensor, LayoutError> {
    match get_in(value, parent, key)? {
        Value::Tensor(tensor) => Ok(tensor.shallow_clone()),
        other => Err(wrong(&format!("{parent}.{key}"), format!("is a {}, not a tensor", other.type_name()))),
    }
}

fn read_moments(parent: &str, value: &Value) -> Result<Moments, LayoutError> {
    let tensor = |key: &str| read_tensor(parent, value, key);
    // Older versions of PyTorch keep a number.
    let step = match get_in(value, parent, "step")? {
        Value::Int(step) => *step as f64,
        Value::Float(step) => *step,
        Value::Tensor(step) if step.numel() == 1 => step.f_double_value(&[]).unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    if step.fract() != 0.0 || !(0.0..=MAX_STEP as f64).contains(&step) {
        return Err(wrong(&format!("{parent}.step"), "is no count of steps"));
    }
    Ok(Moments { step: step as i64, exp_avg: tensor("exp_avg")?, exp_avg_sq: tensor("exp_avg_sq")? })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn steps_are_counted_by_a_tensor_or_as_older_versions_have_it_by_a_number() {
        let moment = || Value::Tensor(Tensor::zeros([2], (Kind::Float, Device::Cpu)));
        let read = |step| {
            let state = Value::dict([("step", step), ("exp_avg", moment()), ("exp_avg_sq", moment())]);
            read_moments("optimizer.state of w", &state).map(|moments| moments.step)
        };
        for step in [Value::Tensor(Tensor::from(3_f32)), Value::Int(3), Value::Float(3.0)] {
            assert_eq!(read(step).unwrap(), 3);
        }
        let none = [Value::Int(-1), Value::Float(2.5), Value::Float(f64::NAN), Value::text("3"), moment(), Value::None];
        for step in none.into_iter().chain([Value::Int(MAX_STEP + 1)]) {
            let error = read(step).unwrap_err().to_string();
            assert!(error.contains("optimizer.state of w.step") && error.contains("is no count of steps"), "{error}");
        }
    }
}
