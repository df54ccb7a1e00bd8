//! The layers that everything else is made of.

use std::sync::Arc;

use tch::{Kind, TchError, Tensor, with_grad};

use super::gradients::{add, add_product, begin, rows, sum_of_rows, through_graph};
use super::init::Init;
use super::params::Builder;
use super::sync_norm;
use crate::collective::Collective;

/// The epsilon of every layer norm.
const LAYER_NORM_EPSILON: f64 = 1e-6;
/// Below this length a vector is divided by this instead of its length, as `torch.nn.functional.normalize` does.
const SMALLEST_LENGTH: f64 = 1e-12;

/// An affine map of the last dimension.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    /// What it multiplies in, and what it gives.
    kind: Kind,
}

impl Linear {
    /// With a bias that starts at 0.
    pub(super) fn new(mut builder: Builder<'_>, inputs: i64, outputs: i64, init: Init) -> Linear {
        let weight = builder.param("weight", &[outputs, inputs], init);
        Linear { weight, bias: Some(builder.param("bias", &[outputs], Init::Zeros)), kind: builder.kind() }
    }

    /// Without a bias.
    pub(super) fn unbiased(mut builder: Builder<'_>, inputs: i64, outputs: i64, init: Init) -> Linear {
        let weight = builder.param("weight", &[outputs, inputs], init);
        Linear { weight, bias: None, kind: builder.kind() }
    }

    /// `[…, inputs]` to `[…, outputs]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        // Of the kind already, `to_kind` gives the tensor itself.
        let bias = self.bias.as_ref().map(|bias| bias.to_kind(self.kind));
        x.to_kind(self.kind).linear(&self.weight.to_kind(self.kind), bias)
    }

    /// Gives weight and bias a gradient, 0 where they have none.
    pub(super) fn begin_gradients(&self) -> Result<(), TchError> {
        std::iter::once(&self.weight).chain(&self.bias).try_for_each(|parameter| begin(parameter).map(drop))
    }

    /// For `x` `[…, inputs]` and the gradient `by_output` `[…, outputs]` of a loss by what became of it: adds to the
    /// weights' gradients, and gives the gradient by `x`, of the kind it multiplies in. No graph is being recorded.
    pub(super) fn back(&self, x: &Tensor, by_output: &Tensor) -> Result<Tensor, TchError> {
        let [inputs, by_outputs] = [x, by_output].map(|tensor| rows(&tensor.to_kind(self.kind)));
        add_product(&self.weight, &by_outputs, &inputs)?;
        if let Some(bias) = &self.bias {
            add(bias, &sum_of_rows(&by_outputs))?;
        }
        by_outputs.f_matmul(&self.weight.to_kind(self.kind))?.f_view_as(x)
    }
}

/// Normalises the last dimension to mean 0 and variance 1, then scales and shifts each channel.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub(super) fn new(mut builder: Builder<'_>, width: i64) -> LayerNorm {
        let weight = builder.param("weight", &[width], Init::Ones);
        LayerNorm { weight, bias: builder.param("bias", &[width], Init::Zeros) }
    }

    /// `[…, width]` to the same shape, float32.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let width = self.weight.size();
        x.to_kind(Kind::Float).layer_norm(width, Some(&self.weight), Some(&self.bias), LAYER_NORM_EPSILON, false)
    }

    /// [`forward`](Self::forward) with a graph of its own, from `x` as a leaf: that leaf and the result.
    pub(super) fn again(&self, x: &Tensor) -> (Tensor, Tensor) {
        let input = x.detach().set_requires_grad(true);
        let normed = with_grad(|| self.forward(&input));
        (input, normed)
    }

    /// Gives scale and shift a gradient, 0 where they have none.
    pub(super) fn begin_gradients(&self) -> Result<(), TchError> {
        [&self.weight, &self.bias].into_iter().try_for_each(|parameter| begin(parameter).map(drop))
    }

    /// For what [`again`](Self::again) gave and the gradient of a loss by the result: adds to the weights' gradients, and
    /// gives the gradient by `x`, float32.
    pub(super) fn back(&self, input: &Tensor, normed: &Tensor, by_normed: &Tensor) -> Result<Tensor, TchError> {
        let [by_input, by_weight, by_bias] = through_graph([input, &self.weight, &self.bias], normed, by_normed)?;
        add(&self.weight, &by_weight)?;
        add(&self.bias, &by_bias)?;
        Ok(by_input)
    }
}

/// The share of a batch's statistics in the running ones.
const BATCH_NORM_MOMENTUM: f64 = 0.1;
/// The epsilon of every BatchNorm.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Normalises every channel over the rows of a batch, then scales and shifts it.
///
/// S. Ioffe and C. Szegedy: "Batch normalization", ICML 2015. Student and teacher alike run on the batch's statistics;
/// the running ones are kept up to date and stored, but nothing reads them. Of several ranks the batch is that of all.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    /// Where there are several.
    ranks: Option<Arc<dyn Collective>>,
}

impl BatchNorm {
    pub(super) fn new(mut builder: Builder<'_>, width: i64) -> BatchNorm {
        BatchNorm {
            weight: builder.param("weight", &[width], Init::Ones),
            bias: builder.param("bias", &[width], Init::Zeros),
            running_mean: builder.buffer("running_mean", &[width], Init::Zeros),
            running_var: builder.buffer("running_var", &[width], Init::Ones),
            num_batches_tracked: builder.counter("num_batches_tracked"),
            ranks: None,
        }
    }

    /// Normalises over the batches of all `ranks` together from now on.
    pub(super) fn share(&mut self, ranks: &Arc<dyn Collective>) {
        self.ranks = Some(Arc::clone(ranks));
    }

    /// `[rows, width]` to the same shape, float32; takes the batch into the running statistics.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let _ = self.num_batches_tracked.shallow_clone().g_add_scalar_(1);
        let x = x.to_kind(Kind::Float);
        if let Some(ranks) = &self.ranks {
            let running = [&self.running_mean, &self.running_var];
            let normal = sync_norm::normalise(&x, ranks, running, BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON);
            return normal * &self.weight + &self.bias;
        }
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            true,
            BATCH_NORM_MOMENTUM,
            BATCH_NORM_EPSILON,
            false,
        )
    }
}

/// The exact (erf) GELU.
pub(super) fn gelu(x: &Tensor) -> Tensor {
    x.gelu("none")
}

/// `x` `[…, width]` with every row divided by its L2 norm, float32.
pub fn unit_length(x: &Tensor) -> Tensor {
    let x = x.to_kind(Kind::Float);
    let x = &x;
    x / x.norm_scalaropt_dim(2, [-1], true).clamp_min(SMALLEST_LENGTH)
}
