//! End-to-end tests, one binary with a module per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod bad_samples;
mod command;
mod decoding;
mod dump;
mod inspect;
mod interop;
mod killed;
mod meters;
mod pictures;
mod precision;
mod published;
mod resume;
mod support;
mod tensorboard;
mod trouble;
