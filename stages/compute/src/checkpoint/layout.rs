//! The published layout of a checkpoint, and our own entry `mugs`.

use tch::Tensor;

use super::value::{Opaque, Value};
use super::{Checkpoint, MugsState, Position, optimizer};
use crate::optim::LossScaler;
use crate::state::{OrderedTensors, TrainState};

/// Version of the entry `mugs`.
const VERSION: i64 = 1;
/// Entries that are no loss.
const KNOWN: [&str; 9] =
    ["student", "teacher", "student_mem", "teacher_mem", "optimizer", "epoch", "args", "fp16_scaler", "mugs"];

/// Why a state dict is no checkpoint of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    /// A checkpoint of the published implementation.
    #[error(
        "it has no entry `mugs` (seed, streams, position in the data, configuration): the published implementation \
         wrote it; put it into the --output_dir of `train` as checkpoint.pth to go on with its run"
    )]
    Published,
    /// An entry is missing or of another type.
    #[error("entry `{key}`: {what}")]
    Entry {
        /// The keys down to the entry, joined by dots.
        key: String,
        /// What is wrong.
        what: String,
    },
}

pub(super) fn wrong(key: &str, what: impl Into<String>) -> LayoutError {
    LayoutError::Entry { key: key.to_owned(), what: what.into() }
}

/// The checkpoint as a tree; tensors share storage with it.
pub(super) fn to_value(checkpoint: &Checkpoint) -> Result<Value, LayoutError> {
    let Checkpoint { state, epoch, args, mugs } = checkpoint;
    // The published teacher is wrapped, and its names are prefixed, only where it has BatchNorm to synchronise.
    let teacher_prefix = if has_batch_norm(&state.teacher) { "module." } else { "" };
    let mut items = vec![
        ("student".to_owned(), named(&state.student, "module.")),
        ("teacher".to_owned(), named(&state.teacher, teacher_prefix)),
        ("student_mem".to_owned(), memory(&state.student_memory)),
        ("teacher_mem".to_owned(), memory(&state.teacher_memory)),
        ("optimizer".to_owned(), optimizer::to_value(&state.optimizer)?),
        ("epoch".to_owned(), Value::Int(int("epoch", *epoch as u64)?)),
        (
            "args".to_owned(),
            Value::dict(
                args.iter().map(|(name, value)| Ok((name, copy(value)?))).collect::<Result<Vec<_>, LayoutError>>()?,
            ),
        ),
    ];
    items.extend(state.losses.iter().map(|(name, tensors)| (name.clone(), named(tensors, ""))));
    items.extend(state.scaler.map(|scaler| ("fp16_scaler".to_owned(), scaler_value(scaler))));
    items.push(("mugs".to_owned(), mugs_value(mugs, &state.optimizer.groups)?));
    Ok(Value::dict(items))
}

/// The state dict of PyTorch's `GradScaler`.
fn scaler_value(scaler: LossScaler) -> Value {
    let constants = LossScaler::CONSTANTS.map(|(name, value)| (name, Value::Float(value)));
    let (interval, steps) = LossScaler::INTERVAL;
    let counts = [(interval, Value::Int(steps)), ("_growth_tracker", Value::Int(scaler.growth_tracker))];
    Value::dict([("scale", Value::Float(scaler.scale))].into_iter().chain(constants).chain(counts))
}

fn scaler(value: &Value) -> Result<LossScaler, LayoutError> {
    let growth_tracker = natural(value, "fp16_scaler", "_growth_tracker")? as i64;
    match value.get("scale") {
        Some(Value::Float(scale)) => Ok(LossScaler { scale: *scale, growth_tracker }),
        _ => Err(wrong("fp16_scaler.scale", "is no float")),
    }
}

fn has_batch_norm(tensors: &OrderedTensors) -> bool {
    tensors.iter().any(|(name, _)| name.ends_with("running_mean"))
}

fn named(tensors: &OrderedTensors, prefix: &str) -> Value {
    let entry = |(name, tensor): &(String, Tensor)| {
        (Value::text(format!("{prefix}{name}")), Value::Tensor(tensor.shallow_clone()))
    };
    Value::OrderedDict(tensors.iter().map(entry).collect())
}

fn memory(tensors: &OrderedTensors) -> Value {
    if tensors.is_empty() { Value::None } else { named(tensors, "") }
}

