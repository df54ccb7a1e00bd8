//! Checkpoint files: the published one read in full, ours read by PyTorch, damaged ones refused.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod damaged;
mod golden;
mod interop;
mod sample;
