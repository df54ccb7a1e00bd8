//! Meters: what every stage did and what it waited for, in nanosecond atomics.
//!
//! Every worker has a clock of its own that is always in one state; changing it books the time since the last change.
//! So busy + waits is the worker's lifetime by construction, and a reader adds the state that is still going on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a worker is doing. The first three index a clock's totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// At its work.
    Busy = 0,
    /// Waits for room downstream: back-pressure.
    SendWait = 1,
    /// Waits for an item from upstream: starvation.
    RecvWait = 2,
    /// Not yet or no longer running.
    Idle = 3,
}

/// The number of states whose time is counted.
const TIMED: usize = 3;

/// One worker's clock. Only that worker changes its state; anyone may read it.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    /// Nanoseconds from `origin` to the last change of state, times 4, plus the state.
    mark: AtomicU64,
    /// Nanoseconds spent in each timed state up to the last change.
    totals: [AtomicU64; TIMED],
    /// What readers were told last: a reader that meets a change half way sees a total too low, never too high, and is
    /// told this instead, so that a counter never falls.
    reported: [AtomicU64; TIMED],
}

impl Clock {
    fn new(origin: Instant) -> Self {
        let mark = AtomicU64::new(State::Idle as u64);
        Self { origin, mark, totals: Default::default(), reported: Default::default() }
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Changes the state; the time since the last change goes to the state that ends.
    pub(crate) fn enter(&self, state: State) {
        let now = self.now();
        // The mark changes before the total: see `reported`.
        let before = self.mark.swap(now << 2 | state as u64, Ordering::AcqRel);
        if let Some(total) = self.totals.get((before & 3) as usize) {
            total.fetch_add(now.saturating_sub(before >> 2), Ordering::Release);
        }
    }

    /// Does `work` in `state`, then is busy again.
    pub(crate) fn during<T>(&self, state: State, work: impl FnOnce() -> T) -> T {
        self.enter(state);
        let result = work();
        self.enter(State::Busy);
        result
    }

    /// Nanoseconds in each timed state up to now.
    fn read(&self) -> [u64; TIMED] {
        // Totals first, then the mark: see `reported`.
        let mut values = [0; TIMED];
        for (value, total) in values.iter_mut().zip(&self.totals) {
            *value = total.load(Ordering::Acquire);
        }
        let mark = self.mark.load(Ordering::Acquire);
        if let Some(value) = values.get_mut((mark & 3) as usize) {
            *value += self.now().saturating_sub(mark >> 2);
        }
        for (value, reported) in values.iter_mut().zip(&self.reported) {
            *value = reported.fetch_max(*value, Ordering::AcqRel).max(*value);
        }
        values
    }
}

/// The meters of one stage and of the channel that leaves it.
#[derive(Debug)]
pub(crate) struct StageMeter {
    name: Arc<str>,
    clocks: Vec<Clock>,
    items: AtomicU64,
    bytes: AtomicU64,
    /// Finished items that wait to be received; for an instant below zero when the receiver is quicker than the count.
    queued: AtomicI64,
    /// The channel's capacity; `None` for the consumer, which no channel leaves.
    capacity: Option<usize>,
}

impl StageMeter {
    pub(crate) fn new(name: Arc<str>, workers: usize, capacity: Option<usize>, origin: Instant) -> Self {
        let clocks = (0..workers).map(|_| Clock::new(origin)).collect();
        let (items, bytes, queued) = (AtomicU64::new(0), AtomicU64::new(0), AtomicI64::new(0));
        Self { name, clocks, items, bytes, queued, capacity }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn clock(&self, worker: usize) -> &Clock {
        &self.clocks[worker]
    }

    /// An item of that many bytes left the stage.
    pub(crate) fn sent(&self, bytes: usize) {
        self.count(bytes);
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// The next stage took an item from this stage's channel.
    pub(crate) fn taken(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts an item that goes into no channel.
    pub(crate) fn count(&self, bytes: usize) {
        self.items.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn snapshot(&self) -> StageSnapshot {
        let mut sums = [0; TIMED];
        for clock in &self.clocks {
            for (sum, value) in sums.iter_mut().zip(clock.read()) {
                *sum += value;
            }
        }
        let [busy, send_wait, recv_wait] = sums.map(Duration::from_nanos);
        let queued = self.queued.load(Ordering::Relaxed).max(0) as usize;
        StageSnapshot {
            stage: self.name.clone(),
            workers: self.clocks.len(),
            items: self.items.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            busy,
            send_wait,
            recv_wait,
            channel: self.capacity.map(|capacity| ChannelSnapshot { items: queued.min(capacity), capacity }),
        }
    }
}

/// The meters of a flow; clones read the same meters, from any thread, also after the flow's end.
#[derive(Debug, Clone)]
pub struct Meters {
    stages: Arc<[Arc<StageMeter>]>,
}

impl Meters {
    pub(crate) fn new(stages: Vec<Arc<StageMeter>>) -> Self {
        Self { stages: stages.into() }
    }

    /// The stages in the order of their declaration, the consumer last.
    pub fn snapshot(&self) -> Vec<StageSnapshot> {
        self.stages.iter().map(|stage| stage.snapshot()).collect()
    }
}

/// One stage's meters at one moment. Times and counts never fall from one snapshot to the next.
#[derive(Debug, Clone)]
pub struct StageSnapshot {
    /// The stage's name.
    pub stage: Arc<str>,
    /// How many threads it has.
    pub workers: usize,
    /// Items that left the stage; for the consumer, items received.
    pub items: u64,
    /// Bytes that left the stage (see [`Link::weighed`](crate::Link::weighed)).
    pub bytes: u64,
    /// Time at work, summed over the workers.
    pub busy: Duration,
    /// Time waiting for room downstream (back-pressure), summed over the workers.
    pub send_wait: Duration,
    /// Time waiting for items from upstream (starvation), summed over the workers.
    pub recv_wait: Duration,
    /// The channel that leaves the stage; the consumer has none.
    pub channel: Option<ChannelSnapshot>,
}

/// A channel at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelSnapshot {
    /// Finished items that wait to be received.
    pub items: usize,
    /// The most it holds; for a [`map`](crate::Flow::map) stage workers + capacity, those at work included.
    pub capacity: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_books_every_nanosecond_of_its_life_once() {
        let origin = Instant::now();
        let clock = Clock::new(origin);
        assert_eq!(clock.read(), [0, 0, 0]);
        clock.enter(State::Busy);
        let start = clock.mark.load(Ordering::Relaxed) >> 2;
        clock.during(State::SendWait, || ());
        clock.during(State::RecvWait, || ());
        clock.enter(State::Idle);
        let end = clock.mark.load(Ordering::Relaxed) >> 2;
        assert_eq!(clock.read().iter().sum::<u64>(), end - start);
    }

    #[test]
    fn readers_never_see_a_time_fall_while_a_worker_changes_state() {
        let meter = StageMeter::new("stage".into(), 1, Some(1), Instant::now());
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                for _ in 0..20_000 {
                    meter.clock(0).enter(State::RecvWait);
                    meter.clock(0).enter(State::Busy);
                }
            });
            let mut last = [0; TIMED];
            while !worker.is_finished() {
                let now = meter.clock(0).read();
                assert!(last.iter().zip(now).all(|(last, now)| *last <= now), "{last:?} {now:?}");
                last = now;
            }
        });
    }

    #[test]
    fn a_wait_that_goes_on_is_already_counted() {
        let clock = Clock::new(Instant::now());
        clock.enter(State::RecvWait);
        let first = clock.read()[2];
        while clock.read()[2] == first {}
        assert_eq!(clock.totals[2].load(Ordering::Relaxed), 0);
    }
}
