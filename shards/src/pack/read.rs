//! Reading the pictures ahead, by several threads, in the order in which they are packed.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use super::Inspect;
use super::error::PackError;
use super::listing::Picture;
use crate::checksum::Checksum;
use crate::ustar;

/// Pictures that each thread may be ahead.
const AHEAD: usize = 8;

/// A picture's bytes.
pub(crate) struct Loaded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) xxh3: Checksum,
}

/// Pictures in order, each as it was read or why it was not.
pub(crate) struct Ordered {
    lanes: Vec<Receiver<Result<Loaded, PackError>>>,
    next: usize,
}

/// Starts `workers` threads that read `pictures`. Picture i comes from thread i mod `workers`, so taking from the
/// threads in turn gives the pictures in order. Dropping the result ends the threads.
pub(crate) fn read_ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    pictures: &'scope [&'scope Picture],
    workers: usize,
    inspect: Inspect<'scope>,
) -> Ordered {
    let lane = |worker| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            for picture in pictures.iter().skip(worker).step_by(workers) {
                let loaded = load(&picture.path, inspect);
                let failed = loaded.is_err();
                if sender.send(loaded).is_err() || failed {
                    break;
                }
            }
        });
        receiver
    };
    Ordered { lanes: (0..workers).map(lane).collect(), next: 0 }
}

impl Iterator for Ordered {
    type Item = Result<Loaded, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        let lane = self.next % self.lanes.len();
        self.next += 1;
        self.lanes[lane].recv().ok()
    }
}

fn load(path: &Path, inspect: Inspect<'_>) -> Result<Loaded, PackError> {
    let bytes = fs::read(path).map_err(|source| PackError::Read { path: path.into(), source })?;
    let verdict = match bytes.len() as u64 {
        0 => Err("it is empty".into()),
        length if length > ustar::LENGTH_LIMIT => Err("it is longer than a tar member can be (8 GiB)".into()),
        _ => inspect(&bytes),
    };
    match verdict {
        Ok(()) => Ok(Loaded { xxh3: Checksum::of(&bytes), bytes }),
        Err(reason) => Err(PackError::NotAPicture { path: path.into(), reason }),
    }
}
