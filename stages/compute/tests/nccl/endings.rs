//! Calls that do not: too late, failed, given up.

use std::time::{Duration, Instant};

use mugs_compute::collective::{Collective, CollectiveError};
use tch::{Device, Kind, Tensor};

use crate::fake::{Fake, Id, LONG, MEETING, SHORT};

fn ones() -> Tensor {
    Tensor::ones([4], (Kind::Float, Device::Cpu))
}

#[test]
fn a_rank_that_does_not_come_is_waited_for_no_longer_than_said() {
    let fake = Fake::new();
    let waiting = fake.run(2, MEETING, |nccl| {
        if nccl.rank() == 1 {
            return Some(nccl);
        }
        let start = Instant::now();
        let error = nccl.all_reduce(&ones()).unwrap_err();
        assert!(start.elapsed() >= MEETING);
        assert_eq!(error, CollectiveError::TimedOut { operation: "all-reduce", seconds: 5 });
        assert_eq!(fake.ends(), (1, 0));
        let error = nccl.barrier().unwrap_err().to_string();
        assert_eq!(
            error,
            "barrier with the other ranks failed: the group had ended before: all-reduce with the other ranks did not \
             end within 5 s (`--sync_timeout`)"
        );
        assert_eq!(fake.count("ncclAllReduce"), 1);
        None
    });
    // The other one parts alone, which nobody answers.
    drop(waiting);
    assert_eq!(fake.ends(), (2, 0));
    assert_eq!(fake.count("cudaStreamDestroy"), 2);
}

#[test]
fn a_group_that_is_not_complete_does_not_begin() {
    let fake = Fake::new();
    let error = fake.rank(0, 2, SHORT, &Id::default()).unwrap_err().to_string();
    assert_eq!(error, "meeting with the other ranks did not end within 1 s (`--sync_timeout`)");
    assert_eq!(fake.ends(), (1, 0));
}

#[test]
fn a_call_that_does_not_get_onto_the_stream_ends() {
    let fake = Fake::new();
    fake.run(1, SHORT, |nccl| {
        fake.set("settle", 1_000_000);
        let error = nccl.all_gather(&ones()).unwrap_err();
        assert_eq!(error, CollectiveError::TimedOut { operation: "all-gather", seconds: 1 });
    });
    assert_eq!(fake.ends(), (1, 0));
}

#[test]
fn another_thread_can_give_the_group_up() {
    for name in ["stall", "settle"] {
        let fake = Fake::new();
        fake.run(1, LONG, |nccl| {
            fake.set(name, 1_000_000_000);
            std::thread::scope(|scope| {
                let call = scope.spawn(|| nccl.all_reduce(&ones()));
                let looked = || fake.count("ncclCommGetAsyncError");
                let before = looked();
                while looked() < before + 50 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                nccl.abort();
                let error = call.join().unwrap().unwrap_err();
                assert_eq!(error, CollectiveError::Aborted { operation: "all-reduce" }, "{name}");
            });
            nccl.abort();
            assert_eq!(nccl.barrier().unwrap_err(), CollectiveError::Aborted { operation: "barrier" });
        });
        assert_eq!(fake.ends(), (1, 0));
    }
}

#[test]
fn an_abort_that_meets_a_call_of_nccl_leaves_the_end_to_it() {
    let fake = Fake::new();
    fake.run(1, LONG, |nccl| {
        fake.set("hold", 1);
        std::thread::scope(|scope| {
            let looks = fake.count("ncclCommGetAsyncError");
            let call = scope.spawn(|| nccl.barrier());
            while fake.count("ncclCommGetAsyncError") == looks {
                std::thread::yield_now();
            }
            // Without the look under way, the barrier would be done.
            nccl.abort();
            fake.set("hold", 0);
            assert_eq!(call.join().unwrap(), Err(CollectiveError::Aborted { operation: "barrier" }));
        });
        assert_eq!(fake.ends(), (1, 0));
    });
    assert_eq!(fake.ends(), (1, 0));
}

