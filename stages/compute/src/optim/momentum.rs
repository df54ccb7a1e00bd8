//! SGD and LARS, which remember one tensor a parameter.

use tch::Tensor;

use super::optimizer::GroupRates;

const MOMENTUM: f64 = 0.9;
/// LARS: the length of a step as a share of the parameter's own length.
const TRUST: f64 = 0.001;

/// SGD as PyTorch has it: the first gradient is the buffer, decay is part of the gradient.
pub(super) fn sgd(rates: GroupRates, parameter: &mut Tensor, gradient: &Tensor, buffer: &mut Option<Tensor>) {
    let gradient =
        if rates.weight_decay == 0.0 { gradient.copy() } else { gradient + parameter.detach() * rates.weight_decay };
    let direction = match buffer.take() {
        None => gradient,
        Some(mut buffer) => buffer.g_mul_scalar_(MOMENTUM).g_add_(&gradient),
    };
    follow(rates, parameter, &direction);
    *buffer = Some(direction);
}

/// Y. You, I. Gitman, B. Ginsburg: "Large batch training of convolutional networks", 2017, as the published code has
/// it: what is not one-dimensional is decayed and its gradient scaled to a share of the parameter's length.
pub(super) fn lars(rates: GroupRates, parameter: &mut Tensor, gradient: &Tensor, buffer: &mut Option<Tensor>) {
    let gradient = if parameter.dim() == 1 {
        gradient.shallow_clone()
    } else {
        let decayed = gradient + parameter.detach() * rates.weight_decay;
        let [length, step] = [parameter.detach().norm(), decayed.norm()];
        // Where one of the two is 0, the gradient is taken as it is. Nothing waits for the device.
        let both = length.gt(0.0).logical_and(&step.gt(0.0));
        let trust = (length * TRUST / step).where_self(&both, &Tensor::ones_like(&decayed.norm()));
        decayed * trust
    };
    let mut direction = buffer.take().unwrap_or_else(|| parameter.detach().zeros_like());
    let _ = direction.g_mul_scalar_(MOMENTUM).g_add_(&gradient);
    follow(rates, parameter, &direction);
    *buffer = Some(direction);
}

fn follow(rates: GroupRates, parameter: &mut Tensor, direction: &Tensor) {
    let _ = parameter.g_sub_(&(direction * rates.lr));
}
