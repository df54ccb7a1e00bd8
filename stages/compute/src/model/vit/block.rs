//! A transformer block.

use tch::{Device, Kind, Tensor};

use super::attention::Attention;
use super::drop_path::{Branch, Crops, Site};
use crate::model::ModelConfig;
use crate::model::init::Init;
use crate::model::layers::{LayerNorm, Linear, gelu};
use crate::model::params::Builder;

/// Pre-norm attention, then a pre-norm MLP, each added to what goes in.
#[derive(Debug)]
pub struct Block {
    pub(super) norm1: LayerNorm,
    pub(super) attention: Attention,
    pub(super) norm2: LayerNorm,
    pub(super) fc1: Linear,
    pub(super) fc2: Linear,
    /// Its number, for the address of stochastic depth's draws.
    pub(super) index: usize,
    /// The share of samples that skip a branch in training.
    pub(super) drop_rate: f64,
    /// Whether those that do are left out of it in training, not multiplied by 0. On a CPU in half precision they are not:
    /// oneDNN compiles and keeps a product for each number of rows, which takes more time and memory than it saves.
    pub(super) leaves_out: bool,
}

impl Block {
    pub(in crate::model) fn new(mut builder: Builder<'_>, config: &ModelConfig, index: usize, drop_rate: f64) -> Block {
        let (width, hidden) = (config.embed_dim, config.mlp_hidden_dim());
        let leaves_out = builder.kind() == Kind::Float || builder.device() != Device::Cpu;
        let norm1 = LayerNorm::new(builder.at("norm1"), width);
        let attention = Attention::new(builder.at("attn"), config);
        let norm2 = LayerNorm::new(builder.at("norm2"), width);
        let mut mlp = builder.at("mlp");
        let fc1 = Linear::new(mlp.at("fc1"), width, hidden, Init::WEIGHT);
        let fc2 = Linear::new(mlp.at("fc2"), hidden, width, Init::WEIGHT);
        Block { norm1, attention, norm2, fc1, fc2, index, drop_rate, leaves_out }
    }

    /// Tokens `[N, T, D]` to the same shape; `crops` says which samples skip a branch.
    pub(in crate::model) fn forward(&self, x: &Tensor, crops: &Crops<'_>) -> Tensor {
        let x = x + self.dropped(self.attention.forward(&self.norm1.forward(x)), Branch::Attention, crops);
        let mlp = self.fc2.forward(&gelu(&self.fc1.forward(&self.norm2.forward(&x))));
        x + self.dropped(mlp, Branch::Mlp, crops)
    }

    /// The weights of this block's attention for the tokens that go into the block, `[N, heads, T, T]`.
    pub(in crate::model) fn attention_weights(&self, x: &Tensor) -> Tensor {
        self.attention.weights(&self.norm1.forward(x))
    }

    fn dropped(&self, branch_output: Tensor, branch: Branch, crops: &Crops<'_>) -> Tensor {
        let site = Site { block: self.index, branch };
        match crops.factors(site, self.drop_rate, branch_output.size()[0]) {
            Some(factors) => &branch_output * factors.to_device(branch_output.device()).reshape([-1, 1, 1]),
            None => branch_output,
        }
    }
}