#[test]
fn an_abort_at_any_moment_ends_the_group_once() {
    let fake = Fake::new();
    fake.set("lag", 3);
    for round in 0..60 {
        fake.run(2, LONG, |nccl| {
            std::thread::scope(|scope| {
                let calls = scope.spawn(|| {
                    loop {
                        match nccl.all_reduce(&ones()) {
                            Ok(()) => {}
                            Err(error) => break error,
                        }
                    }
                });
                std::thread::sleep(Duration::from_micros(37 * round));
                nccl.abort();
                let error = calls.join().unwrap();
                assert_eq!(error, CollectiveError::Aborted { operation: "all-reduce" });
            });
        });
        assert_eq!(fake.ends(), (2 * (round as i64 + 1), 0), "round {round}");
    }
}

#[test]
fn what_nccl_notices_later_ends_the_wait() {
    let fake = Fake::new();
    fake.run(1, LONG, |nccl| {
        fake.set("stall", 1);
        fake.say("connection closed by 10.0.0.7<41234>\n");
        fake.asynchronous(0, 40, 6);
        let error = nccl.broadcast(&ones(), 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "broadcast with the other ranks failed: remote process exited or there was a network error (status 6): \
             connection closed by 10.0.0.7<41234>"
        );
        let looks = fake.count("ncclCommGetAsyncError");
        let error = nccl.start_all_reduce(&ones()).unwrap_err().to_string();
        assert!(
            error.starts_with("all-reduce with the other ranks failed: the group had ended before: broadcast"),
            "{error}"
        );
        assert_eq!((fake.count("ncclCommGetAsyncError"), fake.count("ncclAllReduce")), (looks, 0));
        // The first cause stays the first.
        nccl.abort();
        assert!(nccl.barrier().unwrap_err().to_string().contains("10.0.0.7"));
    });
    assert_eq!(fake.ends(), (1, 0));
}

#[test]
fn a_call_that_nccl_refuses_ends_the_group() {
    let fake = Fake::new();
    fake.fail("ncclAllReduce", 0, 2, 3);
    fake.run(1, LONG, |nccl| {
        nccl.all_reduce(&ones()).unwrap();
        let error = nccl.all_reduce(&ones()).unwrap_err();
        let message = "internal error (status 3)".to_owned();
        assert_eq!(error, CollectiveError::Failed { operation: "all-reduce", message });
    });
    // A status that came with a later NCCL than ours.
    fake.fail("ncclAllGather", 0, 1, 4711);
    fake.run(1, LONG, |nccl| {
        let error = nccl.all_gather(&ones()).unwrap_err().to_string();
        assert_eq!(error, "all-gather with the other ranks failed: unknown result code (status 4711)");
    });
    assert_eq!(fake.ends(), (2, 0));
}

#[test]
fn an_error_of_the_gpu_ends_the_group() {
    for (function, doing) in [
        ("cudaEventQuery", "waiting for the GPU"),
        ("cudaEventRecord", "recording an event"),
        ("cudaEventCreateWithFlags", "making an event"),
        ("cudaStreamWaitEvent", "ordering two streams"),
        ("cudaGetDevice", "asking which GPU is current"),
    ] {
        let fake = Fake::new();
        fake.run(1, LONG, |nccl| {
            fake.fail(function, -1, fake.count(function) + 1, 700);
            let error = nccl.barrier().unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "barrier with the other ranks failed: {doing}: an illegal memory access was encountered (CUDA \
                     error 700)"
                )
            );
        });
        assert_eq!(fake.ends(), (1, 0), "{function}");
    }
}

#[test]
fn a_rank_that_parts_alone_does_not_wait_for_ever() {
    let fake = Fake::new();
    let mut ranks = fake.run(2, MEETING, Some);
    ranks[0] = None;
    assert_eq!(fake.ends(), (1, 0));
    // And so does the other one.
    ranks[1] = None;
    assert_eq!(fake.ends(), (2, 0));
}

#[test]
fn a_panicking_rank_does_not_take_leave() {
    let fake = Fake::new();
    let id = Id::default();
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let _nccl = fake.rank(0, 1, LONG, &id).unwrap();
                panic!("on purpose");
            })
            .join()
    });
    assert!(panicked.is_err());
    assert_eq!(fake.ends(), (1, 0));
    assert_eq!(fake.count("ncclCommFinalize"), 0);
}
