//! AdamW with a step count per tensor.
//!
//! I. Loshchilov and F. Hutter: "Decoupled weight decay regularization", ICLR 2019. The operations and their order are
//! those of PyTorch's single-tensor implementation in Python, which libtorch's C++ optimiser does not follow to the
//! last bit.

use std::collections::BTreeMap;

use tch::{Kind, Tensor, no_grad_guard};

use super::Group;
use crate::model::Params;
use crate::named::LoadError;
use crate::state::{GroupState, Moments, OptimizerState};

const BETAS: (f64, f64) = (0.9, 0.999);
const EPS: f64 = 1e-8;

/// The optimiser of a network's trainable parameters.
#[derive(Debug)]
pub struct AdamW {
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
    /// None before the first step.
    moments: Option<Moments>,
}

#[derive(Clone, Copy, Debug, Default)]
struct GroupRates {
    lr: f64,
    weight_decay: f64,
}

impl AdamW {
    /// For the trainable ones of `params`. The patch embedding's learning rate is multiplied by `patch_embed_lr_mult`.
    pub fn new(params: &Params, patch_embed_lr_mult: f64) -> AdamW {
        let slot = |param: &crate::model::Param| Slot {
            name: param.name.clone(),
            parameter: param.tensor.shallow_clone(),
            group: Group::of(&param.name, &param.tensor.size()),
            moments: None,
        };
        let slots = params.iter().filter(|param| param.trainable).map(slot).collect();
        AdamW { slots, rates: [GroupRates::default(); 4], patch_embed_lr_mult }
    }

    /// The parameters in the order in which [`step`](Self::step) expects their gradients.
    pub fn parameters(&self) -> Vec<&Tensor> {
        self.slots.iter().map(|slot| &slot.parameter).collect()
    }

    /// Updates every parameter that has a gradient. `gradients` come in the order of [`parameters`](Self::parameters),
    /// undefined where there is none; `prepare(name, gradient)` turns each into the one to follow. Without it the
    /// parameter stays as it is, without decay, and its step count and moments too.
    pub fn step(
        &mut self,
        lr: f64,
        weight_decay: f64,
        gradients: impl IntoIterator<Item = Tensor>,
        mut prepare: impl FnMut(&str, Tensor) -> Option<Tensor>,
    ) {
        let _no_grad = no_grad_guard();
        self.rates = Group::ALL.map(|group| GroupRates {
            lr: if group.is_patch_embed() { lr * self.patch_embed_lr_mult } else { lr },
            weight_decay: if group.decays() { weight_decay } else { 0.0 },
        });
        for (slot, gradient) in self.slots.iter_mut().zip(gradients) {
            let prepared = if gradient.defined() { prepare(&slot.name, gradient) } else { None };
            if let Some(gradient) = prepared {
                slot.step(self.rates[slot.group as usize], &gradient);
            }
        }
    }

    /// Rates, groups and moments by name. The moments share storage with the optimiser.
    pub fn state(&self) -> OptimizerState {
        let group = |(group, rates): (Group, GroupRates)| GroupState {
            name: group.name().to_owned(),
            lr: rates.lr,
            weight_decay: rates.weight_decay,
            apply_wd: group.decays(),
            parameters: self.slots.iter().filter(|slot| slot.group == group).map(|slot| slot.name.clone()).collect(),
        };
        let moments = |slot: &Slot| Some((slot.name.clone(), slot.moments.as_ref()?.shared()));
        OptimizerState {
            groups: Group::ALL.into_iter().zip(self.rates).map(group).collect(),
            moments: self.slots.iter().filter_map(moments).collect(),
        }
    }

    /// Takes over copies of the moments and the rates of `state`. A parameter without moments there has taken no step.
    ///
    /// # Errors
    /// A moment has another shape than its parameter; nothing has then been changed.
    pub fn load(&mut self, state: &OptimizerState) -> Result<(), LoadError> {
        let loaded: Result<Vec<_>, _> = self.slots.iter().map(|slot| slot.copy_of(&state.moments)).collect();
        for (slot, moments) in self.slots.iter_mut().zip(loaded?) {
            slot.moments = moments;
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
    fn step(&mut self, rates: GroupRates, gradient: &Tensor) {
        let zeros = || self.parameter.detach().zeros_like();
        let fresh = || Moments { step: 0, exp_avg: zeros(), exp_avg_sq: zeros() };
        let moments = self.moments.get_or_insert_with(fresh);
        moments.step += 1;
        let _ = self.parameter.g_mul_scalar_(1.0 - rates.lr * rates.weight_decay);
        let _ = moments.exp_avg.lerp_(gradient, 1.0 - BETAS.0);
        // The binding has no `value`; a factor on the first operand rounds alike.
        let scaled = gradient * (1.0 - BETAS.1);
        let _ = moments.exp_avg_sq.g_mul_scalar_(BETAS.1).addcmul_(&scaled, gradient);
        let corrections = [BETAS.0, BETAS.1].map(|beta| 1.0 - beta.powf(moments.step as f64));
        let root = moments.exp_avg_sq.sqrt().g_div_scalar_(corrections[1].sqrt()).g_add_scalar_(EPS);
        let direction = &moments.exp_avg * -(rates.lr / corrections[0]);
        let _ = self.parameter.addcdiv_(&direction, &root);
    }

    /// A copy of this parameter's moments in `all`.
    fn copy_of(&self, all: &BTreeMap<String, Moments>) -> Result<Option<Moments>, LoadError> {
        let Some(found) = all.get(&self.name) else { return Ok(None) };
        let copy = |moment: &Tensor, what: &str| {
            let (expected, shape) = (self.parameter.size(), moment.size());
            if expected != shape {
                return Err(LoadError::Shape { name: format!("{}.{what}", self.name), expected, found: shape });
            }
            Ok(moment.detach().to_device(self.parameter.device()).to_kind(Kind::Float).copy())
        };
        Ok(Some(Moments {
            step: found.step,
            exp_avg: copy(&found.exp_avg, "exp_avg")?,
            exp_avg_sq: copy(&found.exp_avg_sq, "exp_avg_sq")?,
        }))
    }
}

impl Moments {
    /// The same tensors once more.
    fn shared(&self) -> Moments {
        Moments { step: self.step, exp_avg: self.exp_avg.shallow_clone(), exp_avg_sq: self.exp_avg_sq.shallow_clone() }
    }
}
