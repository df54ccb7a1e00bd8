//! End-to-end tests, one binary with a module per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod bad_samples;
mod command;
mod decoding;
mod doctor;
mod dump;
mod faults;
mod hosts;
mod inspect;
mod interop;
mod killed;
mod meters;
mod pictures;
mod precision;
mod published;
mod ranks;
mod resume;
mod support;
mod team;
mod tensorboard;
mod trouble;
