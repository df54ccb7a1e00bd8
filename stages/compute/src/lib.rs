//! The compute stage: model, heads, losses, memory, optimizer, teacher, checkpoint and evaluation.

pub mod checkpoint;
pub mod collective;
pub mod evaluate;
mod library;
pub mod loss;
pub mod memory;
mod mends;
pub mod model;
mod mutants;
pub mod named;
pub mod optim;
mod ring;
pub mod schedule;
pub mod state;
pub mod trainer;

pub use mends::Mends;
pub use ring::RowAges;

// The golden runs, which notice wrong trainers: their helpers are shared with the golden tests.
#[cfg(test)]
extern crate self as mugs_compute;
#[cfg(test)]
#[allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
#[allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#[path = "../tests/golden_train/run.rs"]
mod run;
#[cfg(test)]
#[allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#[path = "../tests/golden_train/tiny.rs"]
mod tiny;