/// A copy of an option; tensors and objects are none.
fn copy(value: &Value) -> Result<Value, LayoutError> {
    let all = |items: &[Value]| items.iter().map(copy).collect::<Result<Vec<_>, _>>();
    let pairs = |items: &[(Value, Value)]| {
        items.iter().map(|(key, value)| Ok((copy(key)?, copy(value)?))).collect::<Result<Vec<_>, LayoutError>>()
    };
    Ok(match value {
        Value::None => Value::None,
        Value::Bool(value) => Value::Bool(*value),
        Value::Int(value) => Value::Int(*value),
        Value::Float(value) => Value::Float(*value),
        Value::Str(text) => Value::text(text),
        Value::List(items) => Value::List(all(items)?),
        Value::Tuple(items) => Value::Tuple(all(items)?),
        Value::Dict(items) => Value::Dict(pairs(items)?),
        Value::OrderedDict(items) => Value::OrderedDict(pairs(items)?),
        Value::Tensor(_) | Value::Opaque(_) => {
            return Err(wrong("args", format!("an option cannot be a {}", value.type_name())));
        }
    })
}

fn mugs_value(mugs: &MugsState, groups: &[crate::state::GroupState]) -> Result<Value, LayoutError> {
    let count = |key: &str, value: u64| Ok(Value::Int(int(key, value)?));
    let names = |group: &crate::state::GroupState| Value::List(group.parameters.iter().map(Value::text).collect());
    Ok(Value::dict([
        ("version", Value::Int(VERSION)),
        // As text where it is beyond a signed integer: a seed uses all 64 bits.
        ("seed", i64::try_from(mugs.seed).map_or_else(|_| Value::text(mugs.seed.to_string()), Value::Int)),
        ("streams", count("mugs.streams", mugs.streams)?),
        ("global_batch", count("mugs.global_batch", mugs.global_batch)?),
        ("epoch", count("mugs.epoch", mugs.epoch)?),
        ("step", count("mugs.step", mugs.step)?),
        ("configuration", Value::text(&mugs.configuration)),
        ("data", Value::text(&mugs.data)),
        ("sums", Value::text(&mugs.sums)),
        ("parameters", Value::List(groups.iter().map(names).collect())),
    ]))
}

fn int(key: &str, value: u64) -> Result<i64, LayoutError> {
    i64::try_from(value).map_err(|_| wrong(key, format!("{value} is too large")))
}

/// The checkpoint in a tree; tensors share storage with it.
pub(super) fn from_value(root: &Value) -> Result<Checkpoint, LayoutError> {
    get(root, "student")?;
    let own = root.get("mugs").ok_or(LayoutError::Published)?;
    let names = optimizer::stored_names(get_in(own, "mugs", "parameters")?)?;
    let mugs = mugs_state(own)?;
    Ok(Checkpoint { state: state(root, names)?, epoch: epoch(root)?, args: args(root)?, mugs })
}

/// Everything but the position, where the optimiser's groups hold the parameters called `names`.
pub(super) fn state(root: &Value, names: Vec<Vec<String>>) -> Result<TrainState, LayoutError> {
    Ok(TrainState {
        student: student(root)?,
        teacher: tensors("teacher", get(root, "teacher")?, "module.")?,
        student_memory: memory_tensors("student_mem", root)?,
        teacher_memory: memory_tensors("teacher_mem", root)?,
        losses: losses(root)?,
        optimizer: optimizer::from_value(get(root, "optimizer")?, names)?,
        scaler: root.get("fp16_scaler").map(scaler).transpose()?,
    })
}

/// The student's weights.
pub(super) fn student(root: &Value) -> Result<OrderedTensors, LayoutError> {
    tensors("student", get(root, "student")?, "module.")
}

/// Epochs finished.
pub(super) fn epoch(root: &Value) -> Result<usize, LayoutError> {
    usize::try_from(natural(root, "", "epoch")?).map_err(|_| wrong("epoch", "is too large"))
}

