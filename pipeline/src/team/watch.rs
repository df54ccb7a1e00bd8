//! The watch over the other ranks.
//!
//! A thread counts a number up in the store, at each beat, and looks at the others' numbers: rank 0 at all, the others
//! at rank 0's, so that a beat costs little however many ranks there are. A number that stands still for the time-out
//! is a fault. Once a collective has failed, all look at all, and four missed beats are enough: so the rank that is
//! gone is named within seconds. Whoever finds a fault first publishes it in the store, and all end with those words.
//!
//! A second thread waits for nobody. It notices that the store itself does not answer, and ends a process whose main
//! thread does not come back from wherever it is.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use mugs_compute::collective::Collective;
use mugs_torch_ext::TcpStore;

use super::beats::Beats;

/// Beats without an answer after which a rank is gone, once something has failed.
pub(super) const MISSED: u32 = 4;
/// How long a rank that knows the cause may take to end, and one that is writing a checkpoint.
const TIME_TO_END: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(1800)];

/// A key of this start of the run. Torchrun keeps its store when it starts ranks anew.
pub fn key(name: &str) -> String {
    let start = std::env::var("TORCHELASTIC_RESTART_COUNT").unwrap_or_default();
    format!("mugs/{start}/{name}")
}

/// This rank among the others.
#[derive(Clone, Debug)]
pub struct Place {
    pub rank: usize,
    pub world: usize,
    pub host: String,
    /// Where the store is.
    pub at: String,
    /// Whether the store is torchrun's, not rank 0's.
    pub served_by_agent: bool,
}

/// Which rank a failure began on, as far as the rank knows that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This one: all hear of it at once.
    Own,
    /// Another one, which knows more and is about to say it, or does not answer any more.
    Another,
}

/// Tells, hears and knows about the other ranks.
pub struct Watch {
    shared: Arc<Shared>,
}

/// What the threads of a watch and its owner share.
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) timeout: Duration,
    pub(super) beat: Duration,
    pub(super) state: Mutex<State>,
    /// Rung when the state changes.
    pub(super) changed: Condvar,
    /// Whether something has failed whose cause is not known.
    pub(super) suspects: AtomicBool,
    /// Whether this rank writes a checkpoint.
    writing: AtomicBool,
    pub(super) done: AtomicBool,
}

/// While it is there, the rank has the time that writing a checkpoint may take before it must have ended.
pub struct Writing(Arc<Shared>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::Release);
    }
}

/// What changes under the lock.
pub(super) struct State {
    pub(super) cause: Option<String>,
    /// A fault to be published.
    pub(super) own: Option<String>,
    pub(super) doing: String,
    /// When the store last answered.
    pub(super) answered: Instant,
    pub(super) when_fault: Vec<Box<dyn Fn() + Send + Sync>>,
    pub(super) leaving: bool,
    pub(super) left: bool,
}

