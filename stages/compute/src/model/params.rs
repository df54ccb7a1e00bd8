//! The registry of a network's parameters, in the order and under the names of the published state dictionaries.

use std::fmt::Display;

use tch::{Device, Kind, Tensor};

use super::init::{Init, Source};
use crate::named::{LoadError, NamedTensors, copy_into};

/// One parameter of a network.
#[derive(Debug)]
pub struct Param {
    /// The published name, for example `backbone.blocks.0.attn.qkv.weight`.
    pub name: String,
    /// The values, float32. Layers hold the same tensor: an update in place is an update of the network.
    pub tensor: Tensor,
    /// Whether the optimizer moves it. Only such tensors record gradients.
    pub trainable: bool,
    /// Whether it is no parameter but what a layer has counted: running statistics of a BatchNorm. The teacher has its
    /// own, which do not follow the student's.
    pub buffer: bool,
}

/// A network's parameters in published order.
#[derive(Debug, Default)]
pub struct Params {
    list: Vec<Param>,
}

impl Params {
    /// The parameters in published order.
    pub fn iter(&self) -> std::slice::Iter<'_, Param> {
        self.list.iter()
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many numbers the parameters hold together, buffers left out.
    pub fn elements(&self) -> usize {
        self.list.iter().filter(|param| !param.buffer).map(|param| param.tensor.numel()).sum()
    }

    /// The buffers, shared with the layers.
    pub fn buffers(&self) -> impl Iterator<Item = &Tensor> {
        self.list.iter().filter(|param| param.buffer).map(|param| &param.tensor)
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.list.iter().find(|param| param.name == name)
    }

    /// Copies every parameter from the tensor called `prefix` + its name; tensors of other names are passed over.
    ///
    /// # Errors
    /// A tensor is missing or has another shape. Parameters before it have then been overwritten.
    pub fn load(&self, tensors: &NamedTensors, prefix: &str) -> Result<(), LoadError> {
        self.list.iter().try_for_each(|param| copy_into(&param.tensor, tensors, prefix, &param.name))
    }
}

impl<'a> IntoIterator for &'a Params {
    type Item = &'a Param;
    type IntoIter = std::slice::Iter<'a, Param>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Makes parameters under a common prefix: `builder.at("mlp").at("fc1").param("weight", …)` adds `mlp.fc1.weight`.
pub(super) struct Builder<'a> {
    params: &'a mut Params,
    source: Source,
    trainable: bool,
    kind: Kind,
    prefix: String,
}

impl<'a> Builder<'a> {
    /// Adds to `params`, with initial values from `source` and the full name. Layers multiply in `kind`.
    pub(super) fn new(params: &'a mut Params, trainable: bool, source: Source, kind: Kind) -> Self {
        Builder { params, source, trainable, kind, prefix: String::new() }
    }

    /// A builder for what lies under `name`.
    pub(super) fn at(&mut self, name: impl Display) -> Builder<'_> {
        let prefix = format!("{}{name}.", self.prefix);
        Builder { params: self.params, source: self.source, trainable: self.trainable, kind: self.kind, prefix }
    }

    /// What layers multiply in.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where parameters lie.
    pub(super) fn device(&self) -> Device {
        self.source.device()
    }

    /// A parameter that is trained where the network is.
    pub(super) fn param(&mut self, name: &str, shape: &[i64], init: Init) -> Tensor {
        self.add(name, shape, init, self.trainable)
    }

    /// A parameter that keeps its initial values.
    pub(super) fn frozen(&mut self, name: &str, shape: &[i64], init: Init) -> Tensor {
        self.add(name, shape, init, false)
    }

    /// What the layer itself keeps up to date, float32.
    pub(super) fn buffer(&mut self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let tensor = self.source.tensor("", shape, init);
        self.register(name, tensor, false, true)
    }

    /// A count, int64 without dimensions, from 0.
    pub(super) fn counter(&mut self, name: &str) -> Tensor {
        let tensor = self.source.counter();
        self.register(name, tensor, false, true)
    }

    fn add(&mut self, name: &str, shape: &[i64], init: Init, trainable: bool) -> Tensor {
        let tensor = self.source.tensor(&format!("{}{name}", self.prefix), shape, init).set_requires_grad(trainable);
        self.register(name, tensor, trainable, false)
    }

    fn register(&mut self, name: &str, tensor: Tensor, trainable: bool, buffer: bool) -> Tensor {
        let name = format!("{}{name}", self.prefix);
        debug_assert!(self.params.get(&name).is_none(), "{name} is registered twice");
        self.params.list.push(Param { name, tensor: tensor.shallow_clone(), trainable, buffer });
        tensor
    }
}
