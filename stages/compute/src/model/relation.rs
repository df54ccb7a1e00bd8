//! The relation block, which mixes a sample with its neighbours from the memory.

use tch::Tensor;

use super::ModelConfig;
use super::params::Builder;
use super::vit::{Block, DropPath};

/// One transformer block over a query and its neighbours (paper, section 3.2). Never skipped.
#[derive(Debug)]
pub struct RelationBlock {
    block: Block,
}

impl RelationBlock {
    pub(super) fn new(mut builder: Builder<'_>, config: &ModelConfig) -> RelationBlock {
        RelationBlock { block: Block::new(builder.at(0), config, 0, 0.0) }
    }

    /// Tokens `[N, T, D]` to the same shape, before the norm.
    pub(super) fn forward(&self, tokens: &Tensor) -> Tensor {
        self.block.forward(tokens, &DropPath::off().starting_at(0))
    }

    /// What the block sees: queries `[N, D]` followed by their neighbours `[N, n, D]`, as `[N, 1 + n, D]`. The gradient
    /// flows through the query alone.
    pub fn beside(query: &Tensor, neighbours: &Tensor) -> Tensor {
        Tensor::cat(&[query.unsqueeze(1), neighbours.detach()], 1)
    }
}
