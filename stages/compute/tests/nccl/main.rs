//! The NCCL back end: through the real loading of a library, with one that stands in for NVIDIA's on hosts without a GPU.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod calls;
mod endings;
mod fake;
mod gpu;
mod loading;
mod refusals;
