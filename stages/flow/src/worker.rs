//! What runs on a stage's threads.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;

use crate::error::{BoxError, Closed, FlowError};
use crate::link::{Intake, OrderedPort};
use crate::meter::{StageMeter, State};
use crate::panics;
use crate::stop::StopHandle;

/// Runs one worker's body from start to end and reports how it failed, if it did.
///
/// `ends`, the worker's channel ends, outlive the report: the next stage, seeing them go, must find the error there
/// and not mistake a failure for the end of the stream.
pub(crate) fn supervise<R>(
    meter: &StageMeter,
    worker: usize,
    stop: &StopHandle,
    mut ends: R,
    body: impl FnOnce(&mut R) -> Result<(), BoxError>,
) {
    let clock = meter.clock(worker);
    clock.enter(State::Busy);
    let outcome = panics::catch(|| body(&mut ends));
    clock.enter(State::Idle);
    let stage = meter.name().clone();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is::<Closed>() => {}
        Ok(Err(error)) => stop.fail(FlowError::Failed { stage, cause: error.into() }),
        Err(message) => stop.fail(FlowError::Panicked { stage, message }),
    }
    drop(ends);
}

/// One worker of an ordered one-to-one stage.
pub(crate) struct MapWorker<In, Out> {
    /// All workers take from one intake, one at a time: taking an item and its place in the order is one step.
    intake: Arc<Mutex<Intake<In>>>,
    port: OrderedPort<Out>,
    /// The place of the item at hand; kept here so that it outlives the report of an error (see [`supervise`]).
    slot: Option<Sender<Out>>,
    meter: Arc<StageMeter>,
    worker: usize,
    stop: StopHandle,
}

impl<In, Out> MapWorker<In, Out> {
    pub(crate) fn new(
        intake: Arc<Mutex<Intake<In>>>,
        port: OrderedPort<Out>,
        meter: Arc<StageMeter>,
        worker: usize,
        stop: StopHandle,
    ) -> Self {
        Self { intake, port, slot: None, meter, worker, stop }
    }

    /// Takes, works and emits until the stream ends.
    pub(crate) fn run(&mut self, mut work: impl FnMut(In) -> Result<Out, BoxError>) -> Result<(), BoxError> {
        let meter = self.meter.clone();
        let clock = meter.clock(self.worker);
        loop {
            // First the room, then the item: what waits for the intake's lock then waits for items and nothing else.
            clock.during(State::SendWait, || self.port.permit())?;
            let Some(item) = clock.during(State::RecvWait, || self.take())? else {
                return Ok(());
            };
            let result = work(item)?;
            if let Some(slot) = &self.slot {
                self.port.fill(slot, result)?;
            }
        }
    }

    fn take(&mut self) -> Result<Option<In>, Closed> {
        let intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
        let item = intake.recv(&self.stop)?;
        if item.is_some() {
            self.slot = Some(self.port.slot()?);
        }
        Ok(item)
    }
}
