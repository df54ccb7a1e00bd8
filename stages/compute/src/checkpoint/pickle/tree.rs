//! The nodes of a parsed pickle, and the tree of values that they make.

use tch::{Kind, Tensor};

use super::PickleError;
use crate::checkpoint::value::{Opaque, Value, storage_kind};

/// Deeper nesting than any state dict has; also what ends a cycle.
const MAX_DEPTH: usize = 64;

/// A node; children are indices into the list of all nodes.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict { ordered: bool, items: Vec<(usize, usize)> },
    Global(String),
    Object { global: String, arguments: Vec<usize>, state: Option<usize> },
    Storage { key: String, kind: Kind, elements: i64 },
    Tensor(TensorSpec),
}

/// A tensor before its storage is read.
#[derive(Clone, Debug)]
pub(crate) struct TensorSpec {
    /// The storage is the member `data/{key}`.
    pub(crate) key: String,
    /// Element type.
    pub(crate) kind: Kind,
    /// Elements in the storage, as the pickle claims.
    pub(crate) elements: i64,
    /// First element of the tensor.
    pub(crate) offset: i64,
    /// Shape.
    pub(crate) sizes: Vec<i64>,
    /// Strides in elements.
    pub(crate) strides: Vec<i64>,
}

impl Node {
    pub(super) fn describe(&self) -> &str {
        match self {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) => "an int",
            Node::Float(_) => "a float",
            Node::Str(_) => "a str",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Dict { .. } => "a dict",
            Node::Global(name) | Node::Object { global: name, .. } => name,
            Node::Storage { .. } => "a storage",
            Node::Tensor(_) => "a tensor",
        }
    }
}

/// What calling `global` makes, without calling it.
pub(super) fn called(nodes: &[Node], global: &str, arguments: &[usize]) -> Result<Node, String> {
    match (global, arguments) {
        ("collections.OrderedDict", []) => Ok(Node::Dict { ordered: true, items: Vec::new() }),
        ("torch._utils._rebuild_tensor_v2", [storage, offset, sizes, strides, ..]) => {
            tensor(nodes, [*storage, *offset, *sizes, *strides])
        }
        ("torch._utils._rebuild_tensor_v2", _) => Err(format!("{} arguments are too few", arguments.len())),
        ("torch._utils._rebuild_parameter", [data, ..]) => match &nodes[*data] {
            Node::Tensor(spec) => Ok(Node::Tensor(spec.clone())),
            other => Err(format!("a parameter of {}", other.describe())),
        },
        _ => Ok(Node::Object { global: global.to_owned(), arguments: arguments.to_vec(), state: None }),
    }
}

fn tensor(nodes: &[Node], [storage, offset, sizes, strides]: [usize; 4]) -> Result<Node, String> {
    let Node::Storage { key, kind, elements } = &nodes[storage] else {
        return Err(format!("{} is no storage", nodes[storage].describe()));
    };
    let Node::Int(offset) = nodes[offset] else { return Err("the offset is no int".to_owned()) };
    let (sizes, strides) = (ints(nodes, sizes)?, ints(nodes, strides)?);
    let spec = TensorSpec { key: key.clone(), kind: *kind, elements: *elements, offset, sizes, strides };
    spec.check()?;
    Ok(Node::Tensor(spec))
}

fn ints(nodes: &[Node], tuple: usize) -> Result<Vec<i64>, String> {
    let Node::Tuple(items) = &nodes[tuple] else { return Err("sizes and strides must be tuples".to_owned()) };
    let int = |id: &usize| match nodes[*id] {
        Node::Int(value) => Ok(value),
        ref other => Err(format!("{} among sizes or strides", other.describe())),
    };
    items.iter().map(int).collect()
}

impl TensorSpec {
    /// The tensor lies within its storage and does not repeat elements, so that it is no larger than the file.
    fn check(&self) -> Result<(), String> {
        let bad = || {
            let TensorSpec { key, elements, offset, sizes, strides, .. } = self;
            format!(
                "sizes {sizes:?}, strides {strides:?}, offset {offset} do not fit storage {key} of {elements} elements"
            )
        };
        let negative = |values: &[i64]| values.iter().any(|value| *value < 0);
        if self.sizes.len() != self.strides.len() || self.offset < 0 || negative(&self.sizes) || negative(&self.strides)
        {
            return Err(bad());
        }
        let count = self.sizes.iter().try_fold(1_i64, |product, size| product.checked_mul(*size)).ok_or_else(bad)?;
        let reach = |last: i64, (size, stride): (&i64, &i64)| last.checked_add((size - 1).checked_mul(*stride)?);
        let last = self.sizes.iter().zip(&self.strides).try_fold(self.offset, reach).ok_or_else(bad)?;
        let fits =
            if count == 0 { self.offset <= self.elements } else { last < self.elements && count <= self.elements };
        if fits { Ok(()) } else { Err(bad()) }
    }
}

/// A storage from its persistent id `("storage", class, key, device, elements)`.
pub(super) fn storage(nodes: &[Node], id: usize) -> Result<Node, String> {
    let parts: Vec<&Node> = match &nodes[id] {
        Node::Tuple(items) => items.iter().map(|item| &nodes[*item]).collect(),
        other => return Err(format!("{} as a persistent id", other.describe())),
    };
    let [Node::Str(tag), Node::Global(class), Node::Str(key), Node::Str(_device), Node::Int(elements)] = parts[..]
    else {
        return Err("a persistent id that names no storage".to_owned());
    };
    if tag != "storage" || *elements < 0 {
        return Err(format!("persistent id `{tag}` with {elements} elements"));
    }
    let kind = storage_kind(class).ok_or_else(|| format!("{class} is no known storage class"))?;
    Ok(Node::Storage { key: key.clone(), kind, elements: *elements })
}

