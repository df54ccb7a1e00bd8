//! What a network looks like: published presets, every dimension an option.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Precision;
use crate::Mends;

/// The published sizes of the vision transformer, and the tiny one for small machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// Width 192, 12 blocks, 3 heads.
    VitTiny,
    /// Width 384, 12 blocks, 6 heads.
    VitSmall,
    /// Width 768, 12 blocks, 12 heads.
    VitBase,
    /// Width 1024, 24 blocks, 16 heads.
    VitLarge,
}

impl Arch {
    /// All of them, smallest first.
    pub const ALL: [Arch; 4] = [Arch::VitTiny, Arch::VitSmall, Arch::VitBase, Arch::VitLarge];

    /// The name on the command line and in checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Arch::VitTiny => "vit_tiny",
            Arch::VitSmall => "vit_small",
            Arch::VitBase => "vit_base",
            Arch::VitLarge => "vit_large",
        }
    }

    /// Width, number of blocks, number of attention heads.
    fn dimensions(self) -> (i64, i64, i64) {
        match self {
            Arch::VitTiny => (192, 12, 3),
            Arch::VitSmall => (384, 12, 6),
            Arch::VitBase => (768, 12, 12),
            Arch::VitLarge => (1024, 24, 16),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Arch, ConfigError> {
        let found = Arch::ALL.into_iter().find(|arch| arch.name() == name);
        found.ok_or_else(|| ConfigError::UnknownArch { name: name.to_owned() })
    }
}

/// A configuration that no network can be built from.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// No preset has this name.
    #[error("arch `{name}` is unknown; choose vit_tiny, vit_small, vit_base or vit_large")]
    UnknownArch {
        /// What was asked for.
        name: String,
    },
    /// No optimiser has this name.
    #[error("optimizer `{name}` is unknown; choose adamw, sgd or lars")]
    UnknownOptimizer {
        /// What was asked for.
        name: String,
    },
    /// No precision has this name.
    #[error("precision `{name}` is unknown; choose fp32, bf16 or fp16")]
    UnknownPrecision {
        /// What was asked for.
        name: String,
    },
    /// An option lies outside its range.
    #[error("{option} is {value}, but must be {range}")]
    OutOfRange {
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed, in words.
        range: &'static str,
    },
    /// Attention splits the width evenly over its heads.
    #[error("embed_dim {embed_dim} cannot be divided by num_heads {num_heads}; choose a multiple")]
    UnevenHeads {
        /// The width.
        embed_dim: i64,
        /// The number of heads.
        num_heads: i64,
    },
    /// The patches must tile a global crop, or the position table would not fit it.
    #[error("global_size {global_size} cannot be divided by patch_size {patch_size}; choose a multiple")]
    UnevenPatches {
        /// The size of a global crop.
        global_size: i64,
        /// The size of a patch.
        patch_size: i64,
    },
    /// Every loss is switched off.
    #[error("all loss_weights are 0: nothing would be trained; set at least one above 0")]
    NoLoss,
}

/// The dimensions and switches of a network. Student and teacher share one configuration.
///
/// Start from a preset ([`ModelConfig::new`]) and change what differs; the default is `vit_small`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Width D of the backbone, in channels. Default 384.
    pub embed_dim: i64,
    /// Number of blocks, without the relation block. Default 12.
    pub depth: i64,
    /// Attention heads per block; divides `embed_dim`. Default 6.
    pub num_heads: i64,
    /// Side of a square patch, in pixels. Default 16.
    pub patch_size: i64,
    /// Hidden width of a block's MLP as a multiple of `embed_dim`. Default 4.
    pub mlp_ratio: f64,
    /// Side of a global crop, in pixels: fixes the position table, and which crops have a patch mean. Default 224.
    pub global_size: i64,
    /// Stochastic depth of the student's last block, from 0 in the first, linear in between. Default 0.1.
    pub drop_path_rate: f64,
    /// Hidden width of the three projectors. Default 2048.
    pub head_hidden_dim: i64,
    /// Hidden width of the student's predictors. Default 4096.
    pub predictor_hidden_dim: i64,
    /// Output width of the instance head. Default 256.
    pub instance_out_dim: i64,
    /// Output width of the local-group head. Default 256.
    pub local_group_out_dim: i64,
    /// Neighbours that the relation block sees beside the query. Default 8.
    pub local_group_knn_top_n: i64,
    /// Width of the group head before its last layer. Default 256.
    pub group_bottleneck_dim: i64,
    /// Number of clusters. Default 65536.
    pub group_out_dim: i64,
    /// Whether a predictor's input has unit length. Default true.
    pub norm_before_pred: bool,
    /// Whether the three projectors have a BatchNorm before each GELU. Default false.
    pub use_bn_in_head: bool,
    /// Whether the lengths of the last layer's weights (`weight_g`) stay 1. Default false.
    pub norm_last_layer: bool,
    /// Weights of instance, local-group and group loss. 0 removes the head from the network; other values only divide
    /// (a quirk of the published code: the total is the sum of the losses over the sum of the weights), unless
    /// `mends.loss_weights` is set. Default 1, 1, 1.
    pub loss_weights: [f64; 3],
    /// What the layers multiply. Default fp32.
    pub precision: Precision,
    /// Whether the student's backward pass computes each block's activations once more in place of keeping them. Default
    /// false.
    pub checkpoint_activations: bool,
    /// Which quirks of the published code are mended, in the network and in what trains it. Default none.
    pub mends: Mends,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig::new(Arch::VitSmall)
    }
}

