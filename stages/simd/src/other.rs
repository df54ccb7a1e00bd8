//! Processors without vectors of our own: the scalar path serves them.

use crate::{Kernel, Level};

/// No value exists.
#[derive(Debug, Clone, Copy)]
pub enum Vectors {}

impl Vectors {
    /// None.
    pub fn of(_: Level) -> Option<Self> {
        None
    }

    /// Never called.
    pub fn run<K: Kernel>(self, _: K) -> K::Out {
        match self {}
    }
}
