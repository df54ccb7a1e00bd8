//! A flow at work, in the hands of its consumer.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::FlowError;
use crate::link::{Intake, Link};
use crate::meter::{Meters, StageMeter, State};
use crate::stop::StopHandle;

/// A flow at work. The thread that holds it is the last stage: it is busy between two calls of
/// [`recv`](Self::recv) and waits within.
///
/// Dropping it stops the flow and waits for its threads, like [`join`](Self::join).
pub struct Running<T> {
    intake: Intake<T>,
    meter: Arc<StageMeter>,
    meters: Meters,
    stop: StopHandle,
    threads: Vec<JoinHandle<()>>,
}

impl<T> Running<T> {
    pub(crate) fn new(link: Link<T>, meter: Arc<StageMeter>, meters: Meters, stop: StopHandle) -> Self {
        meter.clock(0).enter(State::Busy);
        Self { intake: link.intake, meter, meters, stop, threads: Vec::new() }
    }

    /// Takes charge of a stage's thread.
    pub(crate) fn adopt(&mut self, thread: JoinHandle<()>) {
        self.threads.push(thread);
    }

    /// Waits for the next item; `None` when the stream has ended or the flow was stopped.
    ///
    /// # Errors
    /// The first error or panic of a stage. What lay finished in the channels is dropped.
    pub fn recv(&mut self) -> Result<Option<T>, FlowError> {
        match self.meter.clock(0).during(State::RecvWait, || self.intake.recv(&self.stop)) {
            Ok(Some(item)) => {
                self.meter.count(0);
                Ok(Some(item))
            }
            Ok(None) => Ok(None),
            Err(_) => self.stop.error().map_or(Ok(None), Err),
        }
    }

    /// Asks every stage to end; [`recv`](Self::recv) gives `None` from now on.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// A handle that stops this flow from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The meters of all stages, the consumer's last; the handle outlives the flow.
    pub fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// Stops what still runs and waits for every thread.
    ///
    /// # Errors
    /// The first error or panic of a stage, unless the flow was stopped before it.
    pub fn join(mut self) -> Result<(), FlowError> {
        self.end();
        self.stop.error().map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.stop.stop();
        for thread in self.threads.drain(..) {
            // Panics are caught and reported by the threads themselves.
            thread.join().ok();
        }
        self.meter.clock(0).enter(State::Idle);
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.end();
    }
}
