//! The layers that everything else is made of.

use tch::Tensor;

use super::init::Init;
use super::params::Builder;

/// The epsilon of every layer norm.
const LAYER_NORM_EPSILON: f64 = 1e-6;
/// Below this length a vector is divided by this instead of its length, as `torch.nn.functional.normalize` does.
const SMALLEST_LENGTH: f64 = 1e-12;

/// An affine map of the last dimension.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// With a bias that starts at 0.
    pub(super) fn new(mut builder: Builder<'_>, inputs: i64, outputs: i64, init: Init) -> Linear {
        let weight = builder.param("weight", &[outputs, inputs], init);
        Linear { weight, bias: Some(builder.param("bias", &[outputs], Init::Zeros)) }
    }

    /// Without a bias.
    pub(super) fn unbiased(mut builder: Builder<'_>, inputs: i64, outputs: i64, init: Init) -> Linear {
        Linear { weight: builder.param("weight", &[outputs, inputs], init), bias: None }
    }

    /// `[…, inputs]` to `[…, outputs]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
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

    /// `[…, width]` to the same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let width = self.weight.size();
        x.layer_norm(width, Some(&self.weight), Some(&self.bias), LAYER_NORM_EPSILON, false)
    }
}

/// The exact (erf) GELU.
pub(super) fn gelu(x: &Tensor) -> Tensor {
    x.gelu("none")
}

/// `x` `[…, width]` with every row divided by its L2 norm.
pub fn unit_length(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2, [-1], true).clamp_min(SMALLEST_LENGTH)
}
