//! The compute stage: model, heads, losses, memory, optimizer, teacher, checkpoint and evaluation.

pub mod checkpoint;
pub mod evaluate;
pub mod loss;
pub mod memory;
pub mod model;
pub mod named;
pub mod optim;
mod ring;
pub mod schedule;
pub mod state;
pub mod trainer;
