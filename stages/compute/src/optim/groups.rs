//! The four parameter groups, told apart by name and shape alone.

/// A parameter group of the published optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Weights, embeddings and a trainable `weight_g`.
    Normal,
    /// The patch embedding's weight, which learns more slowly.
    PatchEmbed,
    /// Biases and 1-D parameters, which are not decayed.
    NoDecay,
    /// The patch embedding's bias: neither decayed nor as fast as the others.
    PatchEmbedNoDecay,
}

impl Group {
    /// All groups in the published order.
    pub const ALL: [Group; 4] = [Group::Normal, Group::PatchEmbed, Group::NoDecay, Group::PatchEmbedNoDecay];

    /// The group of the parameter called `name` of the given `shape`.
    ///
    /// Quirk kept from the published code: `cls_token`, `pos_embed` and `weight_g` have more than one dimension, and
    /// are decayed; a mend is `decay_tokens`.
    pub fn of(name: &str, shape: &[i64]) -> Group {
        let plain = name.ends_with(".bias") || shape.len() == 1;
        match (name.contains("patch_embed"), plain) {
            (false, false) => Group::Normal,
            (true, false) => Group::PatchEmbed,
            (false, true) => Group::NoDecay,
            (true, true) => Group::PatchEmbedNoDecay,
        }
    }

    /// The group of the same parameter with `decay_tokens` of [`Mends`](crate::Mends): what is no weight matrix is not
    /// decayed.
    pub(super) fn without_tokens(self, name: &str) -> Group {
        let token = ["cls_token", "pos_embed", "last_layer.weight_g"].iter().any(|token| name.ends_with(token));
        if token { Group::NoDecay } else { self }
    }

    /// The published name.
    pub fn name(self) -> &'static str {
        match self {
            Group::Normal => "normal_params",
            Group::PatchEmbed => "patch_embed",
            Group::NoDecay => "no_wd",
            Group::PatchEmbedNoDecay => "patch_embed_no_wd",
        }
    }

    /// Whether its parameters are decayed.
    pub fn decays(self) -> bool {
        matches!(self, Group::Normal | Group::PatchEmbed)
    }

    /// Whether its parameters belong to the patch embedding.
    pub fn is_patch_embed(self) -> bool {
        matches!(self, Group::PatchEmbed | Group::PatchEmbedNoDecay)
    }
}
