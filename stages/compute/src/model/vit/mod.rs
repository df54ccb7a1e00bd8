//! The vision transformer.
//!
//! A. Dosovitskiy et al.: "An image is worth 16x16 words", ICLR 2021, in the pre-norm form, with a class token and
//! learned position embeddings.

mod attention;
mod backbone;
mod block;
mod by_hand;
mod drop_path;
mod embed;
mod kept;

pub use backbone::Backbone;
pub use block::Block;
pub use drop_path::{Branch, DropPath, Site};
pub use kept::Kept;
