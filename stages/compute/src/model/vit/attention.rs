//! Multi-head self-attention.

use tch::{Kind, Tensor};

use crate::model::ModelConfig;
use crate::model::init::Init;
use crate::model::layers::Linear;
use crate::model::params::Builder;

/// Self-attention over the tokens of each sample.
#[derive(Debug)]
pub(super) struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: i64,
}

impl Attention {
    pub(super) fn new(mut builder: Builder<'_>, config: &ModelConfig) -> Attention {
        let width = config.embed_dim;
        Attention {
            qkv: Linear::new(builder.at("qkv"), width, 3 * width, Init::WEIGHT),
            proj: Linear::new(builder.at("proj"), width, width, Init::WEIGHT),
            heads: config.num_heads,
        }
    }

    /// Tokens `[N, T, D]` to the same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let [query, key, value] = self.query_key_value(x);
        let no_mask = None::<&Tensor>;
        let mixed = Tensor::scaled_dot_product_attention(&query, &key, &value, no_mask, 0.0, false, None, false);
        self.proj.forward(&mixed.transpose(1, 2).reshape_as(x))
    }

    /// The attention weights themselves, `[N, heads, T, T]`: query, then key; rows sum to 1.
    pub(super) fn weights(&self, x: &Tensor) -> Tensor {
        let [query, key, _] = self.query_key_value(x);
        let scale = 1.0 / (query.size()[3] as f64).sqrt();
        (query.matmul(&key.transpose(-2, -1)) * scale).softmax(-1, Kind::Float)
    }

    /// Three tensors `[N, heads, T, D / heads]`, views of one.
    fn query_key_value(&self, x: &Tensor) -> [Tensor; 3] {
        let (samples, tokens, width) = (x.size()[0], x.size()[1], x.size()[2]);
        let split = [samples, tokens, 3, self.heads, width / self.heads];
        let qkv = self.qkv.forward(x).reshape(split).permute([2, 0, 3, 1, 4]);
        [0, 1, 2].map(|part| qkv.select(0, part))
    }
}
