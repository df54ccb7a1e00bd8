//! The thread of a watch that talks to the store: counts its rank's number up, looks at the others', publishes and hears.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mugs_torch_ext::{StoreError, TcpStore};

use super::watch::{MISSED, Place, Shared, State, key};

/// What a rank adds to its number when it goes in peace.
const LEFT: i64 = 1 << 40;

/// The thread that talks to the store.
pub(super) struct Beats {
    store: TcpStore,
    shared: Arc<Shared>,
    /// The number of each rank when it last moved, and when that was.
    seen: Vec<(i64, Instant)>,
    published: bool,
}

impl Beats {
    pub(super) fn new(store: TcpStore, shared: Arc<Shared>) -> Beats {
        let seen = vec![(0, Instant::now()); shared.place.world];
        Beats { store, shared, seen, published: false }
    }

    pub(super) fn run(mut self) {
        while !self.shared.done.load(Ordering::Acquire) {
            match self.beat() {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    let text = format!("{} is gone ({})", self.shared.server(), error.message);
                    if !self.shared.locked().leaving {
                        self.shared.fault(text);
                    }
                    self.shared.locked().left = true;
                    self.shared.changed.notify_all();
                    return;
                }
            }
            let state = self.shared.locked();
            let published = self.published;
            let quiet = |state: &mut State| (state.own.is_none() || published) && !state.leaving;
            drop(self.shared.changed.wait_timeout_while(state, self.shared.beat, quiet));
        }
    }

    /// One beat; whether it was the last.
    fn beat(&mut self) -> Result<bool, StoreError> {
        let (own, doing, leaving) = {
            let state = self.shared.locked();
            (state.own.clone(), state.doing.clone(), state.leaving)
        };
        let rank = self.shared.place.rank;
        self.store.add(&key(&format!("beat/{rank}")), 1)?;
        self.store.set(&key(&format!("doing/{rank}")), doing.as_bytes())?;
        self.shared.locked().answered = Instant::now();
        if let Some(own) = own.filter(|_| !self.published) {
            self.published = true;
            self.publish(&own)?;
        }
        if self.shared.locked().cause.is_none() && self.store.has(&key("fault"))? {
            let text = self.store.get(&key("fault"), self.shared.timeout)?;
            self.shared.fault(String::from_utf8_lossy(&text).into_owned());
        }
        if leaving {
            return self.leave();
        }
        if self.shared.locked().cause.is_none() {
            self.look()?;
        }
        Ok(false)
    }

    /// The first to come sets the words; they are heard like another rank's.
    fn publish(&mut self, text: &str) -> Result<(), StoreError> {
        if self.store.add(&key("claim"), 1)? == 1 {
            let text = self.with_stragglers(text)?;
            self.store.set(&key("fault"), text.as_bytes())?;
            self.shared.fault(text);
        }
        Ok(())
    }

    /// A failure that is nobody's in particular, with the ranks that have not come to where the others wait.
    fn with_stragglers(&mut self, text: &str) -> Result<String, StoreError> {
        if !self.shared.suspects.load(Ordering::Acquire) {
            return Ok(text.to_owned());
        }
        let mut stragglers = Vec::new();
        for rank in 0..self.shared.place.world {
            let doing = self.store.get(&key(&format!("doing/{rank}")), self.shared.timeout)?;
            let doing = String::from_utf8_lossy(&doing).into_owned();
            if rank != self.shared.place.rank && !doing.starts_with(WITH_OTHERS) {
                stragglers.push(format!("{} is {doing}", self.name(rank)?));
            }
        }
        match stragglers.is_empty() {
            true => Ok(text.to_owned()),
            false => Ok(format!("{text}; {}", stragglers.join(", "))),
        }
    }

    /// Looks whether those alive are still.
    fn look(&mut self) -> Result<(), StoreError> {
        let suspects = self.shared.suspects.load(Ordering::Acquire);
        let Place { rank, world, .. } = self.shared.place;
        let patience = if suspects { self.shared.beat * MISSED } else { self.shared.timeout };
        let looked_at = if rank == 0 || suspects { 0..world } else { 0..1 };
        for other in looked_at.filter(|other| *other != rank) {
            let number = self.store.add(&key(&format!("beat/{other}")), 0)?;
            let (before, since) = &mut self.seen[other];
            if number != *before {
                (*before, *since) = (number, Instant::now());
            } else if (1..LEFT).contains(&number) && since.elapsed() > patience {
                let silent = since.elapsed().as_secs_f64();
                let text = format!(
                    "{} has not answered for {silent:.1} s: its process, its host or the network is down",
                    self.name(other)?
                );
                return self.publish_found(&text);
            }
        }
        Ok(())
    }

    fn publish_found(&mut self, text: &str) -> Result<(), StoreError> {
        self.published = true;
        if self.store.add(&key("claim"), 1)? == 1 {
            self.store.set(&key("fault"), text.as_bytes())?;
            self.shared.fault(text.to_owned());
        }
        Ok(())
    }

    /// `rank 3 on node7`.
    fn name(&self, rank: usize) -> Result<String, StoreError> {
        let host = self.store.get(&key(&format!("host/{rank}")), self.shared.timeout)?;
        Ok(format!("rank {rank} on {}", String::from_utf8_lossy(&host)))
    }

    /// Whether this rank may go: rank 0 once the others have, these once rank 0 is about to, and none waits for one that
    /// is not heard of.
    fn leave(&mut self) -> Result<bool, StoreError> {
        const ENDED: &str = "ended";
        let Place { rank, world, .. } = self.shared.place;
        if rank == 0 {
            self.store.set(&key(ENDED), b"")?;
        }
        let mut gone = true;
        for other in if rank == 0 { 1..world } else { 0..1 } {
            let number = self.store.add(&key(&format!("beat/{other}")), 0)?;
            let (before, since) = &mut self.seen[other];
            if number != *before {
                (*before, *since) = (number, Instant::now());
            }
            gone &= number >= LEFT || since.elapsed() > self.shared.beat * MISSED;
        }
        if gone || (rank > 0 && self.store.has(&key(ENDED))?) {
            self.store.add(&key(&format!("beat/{rank}")), LEFT)?;
            self.shared.locked().left = true;
            self.shared.changed.notify_all();
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
        Ok(false)
    }
}

/// How the words for a rank that waits for the others begin.
pub const WITH_OTHERS: &str = "with the others";
