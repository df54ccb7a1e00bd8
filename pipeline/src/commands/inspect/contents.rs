//! What a checkpoint holds: its tensors by section, and objects that are none.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use mugs_compute::checkpoint::Value;
use serde::Serialize;
use tch::Kind;

/// A checkpoint file.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// The file.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Unix time at which it was written, in seconds.
    pub written: u64,
    /// Its tensors by what they are for.
    pub sections: Vec<Section>,
    /// Classes and functions that the file names; none of them is made or called.
    pub objects: Vec<String>,
}

/// Tensors of one purpose.
#[derive(Debug, Serialize)]
pub struct Section {
    /// The purpose.
    pub name: &'static str,
    /// Keys of the file that it stands under.
    pub keys: Vec<String>,
    /// Number of tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub values: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Element types, as PyTorch calls them.
    pub dtypes: Vec<&'static str>,
    /// Each of them, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<Vec<TensorInfo>>,
}

/// One tensor.
#[derive(Debug, PartialEq, Serialize)]
pub struct TensorInfo {
    /// The keys down to it, joined by dots.
    pub name: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Its element type, as PyTorch calls it.
    pub dtype: &'static str,
    /// Bytes of its values.
    pub bytes: u64,
}

/// Sections in their order, and the keys that are always theirs. A loss has its queue or centre under its own name.
const SECTIONS: [(&str, &[&str]); 5] = [
    ("student", &["student"]),
    ("teacher", &["teacher"]),
    ("memories", &["student_mem", "teacher_mem"]),
    (QUEUES, &[]),
    ("optimiser", &["optimizer"]),
];
const QUEUES: &str = "queues and centre";
const OTHER: &str = "other";

impl Contents {
    /// Looks through a file that has been read; with `list` every tensor is named.
    ///
    /// # Errors
    /// The file has gone since.
    pub fn of(path: &Path, root: &Value, list: bool) -> Result<Contents> {
        let data = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let written = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let mut walk = Walk::default();
        let mut found: Vec<(&'static str, String, Vec<TensorInfo>)> = Vec::new();
        for (key, value) in root.entries().unwrap_or_default() {
            let key = name_of(key);
            walk.value(&key, value);
            let tensors = std::mem::take(&mut walk.tensors);
            found.push((section(&key, value), key, tensors));
        }
        if root.entries().is_none() {
            walk.value("", root);
            found.push((OTHER, String::new(), walk.tensors));
        }
        let sections = SECTIONS.iter().map(|section| section.0).chain([OTHER]);
        let sections = sections.filter_map(|name| Section::of(name, &mut found, list)).collect();
        walk.objects.sort_unstable();
        walk.objects.dedup();
        Ok(Contents {
            path: path.display().to_string(),
            bytes: data.len(),
            written: written.as_secs(),
            sections,
            objects: walk.objects,
        })
    }
}

impl Section {
    /// The section with what was found for it; none without tensors.
    fn of(name: &'static str, found: &mut [(&'static str, String, Vec<TensorInfo>)], list: bool) -> Option<Section> {
        let mine = || found.iter().filter(|part| part.0 == name && !part.2.is_empty());
        let keys: Vec<String> = mine().map(|part| part.1.clone()).collect();
        let mut section =
            Section { name, keys, tensors: 0, values: 0, bytes: 0, dtypes: Vec::new(), list: list.then(Vec::new) };
        for part in found.iter_mut().filter(|part| part.0 == name) {
            for tensor in std::mem::take(&mut part.2) {
                section.add(tensor);
            }
        }
        (section.tensors > 0).then_some(section)
    }

    fn add(&mut self, tensor: TensorInfo) {
        self.tensors += 1;
        self.values += tensor.shape.iter().product::<i64>() as u64;
        self.bytes += tensor.bytes;
        if !self.dtypes.contains(&tensor.dtype) {
            self.dtypes.push(tensor.dtype);
        }
        if let Some(list) = &mut self.list {
            list.push(tensor);
        }
    }
}

