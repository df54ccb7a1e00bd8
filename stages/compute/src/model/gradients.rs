//! Backward passes by hand: where the gradients of parameters add up, and what layers share.

use mugs_torch_ext::{gradients_by, set_gradient};
use tch::{TchError, Tensor};

/// The gradient of a leaf, 0 where it has none yet. An optimiser passes over a parameter without a gradient; one that took
/// part in a step has one, though it be 0.
pub(super) fn begin(parameter: &Tensor) -> Result<Tensor, TchError> {
    let sum = parameter.grad();
    if sum.defined() {
        return Ok(sum);
    }
    let zeros = parameter.detach().f_zeros_like()?;
    set_gradient(parameter, &zeros).map_err(TchError::Torch)?;
    Ok(zeros)
}

/// Adds to the gradient of a leaf in place.
pub(super) fn add(parameter: &Tensor, gradient: &Tensor) -> Result<(), TchError> {
    begin(parameter)?.f_add_(gradient).map(drop)
}

/// Adds `left`ᵀ `right` to the gradient `[m, n]` of a leaf, for `left` `[rows, m]` and `right` `[rows, n]`. Of the sum's
/// own kind the product never exists.
pub(super) fn add_product(parameter: &Tensor, left: &Tensor, right: &Tensor) -> Result<(), TchError> {
    let mut sum = begin(parameter)?;
    if sum.kind() == left.kind() { sum.f_addmm_(&left.tr(), right) } else { sum.f_add_(&left.tr().f_matmul(right)?) }
        .map(drop)
}

/// The gradients by `inputs` of a loss whose gradient by `output` is `gradient`, through the graph between them.
pub(super) fn through_graph<const N: usize>(
    inputs: [&Tensor; N],
    output: &Tensor,
    gradient: &Tensor,
) -> Result<[Tensor; N], TchError> {
    gradients_by(inputs, output, &gradient.to_kind(output.kind())).map_err(TchError::Torch)
}

/// `[…, width]` as `[rows, width]`.
pub(super) fn rows(x: &Tensor) -> Tensor {
    x.reshape([-1, x.size().last().copied().unwrap_or(1)])
}

/// The sum of rows `[rows, width]`, `[width]`.
pub(super) fn sum_of_rows(x: &Tensor) -> Tensor {
    x.sum_dim_intlist([0].as_slice(), false, None)
}
