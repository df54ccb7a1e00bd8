//! Any chain, any workers, any capacities, any delays, any point of failure: one order, always an end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mugs_flow::{BoxError, Flow, FlowError, Group, Running, StageSnapshot, StopHandle, Workers};
use proptest::prelude::*;

/// A deadlock, and nothing else, takes this long.
const WATCHDOG: Duration = Duration::from_secs(60);

const STAGES: [&str; 5] = ["source", "first", "second", "pairs", "owner"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Error,
    Panic,
    Stop,
}

/// A chain source → first → second → pairs → owner, and what goes wrong in it.
#[derive(Debug, Clone)]
struct Chain {
    items: u64,
    workers: [Workers; 2],
    capacities: [usize; 3],
    /// Microseconds of work on item i: `delays[i mod 7]`, rotated by the stage.
    delays: [u64; 7],
    fault: Fault,
    fault_stage: usize,
    fault_item: u64,
}

impl Chain {
    /// What stage `stage` does for item `item` besides its arithmetic.
    fn act(&self, stage: usize, item: u64, stop: &StopHandle) -> Result<(), BoxError> {
        thread::sleep(Duration::from_micros(self.delays[(item as usize + stage) % 7]));
        if (stage, item) != (self.fault_stage, self.fault_item) {
            return Ok(());
        }
        match self.fault {
            Fault::None => {}
            Fault::Error => return Err(format!("bad item {item}").into()),
            Fault::Panic => panic!("panic at item {item}"),
            Fault::Stop => stop.stop(),
        }
        Ok(())
    }

    /// Whether the fault's stage ever sees the fault's item: `pairs` and `owner` count pairs.
    fn is_struck(&self) -> bool {
        let seen = if self.fault_stage == 4 { self.items.div_ceil(2) } else { self.items };
        self.fault != Fault::None && self.fault_item < seen
    }

    fn start(&self) -> Running<(u64, u64)> {
        let mut flow = Flow::new();
        let stop = flow.stop_handle();
        let act = |stage: usize| {
            let (chain, stop) = (self.clone(), stop.clone());
            move |item: u64| chain.act(stage, item, &stop)
        };
        let (items, source) = (self.items, act(0));
        let link = flow.source(STAGES[0], self.capacities[0], move |out| {
            for item in 0..items {
                source(item)?;
                out.send(item)?;
            }
            Ok(())
        });
        let first = act(1);
        let link = flow.map(STAGES[1], link, self.workers[0], move |_| {
            let first = first.clone();
            Ok(move |item: u64| first(item).map(|()| (item, item * 3)))
        });
        let second = act(2);
        let link = flow.map(STAGES[2], link.weighed(|_| 10), self.workers[1], move |_| {
            let second = second.clone();
            Ok(move |(item, tripled): (u64, u64)| second(item).map(|()| (item, tripled + 1)))
        });
        let link = flow.group(STAGES[3], link, self.capacities[1], Pairs { act: act(3), first: None });
        let owner = act(4);
        let link = flow.transform(STAGES[4], link, self.capacities[2], move |inlet, out| {
            let mut count = 0;
            while let Some(pair) = inlet.recv()? {
                owner(count)?;
                out.send(pair)?;
                count += 1;
            }
            Ok(())
        });
        flow.start("consumer", link).unwrap()
    }

    /// What one thread would make.
    fn expected(&self) -> Vec<(u64, u64)> {
        let value = |item: u64| item * 3 + 1;
        (0..self.items.div_ceil(2))
            .map(|pair| (value(2 * pair), if 2 * pair + 1 < self.items { value(2 * pair + 1) } else { u64::MAX }))
            .collect()
    }
}

struct Pairs<F> {
    act: F,
    first: Option<u64>,
}

impl<F: FnMut(u64) -> Result<(), BoxError>> Group<(u64, u64), (u64, u64)> for Pairs<F> {
    fn push(&mut self, (item, value): (u64, u64)) -> Result<Option<(u64, u64)>, BoxError> {
        (self.act)(item)?;
        match self.first.take() {
            Some(first) => Ok(Some((first, value))),
            None => {
                self.first = Some(value);
                Ok(None)
            }
        }
    }

    fn finish(&mut self) -> Result<Option<(u64, u64)>, BoxError> {
        Ok(self.first.take().map(|first| (first, u64::MAX)))
    }
}

