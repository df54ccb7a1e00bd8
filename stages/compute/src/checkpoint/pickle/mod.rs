//! Pickle protocol 2, as far as PyTorch state dicts need it
//! (<https://docs.python.org/3/library/pickletools.html> names the opcodes).

mod opcode;
mod read;
mod tree;
mod write;

pub(super) use read::parse;
pub(super) use tree::{TensorSpec, Tree};
pub(super) use write::{Unsupported, pickle};

/// What is wrong with a pickle, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("byte {offset} of the pickle: {what}")]
pub struct PickleError {
    /// Offset in `data.pkl` of the opcode, or of the end.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
}
