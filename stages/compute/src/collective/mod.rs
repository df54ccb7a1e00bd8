//! What ranks do together: one trait, with Gloo between processes on CPUs and NCCL between GPUs behind it.

mod error;
pub mod gloo;
pub mod nccl;

use std::fmt::Debug;

use tch::{Device, Tensor};

pub use error::CollectiveError;

/// A group of ranks that meet in the same calls in the same order. Tensors are dense, of equal shape and kind on all
/// ranks, and lie where the back end computes (Gloo: CPU; NCCL: this rank's GPU).
///
/// Every call returns within the time-out that the group was made with, or fails; a failed group stays failed.
pub trait Collective: Debug + Send + Sync {
    /// Number of this rank, below [`world`](Self::world).
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world(&self) -> usize;

    /// Where tensors must lie.
    fn device(&self) -> Device;

    /// What carries the bytes, for people: `gloo` or `nccl 2.28.9`.
    fn backend(&self) -> String;

    /// Puts the sum over all ranks into `tensor`, equal to the bit on all of them.
    ///
    /// # Errors
    /// A rank is gone, too late, or another error of the back end; `tensor` may hold anything then.
    fn all_reduce(&self, tensor: &Tensor) -> Result<(), CollectiveError>;

    /// Begins [`all_reduce`](Self::all_reduce) and returns at once; `tensor` must be left alone until
    /// [`Pending::wait`]. Several may be under way, begun in the same order on all ranks.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    fn start_all_reduce(&self, tensor: &Tensor) -> Result<Box<dyn Pending>, CollectiveError>;

    /// The tensors of all ranks, by rank.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    fn all_gather(&self, tensor: &Tensor) -> Result<Vec<Tensor>, CollectiveError>;

    /// Copies rank `root`'s `tensor` into that of every other rank.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<(), CollectiveError>;

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// Makes the call that is under way on this rank, and every later one, fail with [`CollectiveError::Aborted`]. From
    /// any thread; waits for nobody.
    fn abort(&self);
}

/// A call under way.
pub trait Pending: Debug + Send {
    /// Returns when it is done.
    ///
    /// # Errors
    /// As [`Collective::all_reduce`].
    fn wait(self: Box<Self>) -> Result<(), CollectiveError>;
}
