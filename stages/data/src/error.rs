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
    #[error(
        "sample {} in shard {} at offset {} is bad ({}): {cause}{}",
        origin.key, origin.shard, origin.offset, cause.kind(), option(cause)
    )]
    Decode {
        /// The sample.
        origin: Box<Origin>,
        /// Why not.
        cause: DecodeError,
    },
    /// More samples of an epoch are bad than allowed.
    #[error(
        "{count} samples of epoch {epoch} are bad, `max_bad_samples` allows {most}; the last: {}; `mugs-shard verify \
         --decode` finds all that are bad",
        last.join("; ")
    )]
    TooManyBad {
        /// The epoch.
        epoch: u32,
        /// How many are bad so far.
        count: u64,
        /// How many may be.
        most: u64,
        /// What is wrong with the last ones.
        last: Vec<String>,
    },
    /// No sample can stand in for a bad one.
    #[error("nothing stands in for a bad sample: {in_a_row} in a row are bad, {why}; the first: {first}")]
    NoStandIn {
        /// Bad samples one after the other.
        in_a_row: u64,
        /// Why the search ended.
        why: String,
        /// What is wrong with the first.
        first: String,
    },
    /// No decoder can be set up.
    #[error("cannot set up a decoder: {0}")]
    Decoder(DecodeError),
    /// A stage was handed what the stage before it cannot have made: a bug.
    #[error("cannot make a batch: {0}")]
    Batch(String),
}

/// The option that lets a picture pass which was refused.
fn option(cause: &DecodeError) -> &'static str {
    if matches!(cause, DecodeError::TooLarge { .. }) { " (option --max_pixels)" } else { "" }
}

impl DataError {
    /// If a sample's bytes or its picture are at fault, why, in one word; none if something else is.
    pub(crate) fn bad_sample(&self) -> Option<&'static str> {
        match self {
            Self::Shard(error) if error.is_bad_sample() => Some(error.kind()),
            Self::Decode { cause, .. } => Some(cause.kind()),
            _ => None,
        }
    }
}
