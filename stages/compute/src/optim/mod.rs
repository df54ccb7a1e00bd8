//! The optimisers over four parameter groups, and the clipping of gradients before them.

mod adamw;
mod clip;
mod groups;
mod kind;
mod momentum;
mod optimizer;
mod pieces;
mod scaler;

pub use clip::factor;
pub use groups::Group;
pub use kind::OptimizerKind;
pub use optimizer::{Follow, Optimizer};
pub(crate) use pieces::pieces;
pub use scaler::LossScaler;
