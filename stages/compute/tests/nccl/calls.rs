//! Calls that end well.

use mugs_compute::collective::Collective;
use tch::{Device, Kind, Tensor};

use crate::fake::{Fake, LONG};

const CPU: Device = Device::Cpu;

/// `[2, 3]`: 0 to 5, and `rank` times ten.
fn own(rank: usize, kind: Kind) -> Tensor {
    (Tensor::arange(6, (Kind::Float, CPU)).view([2, 3]) + 10.0 * rank as f64).to_kind(kind)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).view(-1)).unwrap()
}

#[test]
fn sums_are_right_in_every_kind() {
    for world in [1, 2, 3] {
        let fake = Fake::new();
        let tens = 10.0 * (0..world).sum::<usize>() as f64;
        let expected: Vec<f64> = (0..6).map(|i| (i * world) as f64 + tens).collect();
        fake.run(world, LONG, |nccl| {
            assert_eq!((nccl.world(), nccl.device(), nccl.backend().as_str()), (world, CPU, "nccl 2.28.9"));
            let kinds = [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64, Kind::Int, Kind::Uint8];
            for kind in kinds {
                let tensor = own(nccl.rank(), kind);
                nccl.all_reduce(&tensor).unwrap();
                assert_eq!((tensor.size(), tensor.kind()), (vec![2, 3], kind));
                assert_eq!(numbers(&tensor), expected, "{world} ranks, {kind:?}");
            }
        });
        assert_eq!(fake.count("ncclAllReduce"), 7 * world as i64);
    }
}

#[test]
fn ranks_are_gathered_in_their_order() {
    let fake = Fake::new();
    fake.run(3, LONG, |nccl| {
        let all = nccl.all_gather(&own(nccl.rank(), Kind::Float)).unwrap();
        assert_eq!(all.len(), 3);
        for (rank, tensor) in all.iter().enumerate() {
            assert_eq!(*tensor, own(rank, Kind::Float));
        }
        // A single number, and none at all.
        let all = nccl.all_gather(&Tensor::from(nccl.rank() as i64 + 7)).unwrap();
        assert_eq!(
            all.iter().map(|one| (one.size(), one.int64_value(&[]))).collect::<Vec<_>>(),
            [(vec![], 7), (vec![], 8), (vec![], 9)]
        );
        let all = nccl.all_gather(&Tensor::zeros([0, 4], (Kind::Float, CPU))).unwrap();
        assert_eq!(all.iter().map(Tensor::size).collect::<Vec<_>>(), [[0, 4]; 3]);
    });
}

#[test]
fn a_broadcast_reaches_all() {
    let fake = Fake::new();
    fake.run(3, LONG, |nccl| {
        for root in [0, 2] {
            let tensor = own(nccl.rank(), Kind::Int64);
            nccl.broadcast(&tensor, root).unwrap();
            assert_eq!(tensor, own(root, Kind::Int64));
        }
        nccl.barrier().unwrap();
    });
    assert_eq!(fake.count("ncclBroadcast"), 6);
}

#[test]
fn several_sums_may_be_under_way() {
    let fake = Fake::new();
    // As on a GPU: calls take a while to get onto the stream, and then to be done.
    fake.set("settle", 3);
    fake.set("lag", 5);
    fake.run(2, LONG, |nccl| {
        let tensors: Vec<_> = (0..4).map(|i| own(nccl.rank() + i, Kind::Float)).collect();
        let mut pending: Vec<_> = tensors.iter().map(|tensor| nccl.start_all_reduce(tensor).unwrap()).collect();
        pending.reverse();
        pending.into_iter().for_each(|one| one.wait().unwrap());
        for (i, tensor) in tensors.iter().enumerate() {
            assert_eq!(*tensor, own(i, Kind::Float) + own(i + 1, Kind::Float));
        }
    });
    assert!(fake.count("cudaEventQuery") >= 2 * 4 * 6);
}

#[test]
fn threads_take_turns() {
    let fake = Fake::new();
    fake.set("settle", 20);
    fake.run(1, LONG, |nccl| {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..20).for_each(|_| nccl.barrier().unwrap()));
            }
        });
    });
    assert_eq!((fake.count("ncclAllReduce"), fake.count("before the call before")), (60, 0));
    assert_eq!(fake.count("before libtorch"), 0);
}

#[test]
fn calls_keep_their_order_with_libtorch() {
    let fake = Fake::new();
    // The thread computes on another GPU, as one does that never chose.
    fake.set("gpu", 3);
    fake.set("lag", 2);
    fake.run(2, LONG, |nccl| {
        let tensor = own(0, Kind::Float);
        nccl.all_reduce(&tensor).unwrap();
        nccl.broadcast(&tensor, 1).unwrap();
        nccl.all_gather(&tensor).unwrap();
        nccl.barrier().unwrap();
        // And goes on there, and is not left with the "not ready" of our looks.
        assert_eq!(fake.thread(), (3, 0));
        drop(nccl);
        assert_eq!(fake.thread(), (3, 0));
    });
    assert_eq!((fake.count("before libtorch"), fake.count("wrong GPU")), (0, 0));
    assert_eq!(fake.count("libtorch waits"), 0);
    assert_eq!(fake.count("cudaEventCreateWithFlags"), fake.count("cudaEventDestroy"));
}

#[test]
fn a_sum_that_nobody_waits_for_holds_libtorch_back() {
    let fake = Fake::new();
    fake.run(2, LONG, |nccl| {
        // On the CPU, libtorch waits for no stream: the memory must last for that reason.
        let tensor = own(0, Kind::Float);
        drop(nccl.start_all_reduce(&tensor).unwrap());
        nccl.barrier().unwrap();
        assert_eq!(tensor, own(0, Kind::Float) * 2);
    });
    assert_eq!(fake.count("libtorch waits"), 2);
    assert_eq!(fake.ends(), (0, 2));
}

#[test]
fn a_sound_group_parts_in_peace() {
    let fake = Fake::new();
    fake.run(3, LONG, |nccl| nccl.barrier().unwrap());
    assert_eq!(fake.ends(), (0, 3));
    for function in ["ncclCommInitRankConfig", "ncclCommFinalize"] {
        assert_eq!(fake.count(function), 3, "{function}");
    }
    assert_eq!((fake.count("cudaStreamCreateWithFlags"), fake.count("cudaStreamDestroy")), (3, 3));
    assert_eq!(fake.count("ncclGetUniqueId"), 1);
}
