//! NCCL between GPUs.
//!
//! **Where it comes from.** NVIDIA's library is loaded at run time, so one binary runs on hosts with and without it, and
//! nothing of it is linked. The copy that libtorch's GPU part has loaded is used where there is one; there is never a
//! second NCCL in the process. Only the types are taken from `cudarc`: its own loader knows no `libnccl.so.2`, the one
//! name that the wheels install, and panics where the library is missing. NCCL 2.18 or newer is needed; libtorch 2.11
//! comes with 2.28.9.
//!
//! **No call hangs.** Communicators are made not to block: every function of NCCL returns at once, and the rank looks
//! until the work is done, at NCCL's own errors, at the time-out and at whether the group was given up. Whichever of
//! these comes first ends the group with one `ncclCommAbort`, which also ends kernels that wait for the others; every
//! later call fails at once and names the first cause. Messages carry `ncclGetErrorString` and `ncclGetLastError`. What
//! cannot be interrupted is a function of NCCL that does not return although it should, as with `NCCL_COMM_BLOCKING=1` in
//! the environment, which overrules us.
//!
//! **Order with libtorch.** Work goes onto a stream of the group's own. It begins after everything that libtorch was told
//! to compute before the call, on the stream that was current then. A finished call was waited for by the host, so what
//! libtorch is told next needs no further order; one begun with [`Collective::start_all_reduce`] goes on beside
//! libtorch's work until its `wait`. The host's wait costs a stream without work for as long as the next kernels take to
//! be told; with one reduction per step that is some tens of microseconds of it.
//!
//! **What is refused.** Tensors on another device, of another kind than the seven listed in the message, or not contiguous
//! (nothing is copied in silence). A refusal ends the group too: the other ranks would pair this rank's next call with the
//! one that it missed.
//!
//! **Two ranks on one GPU** are refused by NCCL ("Duplicate GPU detected"), except, by NVIDIA's notes, from 2.30 on with
//! `NCCL_MULTI_RANK_GPU_ENABLE=1`.
//!
//! **Tests without a GPU** name a library that stands in for NCCL, CUDA's runtime and libtorch's stream at once, on the
//! host's memory ([`Nccl::rehearse`]); apart from where the functions come from, it takes the same way.

mod comm;
mod library;
mod payload;
mod stream;
mod table;

use std::ffi::c_char;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclRedOp_t, ncclUniqueId};
use tch::{Device, Kind, Tensor};

use self::comm::Comm;
use self::library::{Nvidia, SUCCESS, missing};
use self::payload::Payload;
use self::stream::{Event, Stream};
use super::{Collective, CollectiveError, Pending};

pub use library::Version;

/// The bytes of a group's id.
const ID: usize = 128;

/// Carries rank 0's bytes to all ranks: rank 0 hands them over, the others hand over none; all are given rank 0's.
pub type Exchange<'a> = dyn FnMut(Option<Vec<u8>>) -> Result<Vec<u8>, CollectiveError> + 'a;

/// A group of ranks, each with a GPU, over NCCL.
#[derive(Debug)]
pub struct Nccl {
    comm: Arc<Comm>,
    /// Held while a call is put on the stream: NCCL takes the next one only then.
    turn: Mutex<()>,
    rank: usize,
    world: usize,
    device: Device,
}

impl Nccl {
    /// Meets the `world` ranks that call this with the same id, which `exchange` carries from rank 0 to all; if rank 0
    /// cannot make one, it hands over no bytes, so that the others need not wait for it. `device` is this rank's GPU,
    /// `timeout` the longest that this or a later call may take; the libtorch in this process must have its GPU part
    /// loaded.
    ///
    /// # Errors
    /// There is no NCCL, or one that is too old; `device` is no GPU; the id does not come; another rank does not come
    /// within the time-out; NCCL refuses, as with two ranks on one GPU.
    pub fn connect(
        rank: usize,
        world: usize,
        device: Device,
        timeout: Duration,
        exchange: &mut Exchange<'_>,
    ) -> Result<Self, CollectiveError> {
        let parts = || {
            let Device::Cuda(index) = device else {
                return Err(missing(format!("it works between GPUs, and not on {device:?}; gloo does on the CPU")));
            };
            Ok((Nvidia::find()?, Stream::open(index)?))
        };
        Self::meet(parts(), rank, world, device, timeout, exchange)
    }

