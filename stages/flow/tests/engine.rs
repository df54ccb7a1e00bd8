//! What a stage promises, one promise a test; nothing here depends on how fast the machine is.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mugs_flow::{Closed, Emitter, Flow, FlowError, Link, Running, Workers};
use proptest::prelude::*;

fn counting(flow: &mut Flow, items: usize) -> Link<usize> {
    flow.source("source", 1, move |out| (0..items).try_for_each(|item| Ok(out.send(item)?)))
}

fn drain<T>(running: &mut Running<T>) -> Result<Vec<T>, FlowError> {
    let mut items = Vec::new();
    while let Some(item) = running.recv()? {
        items.push(item);
    }
    Ok(items)
}

#[test]
fn two_workers_are_in_the_stage_at_once() {
    let mut flow = Flow::new();
    let items = counting(&mut flow, 10);
    // Nobody passes it alone: with one item at work at a time the flow would stand still.
    let both = Arc::new(Barrier::new(2));
    let met = flow.map("meet", items, Workers { count: 2, capacity: 1 }, move |_| {
        let both = both.clone();
        Ok(move |item| {
            both.wait();
            Ok(item)
        })
    });
    let mut running = flow.start("consumer", met).unwrap();
    assert_eq!(drain(&mut running).unwrap(), (0..10).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `asked` counts the consumer's requests before they are made, so a worker that starts on an item while
    /// `entered` is above `asked + workers + capacity` proves that too many are under way.
    #[test]
    fn no_more_than_workers_and_capacity_are_in_flight(count in 1..=4usize, capacity in 1..=4usize, slow in 0..8usize) {
        let room = count + capacity;
        let entered = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let mut flow = Flow::new();
        let items = counting(&mut flow, 60);
        let watch = (entered, asked.clone(), most.clone());
        let worked = flow.map("work", items, Workers { count, capacity }, move |_| {
            let (entered, asked, most) = watch.clone();
            Ok(move |item: usize| {
                let begun = entered.fetch_add(1, SeqCst) + 1;
                most.fetch_max(begun.saturating_sub(asked.load(SeqCst)), SeqCst);
                // Every eighth item stays until the buffer behind it is full (one worker cannot fill it alone).
                while count > 1 && item % 8 == slow && entered.load(SeqCst) < (item + room).min(60) {
                    thread::yield_now();
                }
                Ok(item)
            })
        });
        let mut running = flow.start("consumer", worked).unwrap();
        for item in 0..60 {
            asked.fetch_add(1, SeqCst);
            prop_assert_eq!(running.recv().unwrap(), Some(item));
        }
        prop_assert!(most.load(SeqCst) <= room, "{} > {room}", most.load(SeqCst));
    }
}

/// Tells when a worker's function is dropped, which is the last thing that happens within the worker's time.
struct Life {
    start: Instant,
    lives: Arc<Mutex<Duration>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        *self.lives.lock().unwrap() += self.start.elapsed();
    }
}

#[test]
fn busy_and_waits_add_up_to_the_workers_time() {
    let start = Instant::now();
    let lives = Arc::new(Mutex::new(Duration::ZERO));
    let mut flow = Flow::new();
    let items = counting(&mut flow, 200);
    let noted = lives.clone();
    let worked = flow.map("work", items, Workers { count: 3, capacity: 2 }, move |_| {
        let life = Life { start: Instant::now(), lives: noted.clone() };
        Ok(move |item: usize| {
            thread::sleep(Duration::from_micros(item as u64 % 3 * 100));
            assert!(life.start <= Instant::now());
            Ok(item)
        })
    });
    let mut running = flow.start("consumer", worked).unwrap();
    drain(&mut running).unwrap();
    let meters = running.meters();
    running.join().unwrap();
    let wall = start.elapsed();
    let work = &meters.snapshot()[1];
    let total = work.busy + work.send_wait + work.recv_wait;
    let inside = *lives.lock().unwrap();
    assert!(inside <= total && total <= 3 * wall, "{inside:?} <= {total:?} <= 3 x {wall:?}");
    let end = meters.snapshot()[1].busy;
    assert_eq!(end, work.busy, "the time of an ended worker stands still");
}

