//! Packs, damages and reads sets through the public API and the command.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod command;
mod commands;
mod corpus;
mod crash;
mod damage;
mod fixtures;
mod foreign;
mod interop;
mod options;
mod packing;
mod reading;
mod refusals;
mod source_faults;
mod sources;
mod support;
mod tars;
mod truncation;
mod unpack;