    /// For tests: the same on the CPU's tensors, with a library that stands in for all that is needed of NVIDIA's and of
    /// libtorch's GPU part.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn rehearse(
        library: &Path,
        rank: usize,
        world: usize,
        timeout: Duration,
        exchange: &mut Exchange<'_>,
    ) -> Result<Self, CollectiveError> {
        let parts = || Ok((Nvidia::at(library)?, Stream::rehearse(library)?));
        Self::meet(parts(), rank, world, Device::Cpu, timeout, exchange)
    }

    fn meet(
        parts: Result<(Nvidia, Stream), CollectiveError>,
        rank: usize,
        world: usize,
        device: Device,
        timeout: Duration,
        exchange: &mut Exchange<'_>,
    ) -> Result<Self, CollectiveError> {
        let ours = parts.and_then(|(nvidia, stream)| {
            let place = place(rank, world)?;
            let id = if rank == 0 { Some(new_id(&nvidia)?) } else { None };
            Ok((nvidia, stream, place, id))
        });
        let (nvidia, stream, place, id) = match ours {
            Ok(ours) => ours,
            Err(error) => {
                if rank == 0 {
                    // The others are told; what becomes of that changes nothing here.
                    exchange(Some(Vec::new())).ok();
                }
                return Err(error);
            }
        };
        let id = id_of(&exchange(id)?)?;
        let comm = Arc::new(Comm::meet(nvidia, stream, place, id, timeout)?);
        Ok(Self { comm, turn: Mutex::new(()), rank, world, device })
    }

    /// Puts a call on the stream; `tensors` are what it reads and writes.
    fn begin(
        &self,
        operation: &'static str,
        tensors: Vec<Tensor>,
        call: impl FnOnce(ncclComm_t, cudaStream_t, &[Payload]) -> u32,
    ) -> Result<Underway, CollectiveError> {
        let comm = &self.comm;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        comm.sound(operation)?;
        let prepared = || {
            let payloads =
                tensors.iter().map(|tensor| Payload::of(tensor, self.device)).collect::<Result<Vec<_>, _>>()?;
            Ok((payloads, comm.stream().after_torch()?))
        };
        let (payloads, stream) = prepared().map_err(|message| comm.fail(operation, message))?;
        comm.enqueue(operation, |comm| call(comm, stream, &payloads))?;
        let event = comm.stream().event().map_err(|message| comm.fail(operation, message))?;
        Ok(Underway { comm: Arc::clone(comm), operation, event, done: false, _tensors: tensors })
    }

    fn sum(&self, operation: &'static str, tensor: &Tensor) -> Result<Underway, CollectiveError> {
        let functions = &self.comm.nvidia().functions;
        self.begin(operation, vec![tensor.shallow_clone()], |comm, stream, payloads| {
            let Payload { first, count, kind } = payloads[0];
            // SAFETY: in place on `count` numbers of this device, which `Underway` keeps until NCCL is done with them.
            unsafe { (functions.ncclAllReduce)(first, first, count, kind, ncclRedOp_t::ncclSum, comm, stream) }
        })
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn device(&self) -> Device {
        self.device
    }

    fn backend(&self) -> String {
        format!("nccl {}", self.comm.nvidia().version)
    }

    fn all_reduce(&self, tensor: &Tensor) -> Result<(), CollectiveError> {
        self.sum("all-reduce", tensor)?.finish()
    }

    fn start_all_reduce(&self, tensor: &Tensor) -> Result<Box<dyn Pending>, CollectiveError> {
        Ok(Box::new(self.sum("all-reduce", tensor)?))
    }

    fn all_gather(&self, tensor: &Tensor) -> Result<Vec<Tensor>, CollectiveError> {
        let functions = &self.comm.nvidia().functions;
        let shape: Vec<i64> = std::iter::once(self.world as i64).chain(tensor.size()).collect();
        let all = Tensor::empty(shape, (tensor.kind(), self.device));
        let tensors = vec![tensor.shallow_clone(), all.shallow_clone()];
        self.begin("all-gather", tensors, |comm, stream, payloads| {
            let Payload { first, count, kind } = payloads[0];
            // SAFETY: the second tensor has room for `world` times as many; `Underway` keeps both.
            unsafe { (functions.ncclAllGather)(first, payloads[1].first, count, kind, comm, stream) }
        })?
        .finish()?;
        Ok(all.unbind(0))
    }

    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<(), CollectiveError> {
        const OPERATION: &str = "broadcast";
        let functions = &self.comm.nvidia().functions;
        if root >= self.world {
            self.comm.sound(OPERATION)?;
            return Err(self.comm.fail(OPERATION, format!("there is no rank {root} among {}", self.world)));
        }
        self.begin(OPERATION, vec![tensor.shallow_clone()], |comm, stream, payloads| {
            let Payload { first, count, kind } = payloads[0];
            // SAFETY: in place on `count` numbers of this device, which `Underway` keeps; the root is a rank.
            unsafe { (functions.ncclBroadcast)(first, first, count, kind, root as i32, comm, stream) }
        })?
        .finish()
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.sum("barrier", &Tensor::ones([1], (Kind::Float, self.device)))?.finish()
    }

    fn abort(&self) {
        self.comm.abort();
    }
}

