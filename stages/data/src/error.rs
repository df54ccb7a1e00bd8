//! What can go wrong between a shard set and a batch.

use mugs_image::DecodeError;
use mugs_shards::ShardError;

use crate::item::Origin;
use crate::order::OrderError;

/// An error of a data stage; it names shard, key and byte offset where a sample is to blame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The set cannot be read, or a sample is not what was packed.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// Reading failed again and again.
    #[error("gave up reading after {attempts} attempts")]
    Retries {
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        source: ShardError,
    },
    /// The epoch cannot be put into order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A run cannot start where it was asked to.
    #[error("cannot start at step {step} of an epoch of {steps} steps")]
    Start {
        /// The step asked for.
        step: u64,
        /// The steps of an epoch.
        steps: u64,
    },
    /// A picture cannot be decoded.
    #[error("sample {} in shard {} at offset {} is bad ({}): {cause}", origin.key, origin.shard, origin.offset, cause.kind())]
    Decode {
        /// The sample.
        origin: Box<Origin>,
        /// Why not.
        cause: DecodeError,
    },
    /// No decoder can be set up.
    #[error("cannot set up a decoder: {0}")]
    Decoder(DecodeError),
    /// A stage was handed what the stage before it cannot have made: a bug.
    #[error("cannot make a batch: {0}")]
    Batch(String),
}
