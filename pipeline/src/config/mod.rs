//! The configuration of a run: defaults < recipe < file < environment < flags, checked before anything starts.

mod check;
mod drift;
mod fix;
pub mod foreign;
mod layers;
mod options;
mod parts;
pub mod recipes;
mod values;

pub use drift::{Allowed, Change, drift, let_through};
pub use fix::Fix;
pub use layers::{Resolved, Sources, normalise_flags};
pub use options::{DEFAULT_METRICS_ADDR, FREE_ON_RESUME, Flags, RunConfig};
pub use values::Assignment;