impl ModelConfig {
    /// The published settings for a size.
    pub fn new(arch: Arch) -> ModelConfig {
        let (embed_dim, depth, num_heads) = arch.dimensions();
        ModelConfig {
            embed_dim,
            depth,
            num_heads,
            patch_size: 16,
            mlp_ratio: 4.0,
            global_size: 224,
            drop_path_rate: 0.1,
            head_hidden_dim: 2048,
            predictor_hidden_dim: 4096,
            instance_out_dim: 256,
            local_group_out_dim: 256,
            local_group_knn_top_n: 8,
            group_bottleneck_dim: 256,
            group_out_dim: 65536,
            norm_before_pred: true,
            use_bn_in_head: false,
            norm_last_layer: false,
            loss_weights: [1.0; 3],
            precision: Precision::Fp32,
            checkpoint_activations: false,
            mends: Mends::default(),
        }
    }

    /// Patches along one side of the position table.
    pub fn grid(&self) -> i64 {
        self.global_size / self.patch_size
    }

    /// Hidden width of a block's MLP.
    pub fn mlp_hidden_dim(&self) -> i64 {
        (self.embed_dim as f64 * self.mlp_ratio) as i64
    }

    /// Which of the instance, local-group and group heads exist.
    pub fn heads(&self) -> [bool; 3] {
        self.loss_weights.map(|weight| weight > 0.0)
    }

    /// Stochastic depth per block: `torch.linspace(0, drop_path_rate, depth)`, which is symmetric around the middle.
    pub fn drop_path_rates(&self) -> Vec<f64> {
        let (end, last) = (self.drop_path_rate as f32, self.depth - 1);
        let step = end / last.max(1) as f32;
        let rate = |block: i64| match block - last {
            _ if last == 0 || block < self.depth / 2 => step * block as f32,
            // PyTorch's vectorised code rounds once here.
            from_end => (from_end as f32).mul_add(step, end),
        };
        (0..self.depth).map(|block| f64::from(rate(block))).collect()
    }

    /// Checks every option's range and what must fit together.
    ///
    /// # Errors
    /// The first option that is out of its range, by name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_ranges()?;
        if self.embed_dim % self.num_heads != 0 {
            return Err(ConfigError::UnevenHeads { embed_dim: self.embed_dim, num_heads: self.num_heads });
        }
        if self.global_size % self.patch_size != 0 {
            return Err(ConfigError::UnevenPatches { global_size: self.global_size, patch_size: self.patch_size });
        }
        if self.heads() == [false; 3] { Err(ConfigError::NoLoss) } else { Ok(()) }
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let counts = [
            ("embed_dim", self.embed_dim),
            ("depth", self.depth),
            ("num_heads", self.num_heads),
            ("patch_size", self.patch_size),
            ("global_size", self.global_size),
            ("mlp_ratio times embed_dim", self.mlp_hidden_dim()),
            ("head_hidden_dim", self.head_hidden_dim),
            ("predictor_hidden_dim", self.predictor_hidden_dim),
            ("instance_out_dim", self.instance_out_dim),
            ("local_group_out_dim", self.local_group_out_dim),
            ("local_group_knn_top_n", self.local_group_knn_top_n),
            ("group_bottleneck_dim", self.group_bottleneck_dim),
            ("group_out_dim", self.group_out_dim),
        ];
        if let Some((option, value)) = counts.into_iter().find(|(_, value)| *value < 1) {
            return Err(ConfigError::OutOfRange { option, value: value as f64, range: "at least 1" });
        }
        if !(0.0..1.0).contains(&self.drop_path_rate) {
            let (option, value) = ("drop_path_rate", self.drop_path_rate);
            return Err(ConfigError::OutOfRange { option, value, range: "at least 0 and below 1" });
        }
        match self.loss_weights.into_iter().find(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            Some(value) => Err(ConfigError::OutOfRange { option: "loss_weights", value, range: "finite, 0 or above" }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_name_and_valid() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse(), Ok(arch));
            ModelConfig::new(arch).validate().unwrap();
        }
        assert!("resnet50".parse::<Arch>().unwrap_err().to_string().contains("vit_tiny"));
    }

    #[test]
    fn bad_options_are_named() {
        let message = |change: fn(&mut ModelConfig)| {
            let mut config = ModelConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(message(|config| config.depth = 0), "depth is 0, but must be at least 1");
        assert!(message(|config| config.num_heads = 5).contains("num_heads 5"));
        assert!(message(|config| config.global_size = 100).contains("global_size 100"));
        assert!(message(|config| config.drop_path_rate = 1.0).starts_with("drop_path_rate is 1"));
        assert!(message(|config| config.loss_weights = [0.0; 3]).contains("loss_weights"));
        assert!(message(|config| config.loss_weights[1] = f64::NAN).starts_with("loss_weights is NaN"));
    }

    #[test]
    fn one_block_is_never_dropped() {
        let config = ModelConfig { depth: 1, ..ModelConfig::default() };
        assert_eq!(config.drop_path_rates(), [0.0]);
    }
}
