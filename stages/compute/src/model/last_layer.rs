//! The group head's last layer: the largest matrix of the network, in a form that is read and written seldom.
//!
//! Each cluster's weight is a direction of any length, `weight_v`, brought to the length `weight_g`
//! (T. Salimans and D. P. Kingma: "Weight normalization", NeurIPS 2016). The normalised matrix is as large as `weight_v`,
//! 67 MB at the published sizes, so it never exists: logits are products with the directions, scaled cluster by cluster.

use tch::{Tensor, no_grad_guard};

use super::ModelConfig;
use super::init::Init;
use super::params::Builder;

/// Weights of the last layer.
#[derive(Debug)]
pub struct LastLayer {
    /// Lengths of the clusters' weights, `[clusters, 1]`.
    weight_g: Tensor,
    /// Their directions, of any length, `[clusters, bottleneck]`.
    weight_v: Tensor,
}

impl LastLayer {
    pub(super) fn new(mut builder: Builder<'_>, config: &ModelConfig) -> LastLayer {
        let (bottleneck, clusters) = (config.group_bottleneck_dim, config.group_out_dim);
        let weight_g = if config.norm_last_layer {
            builder.frozen("weight_g", &[clusters, 1], Init::Ones)
        } else {
            builder.param("weight_g", &[clusters, 1], Init::Ones)
        };
        let weight_v = builder.param("weight_v", &[clusters, bottleneck], Init::framework_default(bottleneck));
        LastLayer { weight_g, weight_v }
    }

    /// Unit vectors `[rows, bottleneck]` to logits `[rows, clusters]`, by the definition: what automatic differentiation
    /// needs, and the measure of [`call`](Self::call).
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let weight = Tensor::internal_weight_norm(&self.weight_v, &self.weight_g, 0);
        x.linear(&weight, None::<&Tensor>)
    }

    /// The same without a graph: the backward pass is [`LastLayerCall::back`].
    pub(super) fn call(&self, x: Tensor) -> LastLayerCall {
        let _no_grad = no_grad_guard();
        let scales = (&self.weight_g / self.lengths()).tr();
        let products = x.detach().matmul(&self.weight_v.tr());
        let logits = &products * &scales;
        LastLayerCall { logits, products, scales, input: x, weight_v: self.weight_v.detach() }
    }

    /// Lengths of the directions, `[clusters, 1]`.
    fn lengths(&self) -> Tensor {
        self.weight_v.norm_scalaropt_dim(2, [-1], true)
    }
}

/// The last layer's logits with what its backward pass needs.
#[derive(Debug)]
pub struct LastLayerCall {
    /// Logits, `[rows, clusters]`.
    pub(super) logits: Tensor,
    /// Products of rows and directions, `[rows, clusters]`.
    products: Tensor,
    /// What they are multiplied by, `[1, clusters]`.
    scales: Tensor,
    /// The unit vectors, `[rows, bottleneck]`, with their graph.
    input: Tensor,
    weight_v: Tensor,
}

/// What a backward pass through the last layer leaves for the gradients of its weights.
#[derive(Debug)]
pub struct LastLayerShare {
    /// The gradient by the products, `[rows, clusters]`.
    by_products: Tensor,
    /// The gradient by the scales, `[clusters]`.
    by_scales: Tensor,
    /// The unit vectors, `[rows, bottleneck]`.
    input: Tensor,
}

impl LastLayerCall {
    /// The unit vectors that went in, with their graph.
    pub fn input(&self) -> &Tensor {
        &self.input
    }

    /// For the gradient `[rows, clusters]` of a loss by the logits its gradient by the input, `[rows, bottleneck]`, and
    /// the share in the weights' gradients.
    pub fn back(&self, by_logits: &Tensor) -> (Tensor, LastLayerShare) {
        let _no_grad = no_grad_guard();
        let by_scales = (by_logits * &self.products).sum_dim_intlist([0].as_slice(), false, None);
        let by_products = by_logits * &self.scales;
        let by_input = by_products.matmul(&self.weight_v);
        (by_input, LastLayerShare { by_products, by_scales, input: self.input.detach() })
    }
}

