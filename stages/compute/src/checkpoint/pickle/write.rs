//! Writes values as a pickle that `torch.load(weights_only=True)` accepts.

use std::collections::HashMap;

use tch::Tensor;

use super::opcode::*;
use crate::checkpoint::value::{Value, storage_name};

/// A value that has no place in a plain state dict.
#[derive(Debug, thiserror::Error)]
#[error("a value of type {0} cannot be written to a plain state dict")]
pub struct Unsupported(String);

/// The pickle of `value`, and its tensors: the n-th one's storage belongs into `data/n`.
pub(crate) fn pickle(value: &Value) -> Result<(Vec<u8>, Vec<&Tensor>), Unsupported> {
    let mut writer = Writer { bytes: vec![PROTO, 2], globals: HashMap::new(), tensors: Vec::new() };
    writer.value(value)?;
    writer.bytes.push(STOP);
    Ok((writer.bytes, writer.tensors))
}

struct Writer<'a> {
    bytes: Vec<u8>,
    globals: HashMap<&'static str, u8>,
    tensors: Vec<&'a Tensor>,
}

impl<'a> Writer<'a> {
    fn value(&mut self, value: &'a Value) -> Result<(), Unsupported> {
        match value {
            Value::None => self.bytes.push(NONE),
            Value::Bool(value) => self.bool(*value),
            Value::Int(value) => self.int(*value),
            Value::Float(value) => self.float(*value),
            Value::Str(text) => self.text(text)?,
            Value::List(items) => self.list(items)?,
            Value::Tuple(items) => self.tuple(items)?,
            Value::Dict(items) => {
                self.bytes.push(EMPTY_DICT);
                self.items(items)?;
            }
            Value::OrderedDict(items) => {
                self.ordered_dict();
                self.items(items)?;
            }
            Value::Tensor(tensor) => self.tensor(tensor)?,
            Value::Opaque(opaque) => return Err(Unsupported(opaque.global.clone())),
        }
        Ok(())
    }

    fn bool(&mut self, value: bool) {
        self.bytes.push(if value { NEWTRUE } else { NEWFALSE });
    }

    fn int(&mut self, value: i64) {
        if let Ok(small) = u8::try_from(value) {
            self.bytes.extend([BININT1, small]);
        } else if let Ok(medium) = u16::try_from(value) {
            self.bytes.push(BININT2);
            self.bytes.extend(medium.to_le_bytes());
        } else if let Ok(large) = i32::try_from(value) {
            self.bytes.push(BININT);
            self.bytes.extend(large.to_le_bytes());
        } else {
            self.bytes.extend([LONG1, 8]);
            self.bytes.extend(value.to_le_bytes());
        }
    }

    fn float(&mut self, value: f64) {
        self.bytes.push(BINFLOAT);
        self.bytes.extend(value.to_be_bytes());
    }

    fn text(&mut self, text: &str) -> Result<(), Unsupported> {
        let length = u32::try_from(text.len()).map_err(|_| Unsupported("str longer than 4 GiB".into()))?;
        self.bytes.push(BINUNICODE);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        Ok(())
    }

    fn list(&mut self, items: &'a [Value]) -> Result<(), Unsupported> {
        self.bytes.extend([EMPTY_LIST, MARK]);
        items.iter().try_for_each(|item| self.value(item))?;
        self.bytes.push(APPENDS);
        Ok(())
    }

    fn tuple(&mut self, items: &'a [Value]) -> Result<(), Unsupported> {
        self.bytes.push(MARK);
        items.iter().try_for_each(|item| self.value(item))?;
        self.bytes.push(TUPLE);
        Ok(())
    }

    fn items(&mut self, items: &'a [(Value, Value)]) -> Result<(), Unsupported> {
        self.bytes.push(MARK);
        for (key, value) in items {
            self.value(key)?;
            self.value(value)?;
        }
        self.bytes.push(SETITEMS);
        Ok(())
    }

    fn ordered_dict(&mut self) {
        self.global("collections\nOrderedDict\n");
        self.bytes.extend([EMPTY_TUPLE, REDUCE]);
    }

    /// `_rebuild_tensor_v2(storage, offset 0, sizes, strides, requires_grad, hooks)`.
    fn tensor(&mut self, tensor: &'a Tensor) -> Result<(), Unsupported> {
        let kind = tensor.kind();
        let storage = storage_name(kind).ok_or_else(|| Unsupported(format!("tensor of {kind:?}")))?;
        let sizes = tensor.size();
        self.global("torch._utils\n_rebuild_tensor_v2\n");
        self.bytes.extend([MARK, MARK]);
        self.text("storage")?;
        self.storage_class(storage);
        self.text(&self.tensors.len().to_string())?;
        self.text("cpu")?;
        self.int(sizes.iter().product());
        self.bytes.extend([TUPLE, BINPERSID]);
        self.int(0);
        self.ints(&sizes);
        self.ints(&contiguous_strides(&sizes));
        self.bool(false);
        self.ordered_dict();
        self.bytes.extend([TUPLE, REDUCE]);
        self.tensors.push(tensor);
        Ok(())
    }

    fn ints(&mut self, values: &[i64]) {
        self.bytes.push(MARK);
        values.iter().for_each(|value| self.int(*value));
        self.bytes.push(TUPLE);
    }

    fn storage_class(&mut self, name: &'static str) {
        self.bytes.push(GLOBAL);
        self.bytes.extend(name.replacen('.', "\n", 1).as_bytes());
        self.bytes.push(b'\n');
    }

    /// A global by its two lines, written in full the first time and fetched from the memo afterwards.
    fn global(&mut self, lines: &'static str) {
        if let Some(index) = self.globals.get(lines) {
            self.bytes.extend([BINGET, *index]);
            return;
        }
        let index = self.globals.len() as u8;
        self.globals.insert(lines, index);
        self.bytes.push(GLOBAL);
        self.bytes.extend(lines.as_bytes());
        self.bytes.extend([BINPUT, index]);
    }
}

/// Strides of a row-major tensor, as PyTorch counts them: a size of 0 counts as 1.
fn contiguous_strides(sizes: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis].max(1);
    }
    strides
}
