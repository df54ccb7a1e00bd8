//! What stands at the position of a bad sample: the next good one of its stream.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use mugs_flow::BoxError;

use super::fetched;
use super::retry::Pause;
use super::shards::{Outcome, Shards};
use crate::bad::OnBadSample;
use crate::error::DataError;
use crate::item::{Dropped, Fetched, Origin};
use crate::order::{EpochOrder, Order, Place};

/// Finds samples that stand in for bad ones, for whichever stage meets these. Clones share what they have learned.
///
/// The place of a bad sample is filled by the next good one of its stream, whose last sample is followed by its first.
/// That one also keeps its own place, so nothing shifts. Which one it is follows from the order and from which samples
/// are bad, not from who finds out first: workers, readahead and the place of a start change nothing.
#[derive(Debug, Clone)]
pub struct StandIns {
    shards: Shards,
    order: Order,
    policy: OnBadSample,
    most: u64,
    /// Samples found to be bad: a run of them is passed over without being read for each of its positions.
    bad: Arc<Mutex<HashSet<Place>>>,
}

impl StandIns {
    pub(super) fn new(shards: Shards, order: Order, policy: OnBadSample, most: u64) -> Self {
        Self { shards, order, policy, most, bad: Arc::default() }
    }

    /// The most bad samples of an epoch.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// A sample in the place of `bad`, which failed with `error` and may stand in for another one itself.
    ///
    /// # Errors
    /// `error` itself, if it is not the sample's fault or bad samples are not to be skipped;
    /// [`DataError::NoStandIn`] if more samples in a row are bad than an epoch may have, or all of the stream; a read
    /// that keeps failing.
    pub(crate) fn find(&self, bad: Origin, error: DataError, pause: &mut Pause<'_>) -> Result<Fetched, BoxError> {
        let reason = match error.bad_sample() {
            Some(reason) if self.policy == OnBadSample::Skip => reason,
            _ => return Err(error.into()),
        };
        let (epoch, position) = (bad.epoch, bad.position);
        let order = self.order.epoch(epoch);
        let mut dropped = dropped(bad, reason, &error);
        self.remember(order.behind(position, dropped.in_a_row - 1));
        // Kept open from one attempt to the next, which mostly lies in the same shard.
        let mut shard;
        loop {
            let place = self.next(&order, &dropped)?;
            if !self.is_bad(place) {
                shard = self.shards.open(place.shard, pause)?;
                match self.shards.read(&shard, place.sample, pause)? {
                    Outcome::Good(sample) => return Ok(fetched(epoch, position, sample, Some(dropped))),
                    Outcome::Bad(_) => self.remember(Some(place)),
                }
            }
            dropped.in_a_row += 1;
        }
    }

    /// The sample behind all that are known to be bad in a row.
    fn next(&self, order: &EpochOrder, dropped: &Dropped) -> Result<Place, DataError> {
        let &Dropped { position, in_a_row, .. } = dropped;
        let failed = |why| Err(DataError::NoStandIn { in_a_row, why, first: dropped.what.clone() });
        if in_a_row > self.most {
            return failed(format!("`max_bad_samples` allows {} in an epoch", self.most));
        }
        match order.behind(position, in_a_row) {
            Some(place) => Ok(place),
            None => failed("which is all of their stream (fewer `streams` make longer ones)".into()),
        }
    }

    fn is_bad(&self, place: Place) -> bool {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).contains(&place)
    }

    fn remember(&self, place: Option<Place>) {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).extend(place);
    }
}

/// The sample whose place is to be filled: the bad one, or the one that it stands in for.
fn dropped(bad: Origin, reason: &'static str, error: &DataError) -> Box<Dropped> {
    match bad.stands_in_for {
        Some(first) => Box::new(Dropped { in_a_row: first.in_a_row + 1, ..*first }),
        None => {
            let Origin { position, key, shard, offset, .. } = bad;
            Box::new(Dropped { position, key, shard, offset, reason, what: error.to_string(), in_a_row: 1 })
        }
    }
}