/// The sum of the gradients of a step's parts by the last layer's weights.
#[derive(Debug)]
pub struct LastLayerGradient {
    /// By the directions as far as products depend on them, `[clusters, bottleneck]`.
    by_directions: Tensor,
    /// By the scales, `[clusters]`.
    by_scales: Tensor,
}

impl LastLayerGradient {
    /// Zeros.
    pub fn new(layer: &LastLayer) -> LastLayerGradient {
        let zeros = |like: &Tensor| like.detach().zeros_like();
        LastLayerGradient { by_directions: zeros(&layer.weight_v), by_scales: zeros(&layer.weight_g).flatten(0, -1) }
    }

    /// Back to zeros.
    pub fn clear(&mut self) {
        let _ = self.by_directions.zero_();
        let _ = self.by_scales.zero_();
    }

    /// Adds `factor` times a share, in place.
    pub fn add(&mut self, share: &LastLayerShare, factor: f64) {
        let _no_grad = no_grad_guard();
        let _ = self.by_directions.addmm_(&share.by_products.tr(), &(&share.input * factor));
        let _ = self.by_scales.g_add_(&(&share.by_scales * factor));
    }

    /// The gradients by `weight_g` `[clusters, 1]` and by `weight_v` `[clusters, bottleneck]`; the second takes the place
    /// of the sum.
    ///
    /// A scale is g / |v|, whose derivative by g is 1 / |v| and by v is −g v / |v|³.
    pub fn finish(&mut self, layer: &LastLayer) -> (Tensor, Tensor) {
        let _no_grad = no_grad_guard();
        let lengths = layer.lengths();
        let by_g = self.by_scales.unsqueeze(-1) / &lengths;
        let along = &by_g * &layer.weight_g / (&lengths * &lengths);
        let by_v = self.by_directions.addcmul_(&layer.weight_v, &-along);
        (by_g, by_v)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::Source;

    fn random(name: &str, shape: &[i64]) -> Tensor {
        Source::seeded(4, Device::Cpu).tensor(name, shape, Init::Normal)
    }

    fn close(found: &Tensor, expected: &Tensor, what: &str) {
        let difference = (found - expected).abs().max().double_value(&[]);
        assert!(difference < 2e-5, "{what}: {difference:e}");
    }

    #[test]
    fn the_backward_pass_by_hand_is_that_of_the_definition() {
        let leaf = |name: &str, shape: &[i64]| random(name, shape).set_requires_grad(true);
        let layer = LastLayer { weight_g: leaf("g", &[40, 1]), weight_v: leaf("v", &[40, 8]) };
        let (x, by_logits) = (leaf("x", &[6, 8]), random("gradient", &[6, 40]));
        let logits = layer.forward(&x);
        (&logits * &by_logits * 0.25).sum(None).backward();

        let mut sum = LastLayerGradient::new(&layer);
        let mut by_input = Vec::new();
        for round in 0..2 {
            // What an earlier step left must not matter.
            sum.clear();
            by_input.clear();
            for part in 0..3 {
                let rows = |tensor: &Tensor| tensor.narrow(0, 2 * part, 2);
                let call = layer.call(rows(&x));
                close(&call.logits, &rows(&logits), "logits");
                let (by_part, share) = call.back(&rows(&by_logits));
                by_input.push(by_part * 0.25);
                sum.add(&share, 0.25);
            }
            let (by_g, by_v) = sum.finish(&layer);
            close(&by_g, &layer.weight_g.grad(), &format!("lengths, round {round}"));
            close(&by_v, &layer.weight_v.grad(), &format!("directions, round {round}"));
        }
        close(&Tensor::cat(&by_input, 0), &x.grad(), "input");
    }
}
