//! The model, the losses and the memory against numbers of the published implementation (`tests/golden/model`).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod forward;
mod gradients;
mod init;
mod knn;
mod losses;
mod memory;
mod sizes;
