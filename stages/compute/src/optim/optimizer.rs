//! Parameters, their groups, and what is remembered of their gradients.

use tch::{Kind, Tensor, no_grad_guard};

use super::{Group, OptimizerKind, momentum};
use crate::Mends;
use crate::model::{Param, Params};
use crate::mutants::{self, Mutant};
use crate::named::LoadError;
use crate::state::{GroupState, Moments, OptimizerState};

/// The optimiser of a network's trainable parameters.
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    /// In the network's order.
    slots: Vec<Slot>,
    /// Rates of the last step, in the order of [`Group::ALL`].
    rates: [GroupRates; 4],
    patch_embed_lr_mult: f64,
}

/// One parameter and what is remembered of its gradients.
#[derive(Debug)]
struct Slot {
    name: String,
    /// Shared with the network.
    parameter: Tensor,
    group: Group,
    /// AdamW's; none before the first step.
    moments: Option<Moments>,
    /// The running direction of SGD and LARS; none before the first step.
    momentum: Option<Tensor>,
}

/// How a gradient is followed.
#[derive(Debug)]
pub enum Follow {
    /// Not at all.
    Not,
    /// As it is.
    AsIs,
    /// Multiplied by a scalar.
    Scaled(Tensor),
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupRates {
    pub lr: f64,
    pub weight_decay: f64,
}

impl Optimizer {
    /// For the trainable ones of `params`. The patch embedding's learning rate is multiplied by `patch_embed_lr_mult`.
    pub fn new(kind: OptimizerKind, params: &Params, patch_embed_lr_mult: f64) -> Optimizer {
        let slot = |param: &Param| Slot {
            name: param.name.clone(),
            parameter: param.tensor.shallow_clone(),
            group: Group::of(&param.name, &param.tensor.size()),
            moments: None,
            momentum: None,
        };
        let slots = params.iter().filter(|param| param.trainable).map(slot).collect();
        Optimizer { kind, slots, rates: [GroupRates::default(); 4], patch_embed_lr_mult }
    }

    /// The same with the groups that `mends` ask for.
    pub fn mended(mut self, mends: Mends) -> Optimizer {
        if mends.decay_tokens {
            self.slots.iter_mut().for_each(|slot| slot.group = slot.group.without_tokens(&slot.name));
        }
        self
    }

    /// The parameters in the order in which [`step`](Self::step) expects their gradients.
    pub fn parameters(&self) -> Vec<&Tensor> {
        self.slots.iter().map(|slot| &slot.parameter).collect()
    }

    /// The parameters' published names in that order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    /// Updates every parameter that has a gradient. `gradients` come in the order of [`parameters`](Self::parameters),
    /// undefined where there is none; `prepare(name, gradient)` says how each is followed. One that is not leaves the
    /// parameter as it is, without decay, and its step count and moments too.
    pub fn step(
        &mut self,
        lr: f64,
        weight_decay: f64,
        gradients: impl IntoIterator<Item = Tensor>,
        mut prepare: impl FnMut(&str, &Tensor) -> Follow,
    ) {
        let _no_grad = no_grad_guard();
        self.rates = Group::ALL.map(|group| GroupRates {
            lr: if group.is_patch_embed() { lr * self.patch_embed_lr_mult } else { lr },
            weight_decay: if group.decays() || mutants::active(Mutant::BiasDecay) { weight_decay } else { 0.0 },
        });
        for (slot, gradient) in self.slots.iter_mut().zip(gradients) {
            let follow = if gradient.defined() { prepare(&slot.name, &gradient) } else { Follow::Not };
            let factor = match follow {
                Follow::Not => continue,
                Follow::AsIs => None,
                Follow::Scaled(factor) => Some(factor),
            };
            slot.step(self.kind, self.rates[slot.group as usize], &gradient, factor.as_ref());
        }
    }

    /// Rates, groups and what is remembered by name. The tensors share storage with the optimiser.
    pub fn state(&self) -> OptimizerState {
        let group = |(group, rates): (Group, GroupRates)| GroupState {
            name: group.name().to_owned(),
            lr: rates.lr,
            weight_decay: rates.weight_decay,
            apply_wd: group.decays(),
            parameters: self.slots.iter().filter(|slot| slot.group == group).map(|slot| slot.name.clone()).collect(),
        };
        let moments = |slot: &Slot| Some((slot.name.clone(), slot.moments.as_ref()?.shared()));
        let momentum = |slot: &Slot| Some((slot.name.clone(), slot.momentum.as_ref()?.shallow_clone()));
        OptimizerState {
            kind: self.kind,
            groups: Group::ALL.into_iter().zip(self.rates).map(group).collect(),
            moments: self.slots.iter().filter_map(moments).collect(),
            momentum: self.slots.iter().filter_map(momentum).collect(),
        }
    }

    /// Takes over copies of what `state` remembers, and its rates. A parameter of which it remembers nothing has taken
    /// no step.
    ///
    /// # Errors
    /// A tensor has another shape than its parameter; nothing has then been changed.
    pub fn load(&mut self, state: &OptimizerState) -> Result<(), LoadError> {
        let loaded: Result<Vec<_>, _> = self.slots.iter().map(|slot| slot.copy_of(state)).collect();
        for (slot, (moments, momentum)) in self.slots.iter_mut().zip(loaded?) {
            (slot.moments, slot.momentum) = (moments, momentum);
        }
        for (group, rates) in Group::ALL.into_iter().zip(&mut self.rates) {
            if let Some(found) = state.groups.iter().find(|found| found.name == group.name()) {
                *rates = GroupRates { lr: found.lr, weight_decay: found.weight_decay };
            }
        }
        Ok(())
    }
}

impl Slot {
    fn step(&mut self, kind: OptimizerKind, rates: GroupRates, gradient: &Tensor, factor: Option<&Tensor>) {
        let Slot { parameter, moments, momentum, .. } = self;
        if kind == OptimizerKind::AdamW {
            let moments = moments.get_or_insert_with(|| Moments::fresh(parameter));
            return moments.step(rates, parameter, gradient, factor);
        }
        let gradient = factor.map_or_else(|| gradient.shallow_clone(), |factor| gradient * factor);
        match kind {
            OptimizerKind::Lars => momentum::lars(rates, parameter, &gradient, momentum),
            _ => momentum::sgd(rates, parameter, &gradient, momentum),
        }
    }

    /// A copy of what `state` remembers of this parameter.
    fn copy_of(&self, state: &OptimizerState) -> Result<(Option<Moments>, Option<Tensor>), LoadError> {
        let copy = |tensor: &Tensor, what: &str| {
            let (expected, shape) = (self.parameter.size(), tensor.size());
            if expected != shape {
                return Err(LoadError::Shape { name: format!("{}.{what}", self.name), expected, found: shape });
            }
            Ok(tensor.detach().to_device(self.parameter.device()).to_kind(Kind::Float).copy())
        };
        let moments = match state.moments.get(&self.name) {
            None => None,
            Some(found) => Some(Moments {
                step: found.step,
                exp_avg: copy(&found.exp_avg, "exp_avg")?,
                exp_avg_sq: copy(&found.exp_avg_sq, "exp_avg_sq")?,
            }),
        };
        let momentum = state.momentum.get(&self.name).map(|found| copy(found, "momentum")).transpose()?;
        Ok((moments, momentum))
    }
}
