//! Reads samples of a set by their place; shared by all who read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mugs_flow::BoxError;
use mugs_shards::{Sample, ShardError, ShardReader, ShardSet};

use super::Retries;
use super::retry::{Pause, Retry};

/// A set's shards. Clones share the open ones.
#[derive(Debug, Clone)]
pub(super) struct Shards {
    set: ShardSet,
    retry: Retry,
    /// Open shards; only those who read keep them open.
    open: Arc<Mutex<HashMap<usize, Weak<ShardReader>>>>,
}

/// A sample's bytes, or that they are bad.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The sample as it was packed.
    Good(Sample),
    /// No sample.
    Bad(Box<Bad>),
}

/// A sample whose bytes are at fault.
#[derive(Debug)]
pub(super) struct Bad {
    /// Its key.
    pub(super) key: Arc<str>,
    /// The file name of its shard.
    pub(super) shard: Arc<str>,
    /// Where the picture's bytes should begin in the shard.
    pub(super) offset: u64,
    /// What is wrong.
    pub(super) error: ShardError,
}

impl Shards {
    pub(super) fn new(set: ShardSet, retry: Retry) -> Self {
        Self { set, retry, open: Arc::default() }
    }

    /// Counts the reads that are tried again.
    pub(super) fn retries(&self) -> Retries {
        self.retry.counter()
    }

    /// A shard's reader: one that somebody has open, or a new one.
    pub(super) fn open(&self, number: usize, pause: &mut Pause<'_>) -> Result<Arc<ShardReader>, BoxError> {
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open().get(&number).and_then(Weak::upgrade);
        if let Some(shard) = known {
            return Ok(shard);
        }
        // Not under the lock, since a slow disk would hold up everybody; two who open the same shard do no harm.
        let shard = Arc::new(self.retry.run(pause, || self.set.open_shard(number))?);
        open().insert(number, Arc::downgrade(&shard));
        Ok(shard)
    }

    /// Reads a sample. What may pass is tried again and is an error in the end; bytes at fault are an outcome.
    pub(super) fn read(&self, shard: &ShardReader, number: usize, pause: &mut Pause<'_>) -> Result<Outcome, BoxError> {
        self.retry.run(pause, || match shard.read(number) {
            Ok(sample) => Ok(Outcome::Good(sample)),
            Err(error) if error.is_bad_sample() => {
                let entry = shard.entry(number);
                let offset = entry.picture().map_or(0, |picture| picture.offset);
                Ok(Outcome::Bad(Box::new(Bad { key: entry.key.clone(), shard: shard.name().into(), offset, error })))
            }
            Err(error) => Err(error),
        })
    }

    /// The number of open shards.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|shard| shard.strong_count() > 0).count()
    }
}
