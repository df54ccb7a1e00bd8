//! The configuration of a run: defaults < file < flags, checked before anything starts.

mod layers;
mod options;
mod parts;

pub use layers::{drift, normalise_flags, resolve};
pub use options::{DEFAULT_METRICS_ADDR, FREE_ON_RESUME, Flags, RunConfig};