/// A parsed pickle.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
    pub(super) pickle_len: usize,
}

/// What the checkpoints of the published implementation name beside storages, with old and new versions of numpy.
const KNOWN: [&str; 8] = [
    "_codecs.encode",
    "argparse.Namespace",
    "collections.OrderedDict",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
];

impl Tree {
    /// The first class or function that a checkpoint has no use for, also where its result is dropped.
    pub(crate) fn unknown_global(&self) -> Option<&str> {
        let named: fn(&Node) -> Option<&str> =
            |node| if let Node::Global(global) = node { Some(global.as_str()) } else { None };
        let known = |global: &str| KNOWN.contains(&global) || storage_kind(global).is_some();
        self.nodes.iter().filter_map(named).find(|global| !known(global))
    }

    /// The tree of values; `load` gives each tensor.
    ///
    /// Shared nodes are copied, so the growth is limited: a few bytes of pickle could else stand for a huge tree.
    pub(crate) fn into_value<E: From<PickleError>>(
        self,
        load: impl FnMut(&TensorSpec) -> Result<Tensor, E>,
    ) -> Result<Value, E> {
        let budget = 16 * self.pickle_len + (1 << 16);
        Builder { tree: &self, budget, load }.value(self.root, 0)
    }
}

struct Builder<'a, L> {
    tree: &'a Tree,
    budget: usize,
    load: L,
}

impl<E: From<PickleError>, L: FnMut(&TensorSpec) -> Result<Tensor, E>> Builder<'_, L> {
    fn value(&mut self, id: usize, depth: usize) -> Result<Value, E> {
        let tree = self.tree;
        let node = &tree.nodes[id];
        self.spend(node, depth)?;
        Ok(match node {
            Node::None => Value::None,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Float(value) => Value::Float(*value),
            Node::Str(text) => Value::Str(text.clone()),
            Node::List(items) => Value::List(self.values(items, depth)?),
            Node::Tuple(items) => Value::Tuple(self.values(items, depth)?),
            Node::Dict { ordered: false, items } => Value::Dict(self.items(items, depth)?),
            Node::Dict { ordered: true, items } => Value::OrderedDict(self.items(items, depth)?),
            Node::Tensor(spec) => Value::Tensor((self.load)(spec)?),
            Node::Global(global) => opaque(global, Vec::new(), None),
            Node::Storage { key, .. } => opaque("torch.storage", vec![Value::text(key)], None),
            Node::Object { global, arguments, state } => {
                let state = state.map(|state| self.value(state, depth + 1)).transpose()?;
                opaque(global, self.values(arguments, depth)?, state)
            }
        })
    }

    fn values(&mut self, ids: &[usize], depth: usize) -> Result<Vec<Value>, E> {
        ids.iter().map(|id| self.value(*id, depth + 1)).collect()
    }

    fn items(&mut self, items: &[(usize, usize)], depth: usize) -> Result<Vec<(Value, Value)>, E> {
        items.iter().map(|(key, value)| Ok((self.value(*key, depth + 1)?, self.value(*value, depth + 1)?))).collect()
    }

    fn spend(&mut self, node: &Node, depth: usize) -> Result<(), PickleError> {
        let error = |what: &str| PickleError { offset: self.tree.pickle_len, what: what.to_owned() };
        if depth > MAX_DEPTH {
            return Err(error("values are nested more than 64 deep, or in a circle"));
        }
        let cost = 1 + match node {
            Node::Str(text) | Node::Global(text) => text.len(),
            Node::Object { global, .. } => global.len(),
            _ => 0,
        };
        self.budget =
            self.budget.checked_sub(cost).ok_or_else(|| error("shared values unfold to far more than the pickle"))?;
        Ok(())
    }
}

fn opaque(global: &str, arguments: Vec<Value>, state: Option<Value>) -> Value {
    match numpy_float(global, &arguments) {
        Some(value) => Value::Float(value),
        None => Value::Opaque(Opaque { global: global.to_owned(), arguments, state: state.map(Box::new) }),
    }
}

/// A little-endian numpy float64 scalar: `scalar(dtype('f8'), bytes)`, the bytes as latin-1 text.
fn numpy_float(global: &str, arguments: &[Value]) -> Option<f64> {
    if !matches!(global, "numpy._core.multiarray.scalar" | "numpy.core.multiarray.scalar") {
        return None;
    }
    let [Value::Opaque(dtype), Value::Opaque(encoded)] = arguments else { return None };
    let [Value::Str(format), ..] = &dtype.arguments[..] else { return None };
    let Some(Value::Tuple(state)) = dtype.state.as_deref() else { return None };
    let [_, Value::Str(order), ..] = &state[..] else { return None };
    let [Value::Str(text), ..] = &encoded.arguments[..] else { return None };
    if format != "f8" || order != "<" || encoded.global != "_codecs.encode" {
        return None;
    }
    let bytes: Vec<u8> = text.chars().map(|character| u8::try_from(character).ok()).collect::<Option<_>>()?;
    Some(f64::from_le_bytes(bytes.try_into().ok()?))
}