#[test]
fn meters_tell_back_pressure_from_starvation() {
    let mut flow = Flow::new();
    let (let_go, gate) = mpsc::channel::<()>();
    let items = flow.source("source", 2, move |out| {
        for item in 0..4 {
            out.send(item)?;
        }
        gate.recv()?;
        Ok(out.send(4)?)
    });
    let mut running = flow.start("consumer", items).unwrap();
    let meters = running.meters();
    // The source fills its channel and waits to send.
    let channel = || meters.snapshot()[0].channel.unwrap();
    while channel().items < 2 {}
    let before = meters.snapshot()[0].send_wait;
    while meters.snapshot()[0].send_wait < before + Duration::from_millis(2) {}
    assert_eq!((channel().items, channel().capacity), (2, 2));
    for item in 0..4 {
        assert_eq!(running.recv().unwrap(), Some(item));
    }
    let waiting = thread::spawn(move || drain(&mut running));
    // The consumer waits to receive, and the wait shows before it is over.
    let before = meters.snapshot()[1].recv_wait;
    while meters.snapshot()[1].recv_wait < before + Duration::from_millis(2) {}
    let_go.send(()).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), [4]);
}

#[test]
fn the_cause_of_a_failure_can_be_looked_at() {
    let mut flow = Flow::new();
    let items = counting(&mut flow, 3);
    let worked = flow.map("work", items, Workers { count: 2, capacity: 1 }, |_| {
        Ok(|item: usize| if item == 1 { Err(std::io::Error::other("disk on fire").into()) } else { Ok(item) })
    });
    let mut running = flow.start("consumer", worked).unwrap();
    let error = drain(&mut running).unwrap_err();
    assert_eq!(error.stage(), "work");
    assert_eq!(error.cause::<std::io::Error>().unwrap().kind(), std::io::ErrorKind::Other);
    assert!(running.recv().is_err(), "an ended flow stays ended");
    assert_eq!(running.join().unwrap_err().to_string(), "stage `work` failed: disk on fire");
}

#[test]
fn a_worker_that_cannot_be_prepared_fails_its_stage() {
    let mut flow = Flow::new();
    let items = counting(&mut flow, 3);
    let worked = flow.map("work", items, Workers { count: 2, capacity: 1 }, |worker| {
        if worker == 1 {
            return Err("no decoder".into());
        }
        Ok(|item: usize| Ok(item))
    });
    let error = flow.start("consumer", worked).unwrap().join().err();
    // The join may come before the worker has started: then there is no error to report.
    assert!(error.is_none_or(|error| error.to_string() == "stage `work` failed: no decoder"));
}

#[test]
fn a_stage_that_has_enough_ends_those_before_it() {
    let mut flow = Flow::new();
    let endless = flow.source("source", 1, |out: &mut Emitter<usize>| {
        for item in 0.. {
            out.send(item)?;
        }
        Ok(())
    });
    let same = flow.map("same", endless, Workers { count: 3, capacity: 2 }, |_| Ok(Ok));
    let few = flow.transform("few", same, 1, |inlet, out| {
        for _ in 0..3 {
            if let Some(item) = inlet.recv()? {
                out.send(item)?;
            }
        }
        Ok(())
    });
    let mut running = flow.start("consumer", few).unwrap();
    assert_eq!(drain(&mut running).unwrap(), [0, 1, 2]);
    running.join().unwrap();
}

#[test]
fn a_source_that_sleeps_wakes_for_the_stop() {
    let mut flow = Flow::new();
    let slept = flow.source("source", 1, |out: &mut Emitter<()>| {
        out.send(())?;
        let end: Result<(), Closed> = out.pause(Duration::from_secs(3600));
        assert!(end.is_err() && out.is_stopped());
        Ok(end?)
    });
    let mut running = flow.start("consumer", slept).unwrap();
    assert_eq!(running.recv().unwrap(), Some(()));
    running.join().unwrap();
}

#[test]
fn a_wrong_declaration_is_an_error_before_anything_runs() {
    let refused = |workers: Workers, capacity: usize, name: &str| {
        let mut flow = Flow::new();
        let items = flow.source("source", capacity, |_: &mut Emitter<usize>| panic!("it runs"));
        let same = flow.map(name, items, workers, |_| Ok(Ok));
        flow.start("consumer", same).err().unwrap().to_string()
    };
    let one = Workers { count: 1, capacity: 1 };
    assert_eq!(refused(one, 0, "same"), "stage `source` cannot start: its capacity is 0, the least is 1");
    let none = Workers { count: 0, capacity: 1 };
    assert_eq!(refused(none, 1, "same"), "stage `same` cannot start: it has 0 workers, the least is 1");
    let tight = Workers { count: 1, capacity: 0 };
    assert_eq!(refused(tight, 1, "same"), "stage `same` cannot start: its capacity is 0, the least is 1");
    assert_eq!(refused(one, 1, "source"), "stage `source` cannot start: another stage has the same name");
}
