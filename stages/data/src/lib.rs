//! The data stages: fetch, decode, crop (plan and render) and batch, without libtorch.

pub mod crop;
pub mod order;
