//! Bad samples: what is done about them, and how many an epoch may have.
//!
//! A sample is bad if its bytes are not those that were packed (checksum, compressed frame, cut shard), if its label is
//! none, or if its picture cannot be decoded. A disk that does not answer is no bad sample.
//!
//! What was left out travels with the sample that stands in for it to the end of the stages, and is counted there, in
//! the order of the steps. So a run with too many bad samples ends at the same step whatever its workers, and a resumed
//! run counts on from its checkpoint.

use serde::{Deserialize, Serialize};

use crate::batch::Contents;
use crate::error::DataError;

/// Every reason for which a sample can be bad.
pub const BAD_SAMPLE_REASONS: [&str; 7] =
    ["checksum", "frame", "label", "truncated", "unidentified", "decode", "too_large"];

/// What is done about a bad sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadSample {
    /// The run ends with an error that names it.
    #[default]
    Fail,
    /// The next good sample of its stream stands at its position.
    Skip,
}

/// The most bad samples of an epoch of `samples`, unless something else is asked for: 0.1 %, at least 10.
pub(crate) fn default_most(samples: u64) -> u64 {
    (samples / 1000).max(10)
}

/// The bad samples of the epoch under way. Part of every checkpoint, so that a resumed run counts on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadSamples {
    /// The epoch, from 0.
    pub epoch: u32,
    /// How many there were.
    pub count: u64,
    /// What was wrong with the last ones, at most 3.
    pub last: Vec<String>,
}

impl BadSamples {
    /// Adds those of the next batch, and begins anew with a new epoch.
    ///
    /// # Errors
    /// [`DataError::TooManyBad`] if they are more than `most` now.
    pub fn add(&mut self, contents: &Contents, most: u64) -> Result<(), DataError> {
        const NAMED: usize = 3;
        if self.epoch != contents.epoch {
            *self = Self { epoch: contents.epoch, ..Self::default() };
        }
        self.count += contents.dropped.len() as u64;
        self.last.extend(contents.dropped.iter().map(|dropped| dropped.what.clone()));
        self.last.drain(..self.last.len().saturating_sub(NAMED));
        self.check(most)
    }

    /// Adds `count` that other ranks had in the same steps.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_elsewhere(&mut self, count: u64, most: u64) -> Result<(), DataError> {
        self.count += count;
        self.check(most)
    }

    fn check(&self, most: u64) -> Result<(), DataError> {
        if self.count <= most {
            return Ok(());
        }
        Err(DataError::TooManyBad { epoch: self.epoch, count: self.count, most, last: self.last.clone() })
    }
}

/// Logs what a batch was to hold and does not.
pub fn log(contents: &Contents) {
    for dropped in &contents.dropped {
        let stands_in = contents.positions.iter().position(|position| *position == dropped.position);
        tracing::warn!(
            epoch = contents.epoch,
            position = dropped.position,
            key = %dropped.key,
            shard = %dropped.shard,
            offset = dropped.offset,
            reason = dropped.reason,
            stands_in = stands_in.map(|number| &*contents.keys[number]),
            "left out a bad sample: {}",
            dropped.what
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Dropped;

    fn batch(epoch: u32, bad: &[&str]) -> Contents {
        let dropped = |key: &&str| Dropped {
            position: 0,
            key: (*key).into(),
            shard: "a-000000.tar".into(),
            offset: 512,
            reason: "checksum",
            what: format!("{key} is bad"),
            in_a_row: 1,
        };
        Contents { epoch, dropped: bad.iter().map(dropped).collect(), ..Contents::default() }
    }

    #[test]
    fn an_epoch_may_have_one_in_a_thousand_and_ten_anyway() {
        assert_eq!([1, 9_999, 11_000, 1_281_167].map(default_most), [10, 10, 11, 1281]);
    }

    #[test]
    fn one_more_than_allowed_ends_the_epoch_and_the_last_are_named() {
        let mut bad = BadSamples::default();
        bad.add(&batch(0, &["a", "b"]), 4).unwrap();
        bad.add(&batch(0, &[]), 4).unwrap();
        bad.add(&batch(0, &["c", "d"]), 4).unwrap();
        let resumed: BadSamples = serde_json::from_str(&serde_json::to_string(&bad).unwrap()).unwrap();
        for mut bad in [bad.clone(), resumed] {
            let error = bad.add(&batch(0, &["e"]), 4).unwrap_err().to_string();
            let expected =
                "5 samples of epoch 0 are bad, `max_bad_samples` allows 4; the last: c is bad; d is bad; e is bad";
            assert!(error.starts_with(expected), "{error}");
        }
        let mut on_ranks = bad.clone();
        assert!(on_ranks.add_elsewhere(1, 4).is_err() && bad.clone().add_elsewhere(0, 4).is_ok());
        assert_eq!(on_ranks.count, 5);
        bad.add(&batch(1, &["a"]), 1).unwrap();
        assert_eq!(bad, BadSamples { epoch: 1, count: 1, last: vec!["a is bad".into()] });
        assert!(bad.add(&batch(1, &["b"]), 1).is_err());
    }
}