/// What came out of a run, and how it ended.
struct Outcome {
    received: Vec<(u64, u64)>,
    last: Result<(), FlowError>,
    joined: Result<(), FlowError>,
    meters: Vec<StageSnapshot>,
    wall: Duration,
}

fn run(chain: &Chain) -> Outcome {
    let start = Instant::now();
    let mut running = chain.start();
    let mut received = Vec::new();
    let last = loop {
        match running.recv() {
            Ok(Some(item)) => received.push(item),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let meters = running.meters();
    let joined = running.join();
    Outcome { received, last, joined, meters: meters.snapshot(), wall: start.elapsed() }
}

/// Runs `work` on a thread of its own and panics when it does not end.
fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || done.send(work()).unwrap());
    match finished.recv_timeout(WATCHDOG) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the flow hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

fn check(chain: &Chain, outcome: &Outcome) {
    let expected = chain.expected();
    assert_eq!(outcome.received[..], expected[..outcome.received.len()], "order");
    let ends = [&outcome.last, &outcome.joined];
    if !chain.is_struck() {
        assert_eq!(outcome.received.len(), expected.len(), "all of it");
    }
    for end in ends {
        match chain.fault {
            Fault::Error | Fault::Panic if chain.is_struck() => {
                let (verb, text) =
                    if chain.fault == Fault::Error { ("failed", "bad item") } else { ("panicked", "panic at item") };
                let message = format!("stage `{}` {verb}: {text} {}", STAGES[chain.fault_stage], chain.fault_item);
                assert_eq!(end.as_ref().unwrap_err().to_string(), message);
            }
            _ => assert!(end.is_ok(), "{end:?}"),
        }
    }
    check_meters(chain, outcome);
}

fn check_meters(chain: &Chain, outcome: &Outcome) {
    for stage in &outcome.meters {
        let total = stage.busy + stage.send_wait + stage.recv_wait;
        assert!(total <= outcome.wall * stage.workers as u32, "{}: {total:?} of {:?}", stage.stage, outcome.wall);
    }
    if chain.is_struck() {
        return;
    }
    let (items, pairs) = (chain.items, chain.items.div_ceil(2));
    let counts: Vec<u64> = outcome.meters.iter().map(|stage| stage.items).collect();
    assert_eq!(counts, [items, items, items, pairs, pairs, pairs]);
    let bytes: Vec<u64> = outcome.meters.iter().map(|stage| stage.bytes).collect();
    assert_eq!(bytes, [0, 10 * items, 0, 0, 0, 0]);
    assert!(outcome.meters.iter().all(|stage| stage.channel.is_none_or(|channel| channel.items == 0)));
}

fn workers() -> impl Strategy<Value = Workers> {
    (1..=4usize, 1..=4usize).prop_map(|(count, capacity)| Workers { count, capacity })
}

fn chains() -> impl Strategy<Value = Chain> {
    let fault = prop_oneof![
        2 => Just(Fault::None), 1 => Just(Fault::Error), 1 => Just(Fault::Panic), 1 => Just(Fault::Stop)
    ];
    let strike = (fault, 0..5usize, 0..40u64);
    ((0..40u64), [workers(), workers()], [1..=4usize, 1..=4usize, 1..=4usize], prop::array::uniform7(0..400u64), strike)
        .prop_map(|(items, workers, capacities, delays, (fault, fault_stage, fault_item))| Chain {
            items,
            workers,
            capacities,
            delays,
            fault,
            fault_stage,
            fault_item,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_chain_keeps_the_order_and_ends(chain in chains()) {
        let (ran, outcome) = watched(move || {
            let outcome = run(&chain);
            (chain, outcome)
        });
        check(&ran, &outcome);
    }

    #[test]
    fn a_consumer_may_leave_at_any_moment(chain in chains(), reads in 0..20usize, by_drop: bool) {
        watched(move || {
            let mut running = chain.start();
            for _ in 0..reads {
                if !matches!(running.recv(), Ok(Some(_))) {
                    break;
                }
            }
            if by_drop {
                drop(running);
            } else {
                running.join().ok();
            }
        });
    }

    #[test]
    fn a_stop_from_another_thread_ends_whatever_is_blocked(chain in chains(), after in 0..2000u64) {
        watched(move || {
            let mut running = chain.start();
            let stop = running.stop_handle();
            let stopper = thread::spawn(move || {
                thread::sleep(Duration::from_micros(after));
                stop.stop();
            });
            while let Ok(Some(_)) = running.recv() {}
            stopper.join().unwrap();
            running.join().ok();
        });
    }
}
