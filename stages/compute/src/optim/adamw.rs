//! AdamW with a step count per tensor.
//!
//! I. Loshchilov and F. Hutter: "Decoupled weight decay regularization", ICLR 2019. The operations and their order are
//! those of PyTorch's single-tensor implementation in Python, which libtorch's C++ optimiser does not follow to the
//! last bit.

use tch::Tensor;

use super::optimizer::GroupRates;
use super::pieces::pieces;
use crate::state::Moments;

const BETAS: (f64, f64) = (0.9, 0.999);
const EPS: f64 = 1e-8;

impl Moments {
    /// Those of a parameter that has taken no step.
    pub(super) fn fresh(parameter: &Tensor) -> Moments {
        let zeros = || parameter.detach().zeros_like();
        Moments { step: 0, exp_avg: zeros(), exp_avg_sq: zeros() }
    }

    /// The same tensors once more.
    pub(super) fn shared(&self) -> Moments {
        Moments { step: self.step, exp_avg: self.exp_avg.shallow_clone(), exp_avg_sq: self.exp_avg_sq.shallow_clone() }
    }

    /// Moves `parameter` by `gradient`, multiplied by `factor` if there is one.
    pub(super) fn step(
        &mut self,
        rates: GroupRates,
        parameter: &mut Tensor,
        gradient: &Tensor,
        factor: Option<&Tensor>,
    ) {
        self.step += 1;
        let corrections = [BETAS.0, BETAS.1].map(|beta| 1.0 - beta.powf(self.step as f64));
        for [parameter, gradient, exp_avg, exp_avg_sq] in pieces([parameter, gradient, &self.exp_avg, &self.exp_avg_sq])
        {
            let gradient = factor.map_or_else(|| gradient.shallow_clone(), |factor| &gradient * factor);
            follow(rates, corrections, parameter, &gradient, exp_avg, exp_avg_sq);
        }
    }
}

/// One step of a parameter or a piece of it.
fn follow(
    rates: GroupRates,
    corrections: [f64; 2],
    mut parameter: Tensor,
    gradient: &Tensor,
    mut exp_avg: Tensor,
    mut exp_avg_sq: Tensor,
) {
    let _ = parameter.g_mul_scalar_(1.0 - rates.lr * rates.weight_decay);
    let _ = exp_avg.lerp_(gradient, 1.0 - BETAS.0);
    // The binding has no `value`; a factor on the first operand rounds alike.
    let scaled = gradient * (1.0 - BETAS.1);
    let _ = exp_avg_sq.g_mul_scalar_(BETAS.1).addcmul_(&scaled, gradient);
    let root = exp_avg_sq.sqrt().g_div_scalar_(corrections[1].sqrt()).g_add_scalar_(EPS);
    let direction = &exp_avg * -(rates.lr / corrections[0]);
    let _ = parameter.addcdiv_(&direction, &root);
}
