//! The stage that turns a sample's bytes into a picture.

mod cpu;
mod skipping;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use cpu::CpuDecode;
pub use skipping::Skipping;

use crate::error::DataError;
use crate::item::{Fetched, Picture};

/// Turns one sample's bytes into a picture. Every worker has a decoder of its own.
pub trait Decode {
    /// Decodes one sample.
    ///
    /// # Errors
    /// The sample is no picture, is cut or is damaged beyond what its format tolerates; the error names it.
    fn decode(&mut self, sample: Fetched) -> Result<Picture, DataError>;
}

/// Counts pictures that were decoded with a warning (damage that libjpeg passes over): delivered, but worth a look.
/// Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<AtomicU64>);

impl Warnings {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
