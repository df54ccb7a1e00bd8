//! The blocks' forward and backward passes in training, by hand.
//!
//! Where activations are computed once more, of each block only the input is kept; the backward pass runs the block
//! again, so that the activations of one block exist at a time, for about a third more time (T. Chen et al.: "Training
//! deep nets with sublinear memory cost", 2016).

use tch::{TchError, Tensor, no_grad_guard};

use super::backbone::Backbone;
use super::by_hand::Trace;
use super::drop_path::DropPath;

/// What a forward pass of the blocks kept for its backward pass.
#[derive(Debug)]
pub struct Kept {
    /// What went into the first block, `[N, 1 + P, D]`, with its graph.
    embedded: Tensor,
    /// What went into each block, `[N, 1 + P, D]`, without a graph, and what the block kept; nothing where that is
    /// computed once more.
    blocks: Vec<(Tensor, Option<Trace>)>,
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
    /// [`tokens_of_crops`](Self::tokens_of_crops) with a graph of the embedding alone, and with what [`back`](Self::back)
    /// needs; `recomputes` says whether that computes activations once more.
    pub(in crate::model) fn run(
        &self,
        pixels: &Tensor,
        drop_path: &DropPath<'_>,
        first_crop: usize,
        recomputes: bool,
    ) -> Kept {
        let embedded = self.embed(pixels);
        let _no_grad = no_grad_guard();
        let crops = drop_path.starting_at(first_crop);
        let mut tokens = embedded.detach();
        let mut blocks = Vec::new();
        for block in self.blocks() {
            let (next, trace) = block.run(&tokens, &crops);
            blocks.push((std::mem::replace(&mut tokens, next), (!recomputes).then_some(trace)));
        }
        // A branch that nobody takes gives back the very tensor that went in.
        let output = tokens.detach().set_requires_grad(true);
        Kept { embedded, blocks, output, first_crop }
    }

    /// Goes on with the backward pass of a loss that has reached the tokens of `kept`, equally sized crops in each, down to
    /// the pixels. `drop_path` is that of the forward passes. Calls `whole` with a block's number as soon as all of `kept`
    /// have added to its gradients.
    ///
    /// # Errors
    /// The library that computes gave up, for example for want of memory.
    pub(in crate::model) fn back<E: From<TchError>>(
        &self,
        kept: Vec<Kept>,
        drop_path: &DropPath<'_>,
        mut whole: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut embedded = Vec::new();
        let count = kept.len();
        for (number, kept) in kept.into_iter().enumerate() {
            let last = number + 1 == count;
            let (own, gradient) = self.back_through_blocks(kept, drop_path, |block| match last {
                true => whole(block),
                false => Ok(()),
            })?;
            embedded.push((own * gradient).sum(None));
        }
        // One pass, so that each gradient of the embedding is whole at once.
        match embedded.into_iter().reduce(|sum, more| sum + more) {
            Some(sum) => Ok(sum.f_backward()?),
            None => Ok(()),
        }
    }

    /// What went into the first block, and the gradient by it.
    fn back_through_blocks<E: From<TchError>>(
        &self,
        kept: Kept,
        drop_path: &DropPath<'_>,
        mut whole: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(Tensor, Tensor), E> {
        let _no_grad = no_grad_guard();
        let Kept { embedded, mut blocks, output, first_crop } = kept;
        let crops = drop_path.starting_at(first_crop);
        let mut gradient = output.grad();
        drop(output);
        for (number, block) in self.blocks().iter().enumerate().rev() {
            let Some((input, trace)) = blocks.pop() else { break };
            let trace = trace.unwrap_or_else(|| block.trace(&input, &crops));
            gradient = block.back(&input, trace, gradient)?;
            whole(number)?;
        }
        Ok((embedded, gradient))
    }
}
