//! Multi-head self-attention.

use tch::{Device, Kind, TchError, Tensor, with_grad};

use crate::model::ModelConfig;
use crate::model::gradients::through_graph;
use crate::model::init::Init;
use crate::model::layers::Linear;
use crate::model::params::Builder;

/// What the values of each sample's tokens become, mixed by the likeness of queries and keys, `[N, heads, T, D / heads]`.
fn mix([query, key, value]: &[Tensor; 3]) -> Tensor {
    Tensor::scaled_dot_product_attention(query, key, value, None::<&Tensor>, 0.0, false, None, false)
}

/// `qkv` in the kind to mix in. A backward pass through libtorch's kernel takes two to fifteen times as long in bfloat16 as in
/// float32 on a CPU, a forward pass less.
fn for_mixing(qkv: Tensor, goes_back: bool) -> Tensor {
    if goes_back && qkv.device() == Device::Cpu { qkv.to_kind(Kind::Float) } else { qkv }
}

/// What [`Attention::back`] needs of a forward pass.
#[derive(Debug)]
pub(super) struct Mixed {
    /// Query, key and value, leaves of the graph.
    from: [Tensor; 3],
    mixed: Tensor,
}

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
        let qkv = self.qkv.forward(x);
        let goes_back = qkv.requires_grad();
        let mixed = mix(&self.split(for_mixing(qkv, goes_back)));
        self.proj.forward(&mixed.transpose(1, 2).reshape_as(x))
    }

    /// [`forward`](Self::forward) without a graph but that of the mixing itself, with what [`back`](Self::back) needs.
    pub(super) fn run(&self, x: &Tensor) -> (Tensor, Mixed) {
        let qkv = for_mixing(self.qkv.forward(x), true);
        let from = self.split(qkv).map(|part| part.detach().set_requires_grad(true));
        let mixed = with_grad(|| mix(&from));
        let output = self.proj.forward(&mixed.detach().transpose(1, 2).reshape_as(x));
        (output, Mixed { from, mixed })
    }

    /// For the gradient `[N, T, D]` of a loss by what [`run`](Self::run) gave for `x`: adds to the weights' gradients, and
    /// gives the gradient by `x`. No graph is being recorded.
    ///
    /// # Errors
    /// The library that computes gave up, for example for want of memory.
    pub(super) fn back(&self, x: &Tensor, mixed: Mixed, by_output: &Tensor) -> Result<Tensor, TchError> {
        let Mixed { from: [query, key, value], mixed } = mixed;
        let (samples, tokens, width) = (x.size()[0], x.size()[1], x.size()[2]);
        let by_mixed = self.proj.back(&mixed.detach().transpose(1, 2).reshape_as(x), by_output)?;
        let by_mixed = by_mixed.view([samples, tokens, self.heads, -1]).transpose(1, 2);
        let parts = through_graph([&query, &key, &value], &mixed, &by_mixed)?;
        let whole = Tensor::f_empty(
            [samples, tokens, 3, self.heads, width / self.heads],
            (by_mixed.kind(), by_mixed.device()),
        )?;
        for (place, part) in parts.iter().enumerate() {
            whole.select(2, place as i64).f_copy_(&part.transpose(1, 2))?;
        }
        self.qkv.back(x, &whole.view([samples, tokens, 3 * width]))
    }

    /// Gives all weights a gradient, 0 where they have none.
    pub(super) fn begin_gradients(&self) -> Result<(), TchError> {
        self.qkv.begin_gradients()?;
        self.proj.begin_gradients()
    }

    /// The attention weights themselves, `[N, heads, T, T]`: query, then key; rows sum to 1.
    pub(super) fn weights(&self, x: &Tensor) -> Tensor {
        let [query, key, _] = self.split(self.qkv.forward(x));
        let scale = 1.0 / (query.size()[3] as f64).sqrt();
        (query.matmul(&key.transpose(-2, -1)) * scale).softmax(-1, Kind::Float)
    }

    /// Query, key and value, `[N, heads, T, D / heads]` each, views of `qkv` `[N, T, 3·D]`.
    fn split(&self, qkv: Tensor) -> [Tensor; 3] {
        let (samples, tokens, width) = (qkv.size()[0], qkv.size()[1], qkv.size()[2]);
        let parts = [samples, tokens, 3, self.heads, width / (3 * self.heads)];
        let qkv = qkv.reshape(parts).permute([2, 0, 3, 1, 4]);
        [0, 1, 2].map(|part| qkv.select(0, part))
    }
}
