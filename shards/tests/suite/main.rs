//! Packs, damages and reads sets through the public API and the command.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod command;
mod damage;
mod interop;
mod packing;
mod refusals;
mod support;
mod truncation;
