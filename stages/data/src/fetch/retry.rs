//! Tries reads again that may succeed the next time.

use std::io::ErrorKind;
use std::time::Duration;

use mugs_flow::{BoxError, Closed};
use mugs_shards::ShardError;

use super::Retries;
use crate::error::DataError;

/// The wait before the first retry; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Waits as the flow allows.
pub(crate) type Pause<'a> = dyn FnMut(Duration) -> Result<(), Closed> + 'a;

/// How often to try again, and how often that was needed.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    most: u32,
    counter: Retries,
}

impl Retry {
    pub(super) fn new(most: u32) -> Self {
        Self { most, counter: Retries::default() }
    }

    pub(super) fn counter(&self) -> Retries {
        self.counter.clone()
    }

    /// Reads until it succeeds, fails for good or has failed `most + 1` times.
    pub(super) fn run<T>(
        &self,
        pause: &mut Pause<'_>,
        mut read: impl FnMut() -> Result<T, ShardError>,
    ) -> Result<T, BoxError> {
        let mut retries = 0;
        loop {
            let error = match read() {
                Ok(result) => return Ok(result),
                Err(error) if !is_transient(&error) => return Err(DataError::Shard(error).into()),
                Err(source) if retries == self.most => {
                    return Err(DataError::Retries { attempts: retries + 1, source }.into());
                }
                Err(error) => error,
            };
            tracing::warn!(%error, retries, "a read failed, trying it again");
            self.counter.add();
            pause(FIRST_WAIT * 2_u32.saturating_pow(retries))?;
            retries += 1;
        }
    }
}

/// Whether the next attempt may succeed. Files that are missing or forbidden stay so, damaged ones too.
fn is_transient(error: &ShardError) -> bool {
    match error {
        ShardError::Io { source, .. } => !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn failure(kind: ErrorKind) -> ShardError {
        ShardError::Io { path: "set/a-000000.tar".into(), source: kind.into() }
    }

    /// Runs a read that fails as told, then succeeds; gives the waits too.
    fn run(most: u32, failures: &[ErrorKind]) -> (Result<usize, BoxError>, Vec<u128>, u64) {
        let (retry, mut waits, mut attempt) = (Retry::new(most), Vec::new(), 0);
        let mut pause = |time: Duration| {
            waits.push(time.as_millis());
            Ok(())
        };
        let result = retry.run(&mut pause, || {
            attempt += 1;
            failures.get(attempt - 1).map_or(Ok(attempt), |&kind| Err(failure(kind)))
        });
        (result, waits, retry.counter().count())
    }

    #[test]
    fn what_may_pass_is_tried_again_with_longer_waits() {
        let (result, waits, count) =
            run(3, &[ErrorKind::TimedOut, ErrorKind::Other, ErrorKind::StaleNetworkFileHandle]);
        assert_eq!((result.unwrap(), waits, count), (4, vec![100, 200, 400], 3));
    }

    #[test]
    fn it_gives_up_in_the_end() {
        let (result, waits, _) = run(2, &[ErrorKind::TimedOut; 9]);
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "gave up reading after 3 attempts");
        assert_eq!(error.source().unwrap().to_string(), "cannot read set/a-000000.tar");
        assert_eq!(waits.len(), 2);
    }

    #[test]
    fn what_stays_is_not_tried_again() {
        let (result, waits, count) = run(2, &[ErrorKind::NotFound]);
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "cannot read set/a-000000.tar");
        assert_eq!(error.source().unwrap().downcast_ref::<io::Error>().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!((waits.len(), count), (0, 0));
        let bad =
            Retry::new(9).run(&mut |_| Ok(()), || -> Result<(), _> { Err(ShardError::NotASet { path: "set".into() }) });
        assert!(bad.unwrap_err().to_string().contains("is not a shard set"));
    }
}
