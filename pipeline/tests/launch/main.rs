//! Launching: the supervisor with real processes, launchers of this machine, the examples and the page for clusters.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod commands;
mod containers;
mod examples;
mod launchers;
mod supervisor;