/// The section of an entry: that of its key, or else by what a loss keeps.
fn section(key: &str, value: &Value) -> &'static str {
    let known = SECTIONS.iter().find(|(_, keys)| keys.contains(&key)).map(|section| section.0);
    let loss = |value: &Value| key.ends_with("-sup.") || value.get("queue").or(value.get("center")).is_some();
    known.unwrap_or(if loss(value) { QUEUES } else { OTHER })
}

#[derive(Default)]
struct Walk {
    tensors: Vec<TensorInfo>,
    objects: Vec<String>,
}

impl Walk {
    fn value(&mut self, name: &str, value: &Value) {
        match value {
            Value::Tensor(tensor) => {
                let (shape, kind) = (tensor.size(), tensor.kind());
                let bytes = tensor.numel() as u64 * kind.elt_size_in_bytes() as u64;
                self.tensors.push(TensorInfo { name: name.to_owned(), shape, dtype: dtype(kind), bytes });
            }
            Value::List(items) | Value::Tuple(items) => {
                items.iter().enumerate().for_each(|(number, item)| self.value(&join(name, &number.to_string()), item));
            }
            Value::Dict(items) | Value::OrderedDict(items) => {
                items.iter().for_each(|(key, item)| self.value(&join(name, &name_of(key)), item));
            }
            Value::Opaque(opaque) => {
                self.objects.push(opaque.global.clone());
                opaque.arguments.iter().chain(opaque.state.as_deref()).for_each(|part| self.value(name, part));
            }
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => {}
        }
    }
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}

fn name_of(key: &Value) -> String {
    match key {
        Value::Str(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        other => other.type_name().to_owned(),
    }
}

/// PyTorch's name of an element type, without `torch.`.
fn dtype(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "float32",
        Kind::Double => "float64",
        Kind::Half => "float16",
        Kind::BFloat16 => "bfloat16",
        Kind::Int64 => "int64",
        Kind::Int => "int32",
        Kind::Int16 => "int16",
        Kind::Int8 => "int8",
        Kind::Uint8 => "uint8",
        Kind::Bool => "bool",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use mugs_compute::checkpoint::Opaque;
    use tch::{Device, Tensor};

    use super::*;

    fn tensor(shape: &[i64], kind: Kind) -> Value {
        Value::Tensor(Tensor::zeros(shape, (kind, Device::Cpu)))
    }

    #[test]
    fn tensors_are_sorted_into_sections_by_their_keys() {
        let moments = Value::dict([(
            "state",
            Value::Dict(vec![(Value::Int(0), Value::dict([("exp_avg", tensor(&[2, 3], Kind::Float))]))]),
        )]);
        let args = Opaque { global: "argparse.Namespace".into(), arguments: Vec::new(), state: None };
        let root = Value::dict([
            (
                "student",
                Value::dict([("module.a", tensor(&[2, 3], Kind::Float)), ("module.b", tensor(&[], Kind::Int64))]),
            ),
            ("optimizer", moments),
            ("student_mem", Value::None),
            ("args", Value::Opaque(args)),
            ("group-sup.", Value::dict([("center", tensor(&[1, 4], Kind::BFloat16))])),
            ("extra", Value::List(vec![tensor(&[5], Kind::Uint8)])),
        ]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        let contents = Contents::of(file.path(), &root, true).unwrap();
        let totals: Vec<_> =
            contents.sections.iter().map(|s| (s.name, s.tensors, s.values, s.bytes, s.dtypes.join(" "))).collect();
        assert_eq!(
            totals,
            [
                ("student", 2, 7, 32, "float32 int64".to_owned()),
                ("queues and centre", 1, 4, 8, "bfloat16".to_owned()),
                ("optimiser", 1, 6, 24, "float32".to_owned()),
                ("other", 1, 5, 5, "uint8".to_owned()),
            ]
        );
        let names: Vec<&str> =
            contents.sections.iter().flat_map(|s| s.list.as_ref().unwrap()).map(|tensor| &*tensor.name).collect();
        assert_eq!(
            names,
            ["student.module.a", "student.module.b", "group-sup..center", "optimizer.state.0.exp_avg", "extra.0"]
        );
        assert_eq!((contents.bytes, contents.objects), (5, vec!["argparse.Namespace".to_owned()]));
    }
}
