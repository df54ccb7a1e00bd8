//! Configuration, launch, topology, status and commands of the Mugs pretraining pipeline.
//!
//! [`topology`] is the diagram: which stages there are, how they are joined, what may wait where. [`train`] is the
//! thread at their end.

pub mod cli;
pub mod commands;
pub mod config;
mod contact_sheet;
pub mod data;
mod device;
pub mod launch;
mod process;
pub mod render;
pub mod run;
pub mod status;
pub mod team;
pub mod topology;
pub mod train;
