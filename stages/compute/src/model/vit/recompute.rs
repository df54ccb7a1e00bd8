//! Backward passes that compute activations once more in place of keeping them.
//!
//! T. Chen et al.: "Training deep nets with sublinear memory cost", 2016: of each block only the input is kept; the
//! backward pass runs the block again, so that the activations of one block exist at a time. It costs about a third
//! more time.

use tch::{TchError, Tensor, no_grad_guard};

use super::backbone::Backbone;
use super::drop_path::DropPath;

/// What a forward pass of the blocks kept for its backward pass.
#[derive(Debug)]
pub struct Kept {
    pixels: Tensor,
    /// What went into each block, `[N, 1 + P, D]`, without a graph.
    inputs: Vec<Tensor>,
    /// What the last block gave, where the graph of all that follows begins.
    output: Tensor,
    /// The number of the first crop, for stochastic depth.
    first_crop: usize,
}

impl Kept {
    /// The blocks' output before the final norm, `[N, 1 + P, D]`.
    pub(in crate::model) fn tokens(&self) -> &Tensor {
        &self.output
    }
}

impl Backbone {
    /// [`tokens_of_crops`](Self::tokens_of_crops) without a graph, but with what [`back`](Self::back) needs.
    pub(in crate::model) fn keep(&self, pixels: &Tensor, drop_path: &DropPath<'_>, first_crop: usize) -> Kept {
        let _no_grad = no_grad_guard();
        let crops = drop_path.starting_at(first_crop);
        let mut inputs = Vec::new();
        let output = self.blocks().iter().fold(self.embed(pixels), |tokens, block| {
            let next = block.forward(&tokens, &crops);
            inputs.push(tokens);
            next
        });
        Kept { pixels: pixels.shallow_clone(), inputs, output: output.set_requires_grad(true), first_crop }
    }

    /// Goes on with the backward pass of a loss that has reached `kept`'s tokens, down to the pixels. `drop_path` is that
    /// of the forward pass.
    ///
    /// # Errors
    /// The library that computes gave up, for example for want of memory.
    pub(in crate::model) fn back(&self, kept: Kept, drop_path: &DropPath<'_>) -> Result<(), TchError> {
        let Kept { pixels, mut inputs, output, first_crop } = kept;
        let crops = drop_path.starting_at(first_crop);
        let mut gradient = output.grad();
        drop(output);
        for block in self.blocks().iter().rev() {
            let Some(input) = inputs.pop() else { break };
            let input = input.set_requires_grad(true);
            follow(&block.forward(&input, &crops), &gradient)?;
            gradient = input.grad();
        }
        follow(&self.embed(&pixels), &gradient)
    }
}

/// The backward pass of a loss whose gradient by `output` is `gradient`.
fn follow(output: &Tensor, gradient: &Tensor) -> Result<(), TchError> {
    (output * gradient).sum(None).f_backward()
}
