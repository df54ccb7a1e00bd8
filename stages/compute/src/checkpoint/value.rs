//! What a checkpoint is made of: a tree of plain values and tensors.

use tch::{Kind, Tensor};

/// A value of a pickled state dict.
#[derive(Debug)]
pub enum Value {
    /// `None`.
    None,
    /// `bool`.
    Bool(bool),
    /// `int`, within 64 bits.
    Int(i64),
    /// `float`, and numpy's float64.
    Float(f64),
    /// `str`.
    Str(String),
    /// `list`.
    List(Vec<Value>),
    /// `tuple`.
    Tuple(Vec<Value>),
    /// `dict`, in order of insertion.
    Dict(Vec<(Value, Value)>),
    /// `collections.OrderedDict`; its attributes (`_metadata`) are not kept.
    OrderedDict(Vec<(Value, Value)>),
    /// A tensor on the CPU. Read tensors may share storage, as they did when written.
    Tensor(Tensor),
    /// An object of another class, or a class itself, which is never made, called or imported.
    Opaque(Opaque),
}

/// An object that is only described.
#[derive(Debug)]
pub struct Opaque {
    /// The class or function: `module.name`.
    pub global: String,
    /// What it was called with.
    pub arguments: Vec<Value>,
    /// The state set after the call; the attributes of an `argparse.Namespace` as a dict.
    pub state: Option<Box<Value>>,
}

impl Value {
    /// A text value.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Str(text.into())
    }

    /// A plain dict with text keys.
    pub fn dict<K: Into<String>>(items: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Dict(items.into_iter().map(|(key, value)| (Value::text(key), value)).collect())
    }

    /// The entries of a dict of either sort.
    pub fn entries(&self) -> Option<&[(Value, Value)]> {
        match self {
            Value::Dict(items) | Value::OrderedDict(items) => Some(items),
            _ => None,
        }
    }

    /// The entry of a dict under a text key; the last one where a key is repeated.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let named = |(name, _): &&(Value, Value)| matches!(name, Value::Str(name) if name == key);
        self.entries()?.iter().rfind(named).map(|(_, value)| value)
    }

    /// The Python type, for messages.
    pub fn type_name(&self) -> &str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::OrderedDict(_) => "OrderedDict",
            Value::Tensor(_) => "tensor",
            Value::Opaque(opaque) => &opaque.global,
        }
    }
}

/// PyTorch's names of typed storages, and what they hold.
const STORAGES: [(&str, Kind); 10] = [
    ("torch.FloatStorage", Kind::Float),
    ("torch.LongStorage", Kind::Int64),
    ("torch.DoubleStorage", Kind::Double),
    ("torch.HalfStorage", Kind::Half),
    ("torch.BFloat16Storage", Kind::BFloat16),
    ("torch.IntStorage", Kind::Int),
    ("torch.ShortStorage", Kind::Int16),
    ("torch.CharStorage", Kind::Int8),
    ("torch.ByteStorage", Kind::Uint8),
    ("torch.BoolStorage", Kind::Bool),
];

/// The element type of a storage class.
pub(super) fn storage_kind(global: &str) -> Option<Kind> {
    STORAGES.iter().find(|(name, _)| *name == global).map(|(_, kind)| *kind)
}

/// The storage class of an element type.
pub(super) fn storage_name(kind: Kind) -> Option<&'static str> {
    STORAGES.iter().find(|(_, known)| *known == kind).map(|(name, _)| *name)
}
