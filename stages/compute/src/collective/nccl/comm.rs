//! One communicator of NCCL that never blocks, and how its calls end: done, failed, too late or given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use cudarc::nccl::sys::{ncclComm_t, ncclConfig_t, ncclUniqueId};

use super::library::{IN_PROGRESS, Nvidia, SUCCESS};
use super::stream::Stream;
use crate::collective::CollectiveError;

/// How long the end of a sound group may take at most, where the time-out allows more.
const FAREWELL: Duration = Duration::from_secs(10);

/// A communicator. NCCL is called with the lock held, and never for long, since nothing blocks; so the one call that may
/// come at any time, the abort, never meets another one or a communicator that is gone.
#[derive(Debug)]
pub(super) struct Comm {
    nvidia: Nvidia,
    stream: Stream,
    timeout: Duration,
    given_up: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None once it was aborted or destroyed.
    handle: Option<Handle>,
    /// What went wrong first.
    failure: Option<CollectiveError>,
}

#[derive(Clone, Copy, Debug)]
struct Handle(ncclComm_t);

// SAFETY: NCCL's communicators may be used from any thread, one at a time: the lock of `State` sees to that.
unsafe impl Send for Handle {}

impl Comm {
    /// Meets the other ranks that have the same id.
    pub(super) fn meet(
        nvidia: Nvidia,
        stream: Stream,
        (rank, world): (i32, i32),
        id: ncclUniqueId,
        timeout: Duration,
    ) -> Result<Self, CollectiveError> {
        const OPERATION: &str = "meeting";
        let mut comm = std::ptr::null_mut();
        let mut config = never_blocks();
        let entered = stream.enter().map_err(|message| CollectiveError::Failed { operation: OPERATION, message })?;
        // SAFETY: both pointers are good for the call; the configuration is as NCCL initialises it.
        let status = unsafe { (nvidia.functions.ncclCommInitRankConfig)(&mut comm, world, id, rank, &mut config) };
        drop(entered);
        let handle = (!comm.is_null()).then_some(Handle(comm));
        let state = Mutex::new(State { handle, failure: None });
        let group = Self { nvidia, stream, timeout, given_up: AtomicBool::new(false), state };
        group.settle(OPERATION, status)?;
        Ok(group)
    }

    /// Whether calls have a point.
    pub(super) fn sound(&self, operation: &'static str) -> Result<(), CollectiveError> {
        self.with(operation, |_| ())
    }

