//! The configuration of a run: defaults < recipe < file < environment < flags, checked before anything starts.

mod fix;
mod layers;
mod options;
mod parts;
pub mod recipes;
mod values;

pub use fix::Fix;
pub use layers::{Resolved, Sources, drift, normalise_flags};
pub use options::{DEFAULT_METRICS_ADDR, FREE_ON_RESUME, Flags, RunConfig};
pub use values::Assignment;
