//! The declaration of a flow.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::error::{BoxError, FlowError};
use crate::link::{Emitter, Inlet, Link, OrderedPort};
use crate::meter::{Meters, StageMeter};
use crate::running::Running;
use crate::stop::StopHandle;
use crate::worker::{MapWorker, supervise};

/// How many threads a one-to-one stage has and how many finished items may wait behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// Threads, at least 1.
    pub count: usize,
    /// Items, at least 1. Up to `count + capacity` items are between hand-out and emission: every worker has one and
    /// `capacity` more are finished and wait for their turn or for the next stage.
    pub capacity: usize,
}

/// Makes one item of many, for [`Flow::group`].
pub trait Group<In, Out> {
    /// Takes an item; gives what is complete with it.
    ///
    /// # Errors
    /// Any error ends the flow.
    fn push(&mut self, item: In) -> Result<Option<Out>, BoxError>;

    /// Gives what is left at the end of the stream; nothing unless said otherwise. Not called when the flow is stopped.
    ///
    /// # Errors
    /// Any error ends the flow.
    fn finish(&mut self) -> Result<Option<Out>, BoxError> {
        Ok(None)
    }
}

/// The body of a thread that is started with the flow.
struct Thread {
    stage: Arc<str>,
    name: String,
    body: Box<dyn FnOnce() + Send>,
}

/// A flow under declaration: stages are added from the source on, [`start`](Self::start) sets them going.
pub struct Flow {
    origin: Instant,
    stop: StopHandle,
    meters: Vec<Arc<StageMeter>>,
    threads: Vec<Thread>,
    problem: Option<FlowError>,
}

impl Default for Flow {
    fn default() -> Self {
        Self::new()
    }
}

impl Flow {
    /// A flow without stages.
    pub fn new() -> Self {
        let (meters, threads) = (Vec::new(), Vec::new());
        Self { origin: Instant::now(), stop: StopHandle::new(), meters, threads, problem: None }
    }

    /// A handle that stops this flow, also before it starts.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Adds a source: one thread that owns its loop and sends into a channel of `capacity` items. The stream ends when
    /// `body` returns.
    ///
    /// ```
    /// # use mugs_flow::Flow;
    /// let mut flow = Flow::new();
    /// let letters = flow.source("letters", 2, |out| {
    ///     for letter in 'a'.. {
    ///         out.send(letter)?;
    ///     }
    ///     Ok(())
    /// });
    /// let mut running = flow.start("reader", letters)?;
    /// assert_eq!(running.recv()?, Some('a'));
    /// assert_eq!(running.recv()?, Some('b'));
    /// running.join()?; // stops the source, wherever it is
    /// # Ok::<(), mugs_flow::FlowError>(())
    /// ```
    pub fn source<Out, F>(&mut self, name: &str, capacity: usize, body: F) -> Link<Out>
    where
        Out: Send + 'static,
        F: FnOnce(&mut Emitter<Out>) -> Result<(), BoxError> + Send + 'static,
    {
        let meter = self.stage(name, 1, Some(capacity));
        let (emitter, link) = Emitter::pair(&meter, capacity, &self.stop);
        self.thread(&meter, 0, emitter, body);
        link
    }

    /// Adds a one-to-one stage: workers that each turn one item into one, in the order of the items. `prepare` runs on
    /// each worker's thread with the worker's number and gives the function that the worker calls per item; what it
    /// holds (a decoder, a buffer) is that worker's own and need not be `Send`.
    ///
    /// ```
    /// # use mugs_flow::{Flow, Workers};
    /// let mut flow = Flow::new();
    /// let words = flow.source("words", 1, |out| {
    ///     ["3", "14", "x"].into_iter().try_for_each(|word| Ok(out.send(word)?))
    /// });
    /// let numbers = flow.map("parse", words, Workers { count: 2, capacity: 4 }, |_worker| {
    ///     Ok(|word: &str| word.parse::<u32>().map_err(|_| format!("`{word}` is no number").into()))
    /// });
    /// let mut running = flow.start("reader", numbers)?;
    /// let end = loop {
    ///     match running.recv() {
    ///         Ok(Some(_number)) => {}
    ///         end => break end,
    ///     }
    /// };
    /// assert_eq!(end.unwrap_err().to_string(), "stage `parse` failed: `x` is no number");
    /// # Ok::<(), mugs_flow::FlowError>(())
    /// ```
    pub fn map<In, Out, P, F>(&mut self, name: &str, input: Link<In>, workers: Workers, prepare: P) -> Link<Out>
    where
        In: Send + 'static,
        Out: Send + 'static,
        P: Fn(usize) -> Result<F, BoxError> + Send + Sync + 'static,
        F: FnMut(In) -> Result<Out, BoxError>,
    {
        let room = workers.count + workers.capacity;
        let meter = self.stage(name, workers.count, Some(room));
        if workers.capacity == 0 {
            self.refuse(&meter, "its capacity is 0, the least is 1");
        }
        let intake = Arc::new(Mutex::new(input.intake));
        let prepare = Arc::new(prepare);
        let (port, link) = OrderedPort::pair(&meter, room, &self.stop);
        for worker in 0..workers.count {
            let ends = MapWorker::new(intake.clone(), port.clone(), meter.clone(), worker, self.stop.clone());
            let prepare = prepare.clone();
            self.thread(&meter, worker, ends, move |ends| ends.run(prepare(worker)?));
        }
        link
    }

