//! The optimiser: AdamW over four parameter groups, and the clipping of gradients before it.

mod adamw;
mod clip;
mod groups;

pub use adamw::AdamW;
pub use clip::clip;
pub use groups::Group;