    pub(super) fn nvidia(&self) -> &Nvidia {
        &self.nvidia
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Hands the communicator to `enqueue`, which puts work on the stream and returns NCCL's status; returns when the
    /// work is on the stream, which the first calls of a group take a while for.
    pub(super) fn enqueue(
        &self,
        operation: &'static str,
        enqueue: impl FnOnce(ncclComm_t) -> u32,
    ) -> Result<(), CollectiveError> {
        let status = self.with(operation, enqueue)?;
        self.settle(operation, status)
    }

    /// Waits until `done`, looking meanwhile at what NCCL reports, at the clock and at whether the group was given up.
    pub(super) fn wait(
        &self,
        operation: &'static str,
        mut done: impl FnMut() -> Result<bool, String>,
    ) -> Result<(), CollectiveError> {
        self.watch(operation, |_| done())
    }

    /// Gives the group up for a reason of ours, and returns what to say.
    pub(super) fn fail(&self, operation: &'static str, message: String) -> CollectiveError {
        self.end(CollectiveError::Failed { operation, message })
    }

    /// From any thread: lets the call under way and all later ones fail.
    pub(super) fn abort(&self) {
        self.given_up.store(true, Ordering::SeqCst);
        match self.state.try_lock() {
            Ok(mut state) => self.kill(&mut state),
            Err(TryLockError::Poisoned(state)) => self.kill(&mut state.into_inner()),
            // Whoever holds the lock looks at the flag after it.
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Waits for a status that is final.
    fn settle(&self, operation: &'static str, status: u32) -> Result<(), CollectiveError> {
        match status {
            SUCCESS => Ok(()),
            IN_PROGRESS => self.watch(operation, |status| Ok(status == SUCCESS)),
            status => Err(self.refused(operation, status)),
        }
    }

    /// Waits until `done` says so of the communicator's status, which is success or in progress.
    fn watch(
        &self,
        operation: &'static str,
        mut done: impl FnMut(u32) -> Result<bool, String>,
    ) -> Result<(), CollectiveError> {
        let deadline = Instant::now() + self.timeout;
        let mut pause = Pause::default();
        loop {
            let status = self.with(operation, |comm| self.status(comm))?;
            if status != SUCCESS && status != IN_PROGRESS {
                return Err(self.refused(operation, status));
            }
            if done(status).map_err(|message| self.fail(operation, message))? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self
                    .end(CollectiveError::TimedOut { operation, seconds: self.timeout.as_secs_f64().ceil() as u64 }));
            }
            pause.sleep();
        }
    }

    /// What NCCL reports of the communicator.
    fn status(&self, comm: ncclComm_t) -> u32 {
        let mut status = SUCCESS;
        // SAFETY: the communicator is alive, as the caller holds the lock; writes one number.
        match unsafe { (self.nvidia.functions.ncclCommGetAsyncError)(comm, &mut status) } {
            SUCCESS => status,
            refused => refused,
        }
    }

    /// Calls NCCL with the communicator, unless there is none any more.
    fn with<T>(&self, operation: &'static str, call: impl FnOnce(ncclComm_t) -> T) -> Result<T, CollectiveError> {
        let mut state = self.lock();
        let answer = match &*state {
            State { failure: Some(first), .. } => Err(after(first, operation)),
            State { handle: Some(handle), .. } if !self.given_up() => match self.stream.enter() {
                Ok(_entered) => Ok(call(handle.0)),
                Err(message) => Err(CollectiveError::Failed { operation, message }),
            },
            State { .. } => Err(CollectiveError::Aborted { operation }),
        };
        if let Err(error) = &answer {
            state.failure.get_or_insert_with(|| error.clone());
            self.kill(&mut state);
        }
        drop(state);
        // An abort that found the lock taken has left its work to its holder.
        if answer.is_ok() && self.given_up() {
            return Err(self.end(CollectiveError::Aborted { operation }));
        }
        answer
    }

    /// Ends the group with NCCL's own words.
    fn refused(&self, operation: &'static str, status: u32) -> CollectiveError {
        let mut state = self.lock();
        let comm = state.handle.map_or(std::ptr::null_mut(), |handle| handle.0);
        let message = self.nvidia.explain(status, comm);
        let error = CollectiveError::Failed { operation, message };
        state.failure.get_or_insert_with(|| error.clone());
        self.kill(&mut state);
        error
    }

    /// Ends the group, and returns why.
    fn end(&self, error: CollectiveError) -> CollectiveError {
        let mut state = self.lock();
        state.failure.get_or_insert_with(|| error.clone());
        self.kill(&mut state);
        error
    }

    /// Aborts the communicator, once: the other ranks notice, and kernels that wait for them end.
    fn kill(&self, state: &mut State) {
        if let Some(Handle(comm)) = state.handle.take() {
            let _entered = self.stream.enter();
            // SAFETY: alive until now, and no other call is under way, as the lock is held. Whether it goes well matters
            // to nobody: the group is of no more use.
            unsafe { (self.nvidia.functions.ncclCommAbort)(comm) };
        }
    }

    fn given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes leave of the other ranks, so that none of them misses what this one still has to send.
    fn finalize(&self) -> Result<(), CollectiveError> {
        const OPERATION: &str = "parting";
        // SAFETY: the communicator is alive, as `with` holds the lock.
        let status = self.with(OPERATION, |comm| unsafe { (self.nvidia.functions.ncclCommFinalize)(comm) })?;
        self.settle(OPERATION, status)
    }
}

impl Drop for Comm {
    fn drop(&mut self) {
        self.timeout = self.timeout.min(FAREWELL);
        // A panicking rank owes the others an end more than a farewell.
        if self.given_up() || std::thread::panicking() || self.finalize().is_err() {
            self.kill(&mut self.lock());
            return;
        }
        if let Some(Handle(comm)) = self.lock().handle.take() {
            let _entered = self.stream.enter();
            // SAFETY: alive until now, and this is the last owner.
            unsafe { (self.nvidia.functions.ncclCommDestroy)(comm) };
        }
    }
}

/// What a call says that comes after the group's end.
fn after(first: &CollectiveError, operation: &'static str) -> CollectiveError {
    match first {
        CollectiveError::Aborted { .. } => CollectiveError::Aborted { operation },
        first => CollectiveError::Failed { operation, message: format!("the group had ended before: {first}") },
    }
}

/// NCCL's defaults, but for blocking. What was added to the structure in later versions, those fill in by themselves.
fn never_blocks() -> ncclConfig_t {
    const UNDEFINED: i32 = i32::MIN;
    ncclConfig_t {
        size: size_of::<ncclConfig_t>(),
        magic: 0xcafe_beef,
        version: 22_800,
        blocking: 0,
        cgaClusterSize: UNDEFINED,
        minCTAs: UNDEFINED,
        maxCTAs: UNDEFINED,
        netName: std::ptr::null(),
        splitShare: UNDEFINED,
        trafficClass: UNDEFINED,
        commName: std::ptr::null(),
        collnetEnable: UNDEFINED,
        CTAPolicy: UNDEFINED,
        shrinkShare: UNDEFINED,
        nvlsCTAs: UNDEFINED,
        nChannelsPerNetPeer: UNDEFINED,
        nvlinkCentricSched: UNDEFINED,
    }
}

/// The pauses between two looks: none at first, for the calls of microseconds; a millisecond in the end.
#[derive(Default)]
struct Pause {
    looks: u32,
}

impl Pause {
    fn sleep(&mut self) {
        self.looks = self.looks.saturating_add(1);
        match self.looks {
            0..200 => std::thread::yield_now(),
            200..2_000 => std::thread::sleep(Duration::from_micros(20)),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
