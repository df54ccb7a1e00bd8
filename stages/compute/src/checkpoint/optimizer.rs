//! The optimiser's entry: moments by running index over the groups, as `torch.optim.AdamW` has it.

use std::collections::BTreeMap;

use tch::Tensor;

use super::layout::{LayoutError, get_in, wrong};
use super::value::Value;
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
            index += 1;
        }
        groups.push(group_value(group, first..index));
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

/// A group with the keys and the order that PyTorch 2.11 writes.
fn group_value(group: &GroupState, indices: std::ops::Range<i64>) -> Value {
    let (lr, decay) = (("lr", Value::Float(group.lr)), ("weight_decay", Value::Float(group.weight_decay)));
    let betas = ("betas", Value::Tuple(vec![Value::Float(0.9), Value::Float(0.999)]));
    let eps = ("eps", Value::Float(1e-8));
    let mut items = vec![("name", Value::text(&group.name))];
    if group.apply_wd {
        items.extend([lr, betas, eps, decay]);
    } else {
        items.extend([("apply_wd", Value::Bool(false)), decay, lr, betas, eps]);
    }
    items.extend([
        ("amsgrad", Value::Bool(false)),
        ("maximize", Value::Bool(false)),
        ("foreach", Value::None),
        ("capturable", Value::Bool(false)),
        ("differentiable", Value::Bool(false)),
        ("fused", Value::None),
        ("decoupled_weight_decay", Value::Bool(true)),
        ("params", Value::List(indices.map(Value::Int).collect())),
    ]);
    Value::dict(items)
}

/// The state, with the groups' parameter names as stored beside it.
pub(super) fn from_value(value: &Value, parameters: &Value) -> Result<OptimizerState, LayoutError> {
    let Value::List(groups) = get_in(value, "optimizer", "param_groups")? else {
        return Err(wrong("optimizer.param_groups", "is no list"));
    };
    let names = parameter_names(parameters)?;
    if names.len() != groups.len() {
        let what = format!("names {} groups, but the optimizer has {}", names.len(), groups.len());
        return Err(wrong("mugs.parameters", what));
    }
    let order: Vec<String> = names.iter().flatten().cloned().collect();
    let groups = groups.iter().zip(names).map(|(group, names)| read_group(group, names)).collect::<Result<_, _>>()?;
    let state = get_in(value, "optimizer", "state")?;
    let state = state.entries().ok_or_else(|| wrong("optimizer.state", "is no dict"))?;
    let mut moments = BTreeMap::new();
    for (index, value) in state {
        let name = match index {
            Value::Int(index) => usize::try_from(*index).ok().and_then(|index| order.get(index)),
            _ => None,
        };
        let name = name.ok_or_else(|| wrong("optimizer.state", "has an index that no parameter has"))?;
        moments.insert(name.clone(), read_moments(&format!("optimizer.state of {name}"), value)?);
    }
    Ok(OptimizerState { groups, moments })
}

fn parameter_names(value: &Value) -> Result<Vec<Vec<String>>, LayoutError> {
    let bad = || wrong("mugs.parameters", "is no list of lists of names");
    let name = |value: &Value| if let Value::Str(name) = value { Ok(name.clone()) } else { Err(bad()) };
    let group = |value: &Value| match value {
        Value::List(names) => names.iter().map(name).collect(),
        _ => Err(bad()),
    };
    let Value::List(groups) = value else { return Err(bad()) };
    groups.iter().map(group).collect()
}

fn read_group(group: &Value, parameters: Vec<String>) -> Result<GroupState, LayoutError> {
    let parent = "optimizer.param_groups";
    let number = |key: &str| match get_in(group, parent, key)? {
        Value::Float(value) => Ok(*value),
        other => Err(wrong(&format!("{parent}.{key}"), format!("is a {}, not a float", other.type_name()))),
    };
    let Value::Str(name) = get_in(group, parent, "name")? else {
        return Err(wrong(&format!("{parent}.name"), "is no str"));
    };
    let apply_wd = !matches!(group.get("apply_wd"), Some(Value::Bool(false)));
    Ok(GroupState {
        name: name.clone(),
        lr: number("lr")?,
        weight_decay: number("weight_decay")?,
        apply_wd,
        parameters,
    })
}

fn read_moments(parent: &str, value: &Value) -> Result<Moments, LayoutError> {
    let tensor = |key: &str| match get_in(value, parent, key)? {
        Value::Tensor(tensor) => Ok(tensor.shallow_clone()),
        other => Err(wrong(&format!("{parent}.{key}"), format!("is a {}, not a tensor", other.type_name()))),
    };
    let step = tensor("step")?;
    let step = if step.numel() == 1 { step.f_double_value(&[]).unwrap_or(f64::NAN) } else { f64::NAN };
    if step.fract() != 0.0 || !(0.0..=MAX_STEP as f64).contains(&step) {
        return Err(wrong(&format!("{parent}.step"), "is no count of steps"));
    }
    Ok(Moments { step: step as i64, exp_avg: tensor("exp_avg")?, exp_avg_sq: tensor("exp_avg_sq")? })
}