    /// Adds a many-to-one stage: one thread that feeds a [`Group`] and sends what it completes.
    ///
    /// ```
    /// # use mugs_flow::{BoxError, Flow, Group};
    /// struct Pair(Option<u32>);
    ///
    /// impl Group<u32, (u32, u32)> for Pair {
    ///     fn push(&mut self, item: u32) -> Result<Option<(u32, u32)>, BoxError> {
    ///         match self.0.take() {
    ///             Some(first) => Ok(Some((first, item))),
    ///             None => {
    ///                 self.0 = Some(item);
    ///                 Ok(None)
    ///             }
    ///         }
    ///     }
    /// }
    ///
    /// let mut flow = Flow::new();
    /// let numbers = flow.source("numbers", 4, |out| (0..5).try_for_each(|number| Ok(out.send(number)?)));
    /// let pairs = flow.group("pair", numbers, 2, Pair(None));
    /// let mut running = flow.start("reader", pairs)?;
    /// assert_eq!(running.recv()?, Some((0, 1)));
    /// assert_eq!(running.recv()?, Some((2, 3)));
    /// assert_eq!(running.recv()?, None); // 4 found no partner
    /// # Ok::<(), mugs_flow::FlowError>(())
    /// ```
    pub fn group<In, Out, G>(&mut self, name: &str, input: Link<In>, capacity: usize, mut group: G) -> Link<Out>
    where
        In: Send + 'static,
        Out: Send + 'static,
        G: Group<In, Out> + Send + 'static,
    {
        self.transform(name, input, capacity, move |inlet, out| {
            while let Some(item) = inlet.recv()? {
                if let Some(whole) = group.push(item)? {
                    out.send(whole)?;
                }
            }
            if let Some(rest) = group.finish()? {
                out.send(rest)?;
            }
            Ok(())
        })
    }

    /// Adds an owning stage: one thread that owns its loop, receives as it likes and sends as it likes. What holds a
    /// device, or makes many items of one, is written with it.
    ///
    /// ```
    /// # use mugs_flow::Flow;
    /// let mut flow = Flow::new();
    /// let counts = flow.source("counts", 1, |out| (0..4).try_for_each(|count| Ok(out.send(count)?)));
    /// let repeated = flow.transform("repeat", counts, 8, |inlet, out| {
    ///     while let Some(count) = inlet.recv()? {
    ///         for _ in 0..count {
    ///             out.send(count)?;
    ///         }
    ///     }
    ///     Ok(())
    /// });
    /// let mut running = flow.start("reader", repeated)?;
    /// let mut seen = Vec::new();
    /// while let Some(count) = running.recv()? {
    ///     seen.push(count);
    /// }
    /// assert_eq!(seen, [1, 2, 2, 3, 3, 3]);
    /// # Ok::<(), mugs_flow::FlowError>(())
    /// ```
    pub fn transform<In, Out, F>(&mut self, name: &str, input: Link<In>, capacity: usize, body: F) -> Link<Out>
    where
        In: Send + 'static,
        Out: Send + 'static,
        F: FnOnce(&mut Inlet<In>, &mut Emitter<Out>) -> Result<(), BoxError> + Send + 'static,
    {
        let meter = self.stage(name, 1, Some(capacity));
        let (emitter, link) = Emitter::pair(&meter, capacity, &self.stop);
        let inlet = Inlet::new(input, meter.clone(), self.stop.clone());
        self.thread(&meter, 0, (inlet, emitter), |(inlet, emitter)| body(inlet, emitter));
        link
    }

    /// Starts all threads; the caller becomes the last stage, metered under `name`, and receives from `input`.
    ///
    /// # Errors
    /// [`FlowError::Setup`] when a stage was declared with no workers or no capacity, when two have one name, or when
    /// the system has no thread left; nothing runs then.
    pub fn start<T>(mut self, name: &str, input: Link<T>) -> Result<Running<T>, FlowError> {
        let meter = self.stage(name, 1, None);
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let meters = Meters::new(self.meters);
        let mut running = Running::new(input, meter, meters, self.stop);
        for Thread { stage, name, body } in self.threads {
            match thread::Builder::new().name(name).spawn(body) {
                Ok(thread) => running.adopt(thread),
                // Dropping `running` ends the threads started so far.
                Err(error) => return Err(FlowError::Setup { stage, message: format!("no thread for it: {error}") }),
            }
        }
        Ok(running)
    }

    /// Makes a stage's meter and looks its declaration over.
    fn stage(&mut self, name: &str, workers: usize, capacity: Option<usize>) -> Arc<StageMeter> {
        let meter = Arc::new(StageMeter::new(name.into(), workers, capacity, self.origin));
        if workers == 0 {
            self.refuse(&meter, "it has 0 workers, the least is 1");
        }
        if capacity == Some(0) {
            self.refuse(&meter, "its capacity is 0, the least is 1");
        }
        if self.meters.iter().any(|other| other.name() == meter.name()) {
            self.refuse(&meter, "another stage has the same name");
        }
        self.meters.push(meter.clone());
        meter
    }

    /// Keeps the first problem for [`start`](Self::start) to report.
    fn refuse(&mut self, meter: &StageMeter, message: &str) {
        self.problem.get_or_insert(FlowError::Setup { stage: meter.name().clone(), message: message.into() });
    }

    fn thread<R, B>(&mut self, meter: &Arc<StageMeter>, worker: usize, ends: R, body: B)
    where
        R: Send + 'static,
        B: FnOnce(&mut R) -> Result<(), BoxError> + Send + 'static,
    {
        let stage = meter.name().clone();
        let name = format!("{stage}-{worker}");
        let (meter, stop) = (meter.clone(), self.stop.clone());
        let body = Box::new(move || supervise(&meter, worker, &stop, ends, body));
        self.threads.push(Thread { stage, name, body });
    }
}
