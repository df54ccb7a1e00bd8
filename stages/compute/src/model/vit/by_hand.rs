//! A block's backward pass by hand.
//!
//! Automatic differentiation keeps what each operation needs and gives each weight's gradient as a tensor of its own. By
//! hand, what is large and cheap (the norms' and GELU's outputs) is computed again, a weight's gradient grows in place with
//! one product, and samples that skip a branch cost nothing in either pass. [`Block::forward`] is the definition, and the measure of the tests below.

use tch::{TchError, Tensor};

use super::attention::Mixed;
use super::block::Block;
use super::drop_path::{Branch, Crops, Site, Taken};
use crate::model::layers::gelu;

/// What a block's forward pass keeps for its backward pass, beside the tokens that went in.
#[derive(Debug)]
pub(super) struct Trace {
    /// Who takes the attention branch and what it kept, if anybody does.
    attention: (Taken, Option<Mixed>),
    /// The tokens between the branches, `[N, T, D]`.
    middle: Tensor,
    /// Who takes the MLP branch and the hidden layer before GELU, `[taken, T, hidden]`, if anybody does.
    mlp: (Taken, Option<Tensor>),
}

impl Block {
    /// [`forward`](Self::forward) without a graph, with what [`back`](Self::back) needs. No graph is being recorded.
    pub(super) fn run(&self, x: &Tensor, crops: &Crops<'_>) -> (Tensor, Trace) {
        let taken = |branch| crops.taken(Site { block: self.index, branch }, self.drop_rate, x);
        let (takes_attention, takes_mlp) = (taken(Branch::Attention), taken(Branch::Mlp));
        let attention = takes_attention.of(x).map(|taken| self.attention.run(&self.norm1.forward(&taken)));
        let (output, mixed) = attention.unzip();
        let middle = takes_attention.add(x, output);
        let hidden = takes_mlp.of(&middle).map(|taken| self.fc1.forward(&self.norm2.forward(&taken)));
        let output = hidden.as_ref().map(|hidden| self.fc2.forward(&gelu(hidden)));
        let last = takes_mlp.add(&middle, output);
        (last, Trace { attention: (takes_attention, mixed), middle, mlp: (takes_mlp, hidden) })
    }

    /// For the gradient `[N, T, D]` float32 of a loss by what [`run`](Self::run) gave for `x`, which it may overwrite: adds
    /// to the weights' gradients, and gives the gradient by `x`. No graph is being recorded.
    ///
    /// # Errors
    /// The library that computes gave up, for example for want of memory.
    pub(super) fn back(&self, x: &Tensor, trace: Trace, gradient: Tensor) -> Result<Tensor, TchError> {
        let Trace { attention: (takes_attention, mixed), middle, mlp: (takes_mlp, hidden) } = trace;
        let mut gradient = gradient;
        if let (Some(taken), Some(hidden)) = (takes_mlp.of(&middle), hidden) {
            let by_hidden = {
                let by_active = self.fc2.back(&gelu(&hidden), &takes_mlp.by_output(&gradient))?;
                hidden.f_gelu_backward(&by_active, "none")?
            };
            drop(hidden);
            let (input, normed) = self.norm2.again(&taken);
            let by_normed = self.fc1.back(&normed.detach(), &by_hidden)?;
            takes_mlp.add_in_place(&mut gradient, &self.norm2.back(&input, &normed, &by_normed)?)?;
        }
        drop(middle);
        if let (Some(taken), Some(mixed)) = (takes_attention.of(x), mixed) {
            let (input, normed) = self.norm1.again(&taken);
            let by_normed = self.attention.back(&normed.detach(), mixed, &takes_attention.by_output(&gradient))?;
            takes_attention.add_in_place(&mut gradient, &self.norm1.back(&input, &normed, &by_normed)?)?;
        }
        Ok(gradient)
    }
}
