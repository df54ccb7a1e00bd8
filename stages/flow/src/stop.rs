//! Ends all stages of a flow together, whatever they are blocked in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, select};

use crate::error::{Closed, FlowError};

/// Stops a flow from any thread: a signal handler's, the training loop's, a test's.
#[derive(Debug, Clone)]
pub struct StopHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Set once, under the lock of `end`; read without it before every send and receive.
    stopped: AtomicBool,
    /// Never sends: it disconnects when the flow stops, which wakes every `select!` that waits on it.
    signal: Receiver<()>,
    end: Mutex<End>,
}

#[derive(Debug)]
struct End {
    /// Dropped at the stop.
    waker: Option<Sender<()>>,
    error: Option<FlowError>,
}

impl StopHandle {
    pub(crate) fn new() -> Self {
        let (waker, signal) = bounded(0);
        let end = Mutex::new(End { waker: Some(waker), error: None });
        Self { shared: Arc::new(Shared { stopped: AtomicBool::new(false), signal, end }) }
    }

    /// Asks every stage to end. Items under way are dropped; the consumer receives no more.
    pub fn stop(&self) {
        self.end_with(None);
    }

    /// Whether the flow was stopped or a stage failed.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Ends the flow with a stage's error. What fails after the end only follows from it and is but logged.
    pub(crate) fn fail(&self, error: FlowError) {
        self.end_with(Some(error));
    }

    /// The error that ended the flow, if one did.
    pub(crate) fn error(&self) -> Option<FlowError> {
        self.lock().error.clone()
    }

    fn end_with(&self, error: Option<FlowError>) {
        let mut end = self.lock();
        if end.waker.is_some() {
            end.error = error;
            self.shared.stopped.store(true, Ordering::Release);
            // Only now: whom this wakes lets go of its channel ends, and who sees them go looks at the flag to tell a
            // stop from the end of the stream.
            end.waker = None;
        } else if let Some(error) = error {
            tracing::debug!(%error, "a stage failed after the end of the flow");
        }
    }

    fn lock(&self) -> MutexGuard<'_, End> {
        self.shared.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, waiting for room until the flow stops or the receiver is gone.
    pub(crate) fn send<T>(&self, sender: &Sender<T>, item: T) -> Result<(), Closed> {
        if self.is_stopped() {
            return Err(Closed(()));
        }
        let item = match sender.try_send(item) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(_)) => return Err(Closed(())),
            Err(TrySendError::Full(item)) => item,
        };
        select! {
            send(sender, item) -> sent => sent.map_err(|_| Closed(())),
            recv(self.shared.signal) -> _ => Err(Closed(())),
        }
    }

    /// Receives, waiting until the flow stops. `None`: all senders are gone and the channel is empty.
    ///
    /// A stage reports its error before it lets go of its sender, so an end that follows from an error is `Closed`.
    pub(crate) fn recv<T>(&self, receiver: &Receiver<T>) -> Result<Option<T>, Closed> {
        if self.is_stopped() {
            return Err(Closed(()));
        }
        if let Ok(item) = receiver.try_recv() {
            return Ok(Some(item));
        }
        let received = select! {
            recv(receiver) -> received => received,
            recv(self.shared.signal) -> _ => return Err(Closed(())),
        };
        match received {
            Ok(item) => Ok(Some(item)),
            Err(_) if self.is_stopped() => Err(Closed(())),
            Err(_) => Ok(None),
        }
    }

    /// Waits for something outside the flow (a retry of a read), but no longer than until the flow stops.
    ///
    /// A worker of a one-to-one stage uses it; the time counts as work. [`Emitter::pause`](crate::Emitter::pause) is for
    /// stages that own their loop.
    ///
    /// # Errors
    /// [`Closed`] when the flow is stopping: pass it on with `?`.
    pub fn pause(&self, time: Duration) -> Result<(), Closed> {
        match self.shared.signal.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Closed(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn whoever_is_woken_finds_the_flow_stopped() {
        for _ in 0..2000 {
            let stop = StopHandle::new();
            let sleeper = stop.clone();
            let sleeping = thread::spawn(move || {
                assert!(sleeper.pause(Duration::from_secs(60)).is_err());
                assert!(sleeper.is_stopped());
            });
            stop.fail(FlowError::Panicked { stage: "stage".into(), message: "message".into() });
            sleeping.join().unwrap();
            assert_eq!(stop.error().unwrap().stage(), "stage");
        }
    }

    #[test]
    fn the_first_end_counts() {
        let error = |stage: &str| FlowError::Panicked { stage: stage.into(), message: String::new() };
        let failed = StopHandle::new();
        failed.fail(error("first"));
        failed.fail(error("second"));
        assert_eq!(failed.error().unwrap().stage(), "first");
        let stopped = StopHandle::new();
        stopped.stop();
        stopped.fail(error("late"));
        assert!(stopped.error().is_none() && stopped.is_stopped());
    }
}
