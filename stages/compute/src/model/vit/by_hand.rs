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
        let trace = self.trace(x, crops);
        let (taken, hidden) = &trace.mlp;
        let output = hidden.as_ref().map(|hidden| self.fc2.forward(&gelu(hidden)));
        (taken.add(&trace.middle, output), trace)
    }

    /// What [`run`](Self::run) keeps, without what it gives.
    pub(super) fn trace(&self, x: &Tensor, crops: &Crops<'_>) -> Trace {
        let taken = |branch| crops.taken(Site { block: self.index, branch }, self.drop_rate, x, self.leaves_out);
        let (takes_attention, takes_mlp) = (taken(Branch::Attention), taken(Branch::Mlp));
        let attention = takes_attention.of(x).map(|taken| self.attention.run(&self.norm1.forward(&taken)));
        let (output, mixed) = attention.unzip();
        let middle = takes_attention.add(x, output);
        let hidden = takes_mlp.of(&middle).map(|taken| self.fc1.forward(&self.norm2.forward(&taken)));
        Trace { attention: (takes_attention, mixed), middle, mlp: (takes_mlp, hidden) }
    }

    /// For the gradient `[N, T, D]` float32 of a loss by what [`run`](Self::run) gave for `x`, which it may overwrite: adds
    /// to the weights' gradients, also where nobody takes a branch, and gives the gradient by `x`. No graph is being
    /// recorded.
    ///
    /// # Errors
    /// The library that computes gave up, for example for want of memory.
    pub(super) fn back(&self, x: &Tensor, trace: Trace, gradient: Tensor) -> Result<Tensor, TchError> {
        self.begin_gradients()?;
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

    /// Ranks lay gradients out alike, and optimisers step alike, whoever skipped what.
    fn begin_gradients(&self) -> Result<(), TchError> {
        self.norm1.begin_gradients()?;
        self.attention.begin_gradients()?;
        self.norm2.begin_gradients()?;
        self.fc1.begin_gradients()?;
        self.fc2.begin_gradients()
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, no_grad};

    use super::*;
    use crate::model::params::{Builder, Params};
    use crate::model::vit::DropPath;
    use crate::model::{Arch, Init, ModelConfig, Source};

    const SAMPLES: i64 = 6;

    fn block(drop_rate: f64, kind: Kind) -> (Params, Block) {
        let config = ModelConfig { embed_dim: 12, num_heads: 3, ..ModelConfig::new(Arch::VitTiny) };
        let mut params = Params::default();
        let builder = Builder::new(&mut params, true, Source::seeded(7, Device::Cpu), kind);
        let block = Block::new(builder, &config, 3, drop_rate);
        // Biases start at 0 and norms at 1 and 0, where a fault could hide.
        no_grad(|| {
            for param in &params {
                param.tensor.shallow_clone().copy_(&(random(&param.name, &param.tensor.size()) * 0.3));
            }
        });
        (params, block)
    }

    fn random(name: &str, shape: &[i64]) -> Tensor {
        Source::seeded(1, Device::Cpu).tensor(name, shape, Init::Normal)
    }

    fn close(found: &Tensor, expected: &Tensor, allowed: f64, what: &str) {
        let scale = expected.abs().max().double_value(&[]).max(1.0);
        let difference = (found - expected).abs().max().double_value(&[]) / scale;
        assert!(difference < allowed, "{what}: {difference:e}");
    }

    /// `rounds` passes both ways, compared with automatic differentiation: the result, and all gradients.
    fn compare(
        (kind, leaves_out): (Kind, bool),
        drop_rate: f64,
        draw: impl Fn(Branch, usize) -> f32 + Copy,
        rounds: usize,
        what: &str,
    ) {
        let allowed = if kind == Kind::Float { 5e-6 } else { 0.03 };
        let (x, by_output) = (random("x", &[SAMPLES, 5, 12]), random("gradient", &[SAMPLES, 5, 12]));
        let drop_path = DropPath::from_draws(2, |site, crop, image| draw(site.branch, 2 * crop + image));
        let crops = drop_path.starting_at(0);
        let ((expected, defined), (found, block)) = (block(drop_rate, kind), block(drop_rate, kind));
        let block = Block { leaves_out, ..block };
        let leaf = x.copy().set_requires_grad(true);
        for _ in 0..rounds {
            (defined.forward(&leaf, &crops) * &by_output).sum(None).backward();
        }
        no_grad(|| {
            for _ in 0..rounds {
                let (output, trace) = block.run(&x, &crops);
                close(&output, &defined.forward(&x, &crops), allowed, &format!("{what}: output"));
                let by_x = block.back(&x, trace, by_output.copy()).unwrap();
                close(&(by_x * rounds as f64), &leaf.grad(), allowed, &format!("{what}: input"));
            }
        });
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.tensor.grad().defined(), "{what}: {}", found.name);
            close(&found.tensor.grad(), &expected.tensor.grad(), allowed, &format!("{what}: {}", found.name));
        }
    }

    #[test]
    fn both_passes_are_those_of_automatic_differentiation() {
        let some = |branch, row: usize| f32::from(u8::from(row.is_multiple_of(3) == (branch == Branch::Mlp))) * 0.5;
        for kind in [(Kind::Float, true), (Kind::Float, false), (Kind::BFloat16, true), (Kind::BFloat16, false)] {
            compare(kind, 0.0, |_, _| 0.0, 1, "no stochastic depth");
            compare(kind, 0.0, |_, _| 0.0, 3, "sums of three");
            // A sample takes a branch where 1 − rate + draw is 1 or more.
            compare(kind, 0.25, |_, _| 0.5, 2, "all take both");
            compare(kind, 0.25, some, 2, "some");
            compare(kind, 0.25, |branch, _| if branch == Branch::Mlp { 0.5 } else { 0.0 }, 1, "nobody takes attention");
            compare(kind, 0.25, |branch, _| if branch == Branch::Mlp { 0.0 } else { 0.5 }, 1, "nobody takes the MLP");
            compare(kind, 0.25, |_, _| 0.0, 1, "nobody takes anything");
        }
    }
}
