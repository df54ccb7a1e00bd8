//! The backbone: embedding, blocks, final norm, and the relation block that shares the norm.

use tch::{IndexOp, Tensor};

use super::block::Block;
use super::drop_path::{Crops, DropPath};
use super::embed::Embedding;
use crate::model::ModelConfig;
use crate::model::layers::LayerNorm;
use crate::model::params::Builder;
use crate::model::relation::RelationBlock;

/// A vision transformer with a relation block.
///
/// Its parts are separate methods: `tokens` gives the blocks' output *before* the final norm, from which the query,
/// the class token and the patch mean are taken.
#[derive(Debug)]
pub struct Backbone {
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    relation: RelationBlock,
    /// `memory_query` of [`Mends`](crate::Mends).
    mended_query: bool,
}

impl Backbone {
    pub(in crate::model) fn new(mut builder: Builder<'_>, config: &ModelConfig) -> Backbone {
        let embedding = Embedding::new(&mut builder, config);
        let rates = config.drop_path_rates();
        let mut list = builder.at("blocks");
        let blocks = rates.iter().enumerate().map(|(i, rate)| Block::new(list.at(i), config, i, *rate)).collect();
        let norm = LayerNorm::new(builder.at("norm"), config.embed_dim);
        let relation = RelationBlock::new(builder.at("relation_blocks"), config);
        Backbone { embedding, blocks, norm, relation, mended_query: config.mends.memory_query }
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// What goes into the first block: pixels `[N, 3, H, W]` to `[N, 1 + P, D]`.
    pub fn embed(&self, pixels: &Tensor) -> Tensor {
        self.embedding.forward(pixels)
    }

    /// The position embedding of an input of `height` by `width` pixels, `[1, 1 + P, D]`.
    pub fn positions(&self, height: i64, width: i64) -> Tensor {
        self.embedding.positions(height, width)
    }

    /// What comes out of each block in turn for embedded tokens `[N, 1 + P, D]`, without stochastic depth, before the
    /// final norm.
    pub fn trace(&self, embedded: Tensor) -> impl Iterator<Item = Tensor> {
        let mut tokens = embedded;
        self.blocks.iter().map(move |block| {
            tokens = block.forward(&tokens, &DropPath::off().starting_at(0));
            tokens.shallow_clone()
        })
    }

    /// The blocks' output before the final norm, `[N, 1 + P, D]`, without stochastic depth.
    pub fn tokens(&self, pixels: &Tensor) -> Tensor {
        self.tokens_of_crops(pixels, &DropPath::off(), 0)
    }

    /// [`tokens`](Self::tokens) with stochastic depth, for samples crop by crop of which the first crop has number
    /// `first_crop`.
    pub fn tokens_of_crops(&self, pixels: &Tensor, drop_path: &DropPath<'_>, first_crop: usize) -> Tensor {
        let crops: Crops<'_> = drop_path.starting_at(first_crop);
        self.blocks.iter().fold(self.embed(pixels), |tokens, block| block.forward(&tokens, &crops))
    }

    /// The final norm of each token, `[…, D]` to the same shape.
    pub fn normed(&self, tokens: &Tensor) -> Tensor {
        self.norm.forward(tokens)
    }

    /// Class tokens after the norm, `[N, D]`.
    pub fn class_token(&self, tokens: &Tensor) -> Tensor {
        self.norm.forward(&tokens.i((.., 0)))
    }

    /// Means of the patch tokens after the norm, `[N, D]`.
    pub fn patch_mean(&self, tokens: &Tensor) -> Tensor {
        self.norm.forward(&tokens.i((.., 1.., ..))).mean_dim(1, false, None)
    }

    /// What the memory is searched for, and what stands before its rows in the relation block: the mean of all tokens,
    /// `[N, D]`.
    ///
    /// Quirk kept from the published code: it includes the class token and is taken before the norm, while the memory
    /// holds patch means from after the norm. The mend takes the patch mean. The gradient flows through either as the
    /// relation block's first token, in the mend's case through the final norm too; none flows through the search.
    pub fn query(&self, tokens: &Tensor) -> Tensor {
        if self.mended_query { self.patch_mean(tokens) } else { tokens.mean_dim(1, false, None) }
    }

    /// The local-group token, `[N, D]`: the first of `tokens` after the relation block and the norm. `tokens` is a
    /// query followed by its neighbours, `[N, 1 + n, D]` (see [`beside`](RelationBlock::beside)), or all tokens of an
    /// image.
    pub fn relation(&self, tokens: &Tensor) -> Tensor {
        self.norm.forward(&self.relation.forward(tokens).i((.., 0)))
    }

    /// Normed tokens after each of the last `count` blocks, oldest first, `[N, 1 + P, D]` each. All blocks where there
    /// are not that many.
    pub fn last_blocks(&self, pixels: &Tensor, count: usize) -> Vec<Tensor> {
        let skipped = self.blocks.len().saturating_sub(count);
        self.trace(self.embed(pixels)).skip(skipped).map(|tokens| self.normed(&tokens)).collect()
    }

    /// Attention weights of the last block, `[N, heads, 1 + P, 1 + P]`: query, then key.
    pub fn last_attention(&self, pixels: &Tensor) -> Tensor {
        let embedded = self.embed(pixels);
        let Some((last, before)) = self.blocks.split_last() else { return embedded };
        let off = DropPath::off();
        let tokens = before.iter().fold(embedded, |tokens, block| block.forward(&tokens, &off.starting_at(0)));
        last.attention_weights(&tokens)
    }
}
