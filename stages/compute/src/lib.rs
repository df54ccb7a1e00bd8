//! The compute stage: model, heads, losses, memory, optimizer, teacher, checkpoint and evaluation.

pub mod loss;
pub mod memory;
pub mod model;
pub mod named;
mod ring;
pub mod state;