/// The options: a plain dict, or the attributes of an `argparse.Namespace`.
pub(super) fn args(root: &Value) -> Result<Vec<(String, Value)>, LayoutError> {
    let args = match get(root, "args")? {
        Value::Opaque(Opaque { global, state: Some(state), .. }) if global == "argparse.Namespace" => state.entries(),
        other => other.entries(),
    };
    let option = |(name, value): &(Value, Value)| match name {
        Value::Str(name) => Ok((name.clone(), copy(value)?)),
        other => Err(wrong("args", format!("a {} as the name of an option", other.type_name()))),
    };
    args.ok_or_else(|| wrong("args", "is neither a dict nor an argparse.Namespace"))?.iter().map(option).collect()
}

/// Where the checkpoint stands: the next step.
pub(super) fn position(root: &Value) -> Result<Position, LayoutError> {
    match root.get("mugs") {
        Some(own) => Ok(Position { epoch: natural(own, "mugs", "epoch")?, step: natural(own, "mugs", "step")? }),
        None => Ok(Position { epoch: natural(root, "", "epoch")?, step: 0 }),
    }
}

pub(super) fn get<'a>(value: &'a Value, key: &str) -> Result<&'a Value, LayoutError> {
    value.get(key).ok_or_else(|| wrong(key, "is missing"))
}

pub(super) fn get_in<'a>(value: &'a Value, parent: &str, key: &str) -> Result<&'a Value, LayoutError> {
    value.get(key).ok_or_else(|| wrong(&format!("{parent}.{key}"), "is missing"))
}

fn natural(value: &Value, parent: &str, key: &str) -> Result<u64, LayoutError> {
    let full = if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
    match value.get(key) {
        Some(Value::Int(number)) => u64::try_from(*number).map_err(|_| wrong(&full, format!("is {number}"))),
        Some(other) => Err(wrong(&full, format!("is a {}, not an int", other.type_name()))),
        None => Err(wrong(&full, "is missing")),
    }
}

fn text(own: &Value, key: &str) -> Result<String, LayoutError> {
    match get_in(own, "mugs", key)? {
        Value::Str(text) => Ok(text.clone()),
        other => Err(wrong(&format!("mugs.{key}"), format!("is a {}, not a str", other.type_name()))),
    }
}

fn mugs_state(own: &Value) -> Result<MugsState, LayoutError> {
    let version = natural(own, "mugs", "version")?;
    if version != VERSION as u64 {
        let what = format!("is {version}, but only {VERSION} is known; use the release that wrote the file");
        return Err(wrong("mugs.version", what));
    }
    let seed = match own.get("seed") {
        Some(Value::Str(text)) => text.parse().map_err(|_| wrong("mugs.seed", format!("is `{text}`")))?,
        _ => natural(own, "mugs", "seed")?,
    };
    Ok(MugsState {
        seed,
        streams: natural(own, "mugs", "streams")?,
        global_batch: natural(own, "mugs", "global_batch")?,
        epoch: natural(own, "mugs", "epoch")?,
        step: natural(own, "mugs", "step")?,
        configuration: text(own, "configuration")?,
        data: text(own, "data")?,
        sums: text(own, "sums")?,
    })
}

/// A state dict without the prefix, where names have it.
fn tensors(key: &str, value: &Value, prefix: &str) -> Result<OrderedTensors, LayoutError> {
    let entries = value.entries().ok_or_else(|| wrong(key, format!("is a {}, not a dict", value.type_name())))?;
    let entry = |(name, value): &(Value, Value)| match (name, value) {
        (Value::Str(name), Value::Tensor(tensor)) => {
            Ok((name.strip_prefix(prefix).unwrap_or(name).to_owned(), tensor.shallow_clone()))
        }
        (name, value) => Err(wrong(key, format!("maps a {} to a {}", name.type_name(), value.type_name()))),
    };
    entries.iter().map(entry).collect()
}

fn memory_tensors(key: &str, root: &Value) -> Result<OrderedTensors, LayoutError> {
    match get(root, key)? {
        Value::None => Ok(Vec::new()),
        value => tensors(key, value, ""),
    }
}

fn losses(root: &Value) -> Result<Vec<(String, OrderedTensors)>, LayoutError> {
    let entries = root.entries().unwrap_or_default().iter();
    let loss = |(name, value): &(Value, Value)| match name {
        Value::Str(name) if !KNOWN.contains(&name.as_str()) => {
            Some(tensors(name, value, "").map(|tensors| (name.clone(), tensors)))
        }
        _ => None,
    };
    entries.filter_map(loss).collect()
}
