//! What libtorch has and its Rust binding lacks: the TCP store in which ranks meet, collectives over Gloo, hooks on
//! gradients, gradients of a part of a graph, and exchanges that gradients flow through. Knows nothing of Mugs.

mod autograd;
mod gloo;
mod native;
mod store;

pub use autograd::{Unhook, gradients_by, hook_gradient, set_gradient, through};
pub use gloo::{Address, Gloo, GlooError, GlooWork};
pub use store::{StoreError, TcpStore};
