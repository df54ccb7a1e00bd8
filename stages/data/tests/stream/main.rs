//! From a folder of pictures to batches, through the data stages as the pipeline joins them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod bad_samples;
mod batches;
mod ranks;
mod support;
