//! Batch statistics over all ranks.

use std::sync::Arc;

use mugs_torch_ext::through;
use tch::{Kind, Tensor, no_grad_guard};

use crate::collective::Collective;

/// `x` `[rows, width]` with the mean 0 and the variance 1 in every channel over the rows of all ranks, which have equally
/// many; takes their statistics into the `running` mean and variance. Gradients flow through the statistics, to all ranks.
///
/// A rank that fails to answer gives infinite values here, since a forward pass has no errors: the step then ends with
/// the error that the group has from then on.
pub(super) fn normalise(
    x: &Tensor,
    ranks: &Arc<dyn Collective>,
    running: [&Tensor; 2],
    momentum: f64,
    epsilon: f64,
) -> Tensor {
    let rows = (x.size()[0] * ranks.world() as i64) as f64;
    let mean = sum(&x.sum_dim_intlist([0].as_slice(), false, Kind::Float), ranks) / rows;
    let centred = x - mean.unsqueeze(0);
    let variance = sum(&centred.square().sum_dim_intlist([0].as_slice(), false, Kind::Float), ranks) / rows;
    {
        let _no_grad = no_grad_guard();
        let unbiased = &variance * (rows / (rows - 1.0).max(1.0));
        for (running, of_batch) in running.into_iter().zip([&mean.detach(), &unbiased]) {
            let _ = running.shallow_clone().g_mul_scalar_(1.0 - momentum).g_add_(&(of_batch * momentum));
        }
    }
    centred * (variance + epsilon).rsqrt().unsqueeze(0)
}

/// The sum of all ranks' `x`.
fn sum(x: &Tensor, ranks: &Arc<dyn Collective>) -> Tensor {
    let ranks = Arc::clone(ranks);
    let reduce = move |tensor: &Tensor| ranks.all_reduce(tensor).map_err(|error| error.to_string());
    through(x, reduce).unwrap_or_else(|_| x * f64::INFINITY)
}
