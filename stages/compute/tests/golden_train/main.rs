//! Schedules, parameter groups and whole training runs against numbers of the published implementation
//! (`tests/golden/model`).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod accumulate;
#[allow(dead_code, reason = "not every helper is needed here")]
#[path = "../common/mod.rs"]
mod common;
mod group;
mod groups;
mod mends;
mod overlap;
mod precision;
mod published;
mod ranks;
mod run;
mod runs;
mod schedules;
mod state;
mod tiny;
