//! What is refused: groups that cannot begin, tensors that cannot be sent.

use mugs_compute::collective::nccl::Nccl;
use mugs_compute::collective::{Collective, CollectiveError};
use tch::{Device, Kind, Tensor};

use crate::fake::{Fake, Id, LONG, SHORT};

#[test]
fn nccl_says_why_a_group_cannot_begin() {
    let fake = Fake::new();
    fake.say("Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000");
    fake.fail("ncclCommInitRankConfig", 0, 1, 5);
    let error = fake.rank(0, 1, LONG, &Id::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "meeting with the other ranks failed: invalid usage (status 5): Duplicate GPU detected : rank 0 and rank 1 both \
         on CUDA device 1000"
    );
    // There was no communicator to end, and later on there is one.
    assert_eq!(fake.ends(), (0, 0));
    fake.asynchronous(0, 3, 2);
    let error = fake.rank(0, 2, LONG, &Id::default()).unwrap_err().to_string();
    assert!(error.starts_with("meeting with the other ranks failed: unhandled system error (status 2)"), "{error}");
    assert_eq!(fake.ends(), (1, 0));
}

#[test]
fn a_rank_0_without_an_id_keeps_nobody_waiting() {
    let fake = Fake::new();
    fake.fail("ncclGetUniqueId", -1, 1, 2);
    let id = Id::default();
    let error = fake.rank(0, 2, LONG, &id).unwrap_err().to_string();
    assert_eq!(error, "meeting with the other ranks failed: unhandled system error (status 2)");
    let error = fake.rank(1, 2, LONG, &id).unwrap_err().to_string();
    assert_eq!(error, "meeting with the other ranks failed: rank 0 could not begin: its own message says why");
    // Nor one without a library.
    let id = Id::default();
    let missing = fake.path.with_file_name("nothing.so");
    let error = Nccl::rehearse(&missing, 0, 2, LONG, &mut |own| Ok(id.exchange(own))).unwrap_err();
    assert!(matches!(error, CollectiveError::Missing { backend: "nccl", .. }), "{error}");
    assert!(fake.rank(1, 2, LONG, &id).is_err());
    assert_eq!(fake.count("ncclCommInitRankConfig"), 0);
}

#[test]
fn an_id_that_is_none_is_refused() {
    let fake = Fake::new();
    let with = |answer: Result<Vec<u8>, CollectiveError>| {
        Nccl::rehearse(&fake.path, 1, 2, SHORT, &mut |own| {
            assert_eq!(own, None);
            answer.clone()
        })
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        with(Ok(vec![1; 127])),
        "meeting with the other ranks failed: rank 0 sent an id of 127 bytes, and NCCL's have 128"
    );
    // One of another group: the two never meet.
    let met = "meeting with the other ranks did not end within 1 s (`--sync_timeout`)";
    assert_eq!(with(Ok(vec![1; 128])), met);
    // And whatever carries it may fail.
    let lost = CollectiveError::Failed { operation: "meeting", message: "the store is gone".into() };
    assert_eq!(with(Err(lost.clone())), lost.to_string());
    assert_eq!(fake.ends(), (1, 0));
}

#[test]
fn the_id_arrives_as_it_was_made() {
    let fake = Fake::new();
    let mut seen = Vec::new();
    Nccl::rehearse(&fake.path, 0, 1, LONG, &mut |own| {
        seen = own.unwrap();
        Ok(seen.clone())
    })
    .unwrap();
    assert_eq!((seen.len(), seen[0], seen[127]), (128, 1, 255));
}

#[test]
fn a_rank_is_one_of_its_world() {
    let fake = Fake::new();
    for (rank, world) in [(2, 2), (0, 0), (1, 0)] {
        let error = fake.rank(rank, world, LONG, &Id::default()).unwrap_err().to_string();
        assert_eq!(error, format!("meeting with the other ranks failed: there is no rank {rank} among {world}"));
    }
}

#[test]
fn tensors_that_cannot_be_sent_end_the_group() {
    let ones = || Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
    type Call = fn(&Nccl, &Tensor) -> Result<(), CollectiveError>;
    let calls: [(Tensor, Call, &str); 4] = [
        (
            ones().tr(),
            |nccl, tensor| nccl.all_reduce(tensor),
            "all-reduce with the other ranks failed: a tensor of shape",
        ),
        (
            ones().tr(),
            |nccl, tensor| nccl.all_gather(tensor).map(drop),
            "all-gather with the other ranks failed: a tensor of shape [3, 2] and strides [1, 3] is not contiguous",
        ),
        (
            ones().to_kind(Kind::Int8),
            |nccl, tensor| nccl.broadcast(tensor, 0),
            "broadcast with the other ranks failed: a tensor of Int8 cannot be sent",
        ),
        (
            ones(),
            |nccl, tensor| nccl.broadcast(tensor, 2),
            "broadcast with the other ranks failed: there is no rank 2 among 1",
        ),
    ];
    for (tensor, call, text) in calls {
        let fake = Fake::new();
        let nccl = fake.rank(0, 1, LONG, &Id::default()).unwrap();
        let error = call(&nccl, &tensor).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
        let later = nccl.barrier().unwrap_err().to_string();
        assert_eq!(later, format!("barrier with the other ranks failed: the group had ended before: {error}"));
        assert_eq!(fake.ends(), (1, 0));
        let sent = ["ncclAllReduce", "ncclAllGather", "ncclBroadcast"].map(|function| fake.count(function));
        assert_eq!(sent, [0; 3]);
    }
}
