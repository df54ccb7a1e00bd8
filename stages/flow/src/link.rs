//! The ends of a channel: what a stage receives from and sends into.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::Closed;
use crate::meter::{Clock, StageMeter, State};
use crate::stop::StopHandle;

/// How many bytes an item weighs, when the flow's author says so.
type Weigher<T> = OnceLock<Box<dyn Fn(&T) -> usize + Send + Sync>>;

/// What a stage sends, before another stage is declared that receives it.
#[must_use = "a link that nothing receives from ends the stages before it"]
pub struct Link<T> {
    pub(crate) intake: Intake<T>,
    weigher: Arc<Weigher<T>>,
}

impl<T> Link<T> {
    /// Says how many bytes an item weighs; without it the stage's `bytes` stay 0.
    ///
    /// ```
    /// # use mugs_flow::Flow;
    /// let mut flow = Flow::new();
    /// let words = flow.source("words", 1, |out| Ok(out.send("seven b")?)).weighed(|word| word.len());
    /// let mut running = flow.start("reader", words)?;
    /// assert_eq!(running.recv()?, Some("seven b"));
    /// assert_eq!(running.recv()?, None);
    /// assert_eq!(running.meters().snapshot()[0].bytes, 7);
    /// # Ok::<(), mugs_flow::FlowError>(())
    /// ```
    pub fn weighed(self, weigh: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        // A link weighed twice keeps its first scale.
        self.weigher.set(Box::new(weigh)).ok();
        self
    }
}

impl<T> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(self.intake.producer.name()).finish()
    }
}

/// The receiving end of a stage's channel.
pub(crate) struct Intake<T> {
    queue: Queue<T>,
    producer: Arc<StageMeter>,
}

enum Queue<T> {
    /// What one thread sends.
    Plain(Receiver<T>),
    /// What several workers send: one slot per item, queued at the moment the item was handed to its worker, so that
    /// the order of the slots is the order of the items. The queue of slots is the reorder buffer.
    Ordered {
        slots: Receiver<Receiver<T>>,
        /// Holds one permit per item between hand-out and emission.
        permits: Receiver<()>,
    },
}

impl<T> Intake<T> {
    /// The next item in order; `None` at the end of the stream.
    pub(crate) fn recv(&self, stop: &StopHandle) -> Result<Option<T>, Closed> {
        let item = match &self.queue {
            Queue::Plain(items) => stop.recv(items)?,
            Queue::Ordered { slots, permits } => match stop.recv(slots)? {
                None => None,
                Some(slot) => {
                    // A worker lets go of an empty slot only when the flow ends.
                    let item = stop.recv(&slot)?.ok_or(Closed(()))?;
                    stop.recv(permits)?;
                    Some(item)
                }
            },
        };
        if item.is_some() {
            self.producer.taken();
        }
        Ok(item)
    }
}

/// Where an owning stage receives from.
pub struct Inlet<T> {
    intake: Intake<T>,
    meter: Arc<StageMeter>,
    stop: StopHandle,
}

impl<T> Inlet<T> {
    pub(crate) fn new(link: Link<T>, meter: Arc<StageMeter>, stop: StopHandle) -> Self {
        Self { intake: link.intake, meter, stop }
    }

    /// Waits for the next item; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`Closed`] when the flow is stopping.
    pub fn recv(&mut self) -> Result<Option<T>, Closed> {
        self.meter.clock(0).during(State::RecvWait, || self.intake.recv(&self.stop))
    }
}

/// Where a stage that owns its loop sends to.
pub struct Emitter<T> {
    items: Sender<T>,
    weigher: Arc<Weigher<T>>,
    meter: Arc<StageMeter>,
    stop: StopHandle,
}

impl<T> Emitter<T> {
    /// The two ends of the channel that leaves a stage of one thread.
    pub(crate) fn pair(meter: &Arc<StageMeter>, capacity: usize, stop: &StopHandle) -> (Self, Link<T>) {
        let (items, received) = bounded(capacity);
        let weigher = Arc::new(OnceLock::new());
        let intake = Intake { queue: Queue::Plain(received), producer: meter.clone() };
        let link = Link { intake, weigher: weigher.clone() };
        (Self { items, weigher, meter: meter.clone(), stop: stop.clone() }, link)
    }

    /// Sends an item, waiting while the channel is full.
    ///
    /// # Errors
    /// [`Closed`] when the flow is stopping or nothing receives any more: pass it on with `?`.
    pub fn send(&mut self, item: T) -> Result<(), Closed> {
        let bytes = weigh(&self.weigher, &item);
        self.clock().during(State::SendWait, || self.stop.send(&self.items, item))?;
        self.meter.sent(bytes);
        Ok(())
    }

    /// Waits for something outside the flow (a retry of a read), but no longer than until the flow stops. The time
    /// counts as waiting to receive.
    ///
    /// # Errors
    /// [`Closed`] when the flow is stopping: pass it on with `?`.
    pub fn pause(&mut self, time: Duration) -> Result<(), Closed> {
        self.clock().during(State::RecvWait, || self.stop.pause(time))
    }

    /// Whether the flow is stopping; a loop that sends seldom looks here now and then.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    fn clock(&self) -> &Clock {
        self.meter.clock(0)
    }
}

/// Where the workers of an ordered stage send to.
pub(crate) struct OrderedPort<T> {
    slots: Sender<Receiver<T>>,
    permits: Sender<()>,
    weigher: Arc<Weigher<T>>,
    meter: Arc<StageMeter>,
    stop: StopHandle,
}

impl<T> Clone for OrderedPort<T> {
    fn clone(&self) -> Self {
        Self {
            slots: self.slots.clone(),
            permits: self.permits.clone(),
            weigher: self.weigher.clone(),
            meter: self.meter.clone(),
            stop: self.stop.clone(),
        }
    }
}

impl<T> OrderedPort<T> {
    /// The two ends of the channel that leaves a stage of several workers; `room` items may be on the way.
    pub(crate) fn pair(meter: &Arc<StageMeter>, room: usize, stop: &StopHandle) -> (Self, Link<T>) {
        let (slots, queued_slots) = bounded(room);
        let (permits, held_permits) = bounded(room);
        let weigher = Arc::new(OnceLock::new());
        let queue = Queue::Ordered { slots: queued_slots, permits: held_permits };
        let link = Link { intake: Intake { queue, producer: meter.clone() }, weigher: weigher.clone() };
        (Self { slots, permits, weigher, meter: meter.clone(), stop: stop.clone() }, link)
    }

    /// Waits until one more item may be under way. The permit is given back when the item is received downstream.
    pub(crate) fn permit(&self) -> Result<(), Closed> {
        self.stop.send(&self.permits, ())
    }

    /// Takes the next place in the order. Never waits: there are as many places as permits.
    pub(crate) fn slot(&self) -> Result<Sender<T>, Closed> {
        let (slot, filled) = bounded(1);
        self.stop.send(&self.slots, filled)?;
        Ok(slot)
    }

    /// Puts the finished item into its place.
    pub(crate) fn fill(&self, slot: &Sender<T>, item: T) -> Result<(), Closed> {
        let bytes = weigh(&self.weigher, &item);
        self.stop.send(slot, item)?;
        self.meter.sent(bytes);
        Ok(())
    }
}

fn weigh<T>(weigher: &Weigher<T>, item: &T) -> usize {
    match weigher.get() {
        Some(weigh) => weigh(item),
        None => 0,
    }
}
