//! From pixels to tokens: patches, class token, positions.

use tch::{IndexOp, Kind, Tensor};

use crate::model::ModelConfig;
use crate::model::init::Init;
use crate::model::params::Builder;

/// What the published code adds to a grid's size before it divides, against rounding.
const GRID_MARGIN: f64 = 0.1;

/// Patch embedding, class token and position table.
#[derive(Debug)]
pub(super) struct Embedding {
    cls_token: Tensor,
    /// `[1, 1 + grid², D]`: the class token's position, then the patches' row by row.
    pos_embed: Tensor,
    /// `[D, 3, patch, patch]`.
    weight: Tensor,
    bias: Tensor,
    grid: i64,
    patch_size: i64,
    /// What the patches are multiplied in.
    kind: Kind,
}

impl Embedding {
    pub(super) fn new(builder: &mut Builder<'_>, config: &ModelConfig) -> Embedding {
        let (width, patch, grid) = (config.embed_dim, config.patch_size, config.grid());
        let cls_token = builder.param("cls_token", &[1, 1, width], Init::WEIGHT);
        let pos_embed = builder.param("pos_embed", &[1, 1 + grid * grid, width], Init::WEIGHT);
        let mut embed = builder.at("patch_embed");
        let mut proj = embed.at("proj");
        let init = Init::framework_default(3 * patch * patch);
        let weight = proj.param("weight", &[width, 3, patch, patch], init);
        let bias = proj.param("bias", &[width], init);
        Embedding { cls_token, pos_embed, weight, bias, grid, patch_size: patch, kind: config.precision.kind() }
    }

    /// Normalised pixels `[N, 3, H, W]` to tokens `[N, 1 + P, D]`. Rows and columns beyond the last whole patch are
    /// not seen.
    pub(super) fn forward(&self, pixels: &Tensor) -> Tensor {
        let (samples, height, width) = (pixels.size()[0], pixels.size()[2], pixels.size()[3]);
        let stride = [self.patch_size; 2];
        let [pixels, weight, bias] = [pixels, &self.weight, &self.bias].map(|tensor| tensor.to_kind(self.kind));
        let patches = pixels.conv2d(&weight, Some(&bias), stride, [0; 2], [1; 2], 1);
        let patches = patches.to_kind(Kind::Float).flatten(2, 3).transpose(1, 2);
        let cls_token = self.cls_token.expand([samples, -1, -1], false);
        Tensor::cat(&[cls_token, patches], 1) + self.positions(height, width)
    }

    /// The positions of an input of `height` by `width` pixels, `[1, 1 + P, D]`.
    ///
    /// Quirk kept from the published code: the table is resized bicubically with the *scale factor* (n + 0.1) / grid,
    /// not with the ratio of the sizes, and taken as it is only for a square input of exactly its own number of patches.
    pub(super) fn positions(&self, height: i64, width: i64) -> Tensor {
        let rows_columns = [height / self.patch_size, width / self.patch_size];
        if height == width && rows_columns == [self.grid; 2] {
            return self.pos_embed.shallow_clone();
        }
        let channels = self.pos_embed.size()[2];
        let table = self.pos_embed.i((.., 1.., ..)).reshape([1, self.grid, self.grid, channels]).permute([0, 3, 1, 2]);
        let scales = rows_columns.map(|patches| (patches as f64 + GRID_MARGIN) / self.grid as f64);
        let sizes = scales.map(|scale| (self.grid as f64 * scale).floor() as i64);
        let resized = table.upsample_bicubic2d(sizes, false, scales[0], scales[1]);
        let patches = resized.permute([0, 2, 3, 1]).reshape([1, -1, channels]);
        Tensor::cat(&[self.pos_embed.i((.., ..1, ..)), patches], 1)
    }
}