/// A call on the stream.
#[derive(Debug)]
struct Underway {
    comm: Arc<Comm>,
    operation: &'static str,
    /// After it.
    event: Event,
    done: bool,
    /// What it reads and writes, kept from being used for something else.
    _tensors: Vec<Tensor>,
}

impl Underway {
    fn finish(mut self) -> Result<(), CollectiveError> {
        self.comm.wait(self.operation, || self.event.done())?;
        self.done = true;
        Ok(())
    }
}

impl Pending for Underway {
    fn wait(self: Box<Self>) -> Result<(), CollectiveError> {
        self.finish()
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if !self.done {
            // Nobody waited: libtorch gets the memory back only after NCCL. If even that fails, the group has ended, and
            // with it what NCCL had to do.
            self.comm.stream().torch_after(&self.event).ok();
        }
    }
}

/// What of NCCL is on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its version.
    pub version: Version,
    /// Where it was loaded from.
    pub path: PathBuf,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NCCL {} ({})", self.version, self.path.display())
    }
}

/// Loads NCCL and lets it make a group's id, for which it looks for a network interface. Needs no GPU.
///
/// # Errors
/// There is none, it is too old, or it finds no interface.
pub fn probe() -> Result<Found, CollectiveError> {
    let nvidia = Nvidia::find()?;
    new_id(&nvidia)?;
    Ok(Found { version: nvidia.version, path: nvidia.path })
}

/// Rank and number of ranks as NCCL counts them.
fn place(rank: usize, world: usize) -> Result<(i32, i32), CollectiveError> {
    match (i32::try_from(rank), i32::try_from(world)) {
        (Ok(place), Ok(ranks)) if rank < world => Ok((place, ranks)),
        _ => Err(unmet(format!("there is no rank {rank} among {world}"))),
    }
}

/// The id of a new group.
fn new_id(nvidia: &Nvidia) -> Result<Vec<u8>, CollectiveError> {
    let mut id = ncclUniqueId { internal: [0; ID] };
    // SAFETY: writes one id.
    match unsafe { (nvidia.functions.ncclGetUniqueId)(&mut id) } {
        SUCCESS => Ok(id.internal.map(|byte| byte as u8).to_vec()),
        status => Err(unmet(nvidia.explain(status, std::ptr::null_mut()))),
    }
}

/// The id that has come from rank 0.
fn id_of(bytes: &[u8]) -> Result<ncclUniqueId, CollectiveError> {
    if bytes.is_empty() {
        return Err(unmet("rank 0 could not begin: its own message says why".to_owned()));
    }
    match <[u8; ID]>::try_from(bytes) {
        Ok(id) => Ok(ncclUniqueId { internal: id.map(|byte| byte as c_char) }),
        Err(_) => Err(unmet(format!("rank 0 sent an id of {} bytes, and NCCL's have {ID}", bytes.len()))),
    }
}

fn unmet(message: String) -> CollectiveError {
    CollectiveError::Failed { operation: "meeting", message }
}
