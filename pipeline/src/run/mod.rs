//! A run on disk: its folder, its lock, its log, and the signals that end it.

mod folder;
mod log;
mod signals;
pub mod train_log;

pub use folder::RunFolder;
pub use log::{EpochMeans, EpochSums, RunLog};
pub use signals::{Signals, Stop};
