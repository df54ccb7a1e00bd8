//! Mends: where a run may do what the published code was meant to do in place of what it does.

use serde::{Deserialize, Serialize};

/// Which quirks of the published code are mended. None by default, because the published numbers came with all of them.
///
/// docs/method.md, "Mends", says of each what the published code does, and what a mend changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mends {
    /// A memory's pointer moves by the number of rows written, so that every row gets its turn.
    pub memory_pointer: bool,
    /// A memory has one ring: a row is returned as what it was found by, also before it is first written.
    pub memory_rows: bool,
    /// A memory is searched with what it holds, the mean of the patch tokens after the final norm; the relation block
    /// sees the same in the query's place.
    pub memory_query: bool,
    /// The weights multiply their losses: Σ wᵢ Lᵢ / Σ wᵢ.
    pub loss_weights: bool,
    /// No initial weight is minus infinity cut to −2: a uniform draw of 0 counts as the next larger one.
    pub initial_tail: bool,
    /// `cls_token`, `pos_embed` and a trainable `weight_g` are not decayed.
    pub decay_tokens: bool,
}