impl Watch {
    /// Starts to watch over a connection of its own.
    pub fn start(store: TcpStore, place: Place, timeout: Duration) -> Result<Watch> {
        let beat = (timeout / 10).clamp(Duration::from_millis(100), Duration::from_secs(1));
        let state = State {
            cause: None,
            own: None,
            doing: "starting".into(),
            answered: Instant::now(),
            when_fault: Vec::new(),
            leaving: false,
            left: false,
        };
        store.set(&key(&format!("host/{}", place.rank)), place.host.as_bytes())?;
        let shared = Arc::new(Shared {
            place,
            timeout,
            beat,
            state: Mutex::new(state),
            changed: Condvar::new(),
            suspects: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            done: AtomicBool::new(false),
        });
        let (first, second) = (Arc::clone(&shared), Arc::clone(&shared));
        let spawn =
            |name: &str, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.into()).spawn(run);
        // Not joined: one may hang in a call of the store.
        spawn("watch", Box::new(move || Beats::new(store, first).run()))?;
        spawn("watch-clock", Box::new(move || second.clock()))?;
        Ok(Watch { shared })
    }

    /// The fault as an error, if there is one.
    pub fn check(&self) -> Result<()> {
        match &self.shared.locked().cause {
            Some(cause) => Err(anyhow!("{cause}")),
            None => Ok(()),
        }
    }

    /// What this rank is doing from now on.
    pub fn doing(&self, what: String) {
        self.shared.locked().doing = what;
    }

    /// Says that this rank is writing a checkpoint, until what it gives goes away.
    pub fn writing(&self) -> Writing {
        self.shared.writing.store(true, Ordering::Release);
        Writing(Arc::clone(&self.shared))
    }

    /// Gives `group` up once there is a fault.
    pub fn abort_on_fault(&self, group: &Arc<dyn Collective>) {
        let group = Arc::clone(group);
        self.on_fault(move || group.abort());
    }

    /// Runs `act` once there is a fault; at once if there is one.
    pub fn on_fault(&self, act: impl Fn() + Send + Sync + 'static) {
        let mut state = self.shared.locked();
        if state.cause.is_some() {
            drop(state);
            return act();
        }
        state.when_fault.push(Box::new(act));
    }

    /// Makes `text` what all ranks end with, unless there is a cause already.
    pub fn publish(&self, text: &str) {
        self.shared.locked().own.get_or_insert_with(|| text.to_owned());
        self.shared.changed.notify_all();
    }

    /// The first cause: `own`, published in this rank's name, or what another rank has published.
    pub fn first_cause(&self, own: &str, whose: Whose) -> String {
        let shared = &self.shared;
        let Place { rank, host, .. } = &shared.place;
        let patience = match whose {
            Whose::Own => Duration::ZERO,
            Whose::Another => {
                shared.suspects.store(true, Ordering::Release);
                // Long enough for a rank that is gone to be missed, and for one that knows more to say it.
                shared.beat * (3 * MISSED) + Duration::from_secs(1)
            }
        };
        if let Some(cause) = shared.wait(patience) {
            return cause;
        }
        let text = format!("rank {rank} on {host}: {own}");
        self.publish(&text);
        // Without the store this rank is on its own.
        shared.wait(shared.timeout + Duration::from_secs(10)).unwrap_or(text)
    }

    /// Goes in peace: the others do not miss this rank. Rank 0 stays until they have gone, at most so long.
    pub fn leave(&self, patience: Duration) {
        let begun = Instant::now();
        let mut state = self.shared.locked();
        state.leaving = true;
        self.shared.changed.notify_all();
        // A store that does not answer is not waited for.
        let silent = self.shared.beat * MISSED;
        while !state.left && state.answered.elapsed() < silent && begun.elapsed() < patience {
            let waited = self.shared.changed.wait_timeout(state, self.shared.beat);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // With them go the groups, while nothing else ends.
        let acts = std::mem::take(&mut state.when_fault);
        drop(state);
        drop(acts);
        self.shared.done.store(true, Ordering::Release);
        self.shared.changed.notify_all();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Release);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    pub(super) fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cause, once there is one.
    fn wait(&self, most: Duration) -> Option<String> {
        let state = self.locked();
        let waited = self.changed.wait_timeout_while(state, most, |state| state.cause.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.cause.clone()
    }

    /// Ends this rank with `text`.
    pub(super) fn fault(&self, text: String) {
        let mut state = self.locked();
        if state.cause.is_some() {
            return;
        }
        state.cause = Some(text);
        let acts = std::mem::take(&mut state.when_fault);
        drop(state);
        self.changed.notify_all();
        acts.iter().for_each(|act| act());
    }

    /// Who serves the store, in words.
    pub(super) fn server(&self) -> impl fmt::Display {
        let Place { at, served_by_agent, .. } = &self.place;
        match served_by_agent {
            true => format!("torchrun's store at {at}"),
            false => format!("rank 0, which serves the meeting place {at},"),
        }
    }

    /// Waits for nobody: the second thread.
    fn clock(&self) {
        let mut known: Option<Instant> = None;
        while !self.done.load(Ordering::Acquire) {
            std::thread::sleep(self.beat);
            let (silent, cause) = {
                let state = self.locked();
                (state.answered.elapsed(), state.cause.clone())
            };
            let patience = match self.suspects.load(Ordering::Acquire) {
                true => self.beat * (2 * MISSED),
                false => self.timeout,
            };
            if silent > patience && cause.is_none() && !self.locked().leaving {
                self.fault(format!("{} does not answer any more", self.server()));
            }
            // A rank that is leaving knows how long it waits.
            let Some(cause) = cause.filter(|_| !self.locked().leaving) else { continue };
            let limit = TIME_TO_END[usize::from(self.writing.load(Ordering::Acquire))];
            if known.get_or_insert_with(Instant::now).elapsed() > limit && !self.done.load(Ordering::Acquire) {
                eprintln!("error: {cause} (and this rank did not end by itself within {} s)", limit.as_secs());
                // SAFETY: ends the process without running anything of it that may hang.
                unsafe { libc::_exit(1) }
            }
        }
    }
}
