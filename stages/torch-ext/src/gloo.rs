//! c10d's collectives over Gloo, between processes on CPUs.

use std::ffi::c_void;
use std::time::Duration;

use tch::Tensor;

use crate::native::{self, c_text};
use crate::store::{TcpStore, milliseconds};

/// Why a call over Gloo gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GlooError {
    /// It was given up, see [`Gloo::abort`].
    Aborted,
    /// What libtorch says.
    Failed(String),
}

/// Where the other ranks reach this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host's name or address.
    Host(String),
    /// A network interface, as `eth0`.
    Interface(String),
}

/// A group of ranks.
#[derive(Debug)]
pub struct Gloo {
    native: *mut c_void,
}

// SAFETY: c10d's group may be called from any thread, and so may the abort flag beside it.
unsafe impl Send for Gloo {}
// SAFETY: as above; calls are queued by the group itself.
unsafe impl Sync for Gloo {}

impl Gloo {
    /// Meets `world` ranks at `store` under `prefix`. Every call fails after `timeout`.
    ///
    /// # Errors
    /// Not all come within the time-out, or they cannot reach each other.
    pub fn connect(
        store: &TcpStore,
        prefix: &str,
        [rank, world]: [usize; 2],
        timeout: Duration,
        address: &Address,
    ) -> Result<Gloo, String> {
        let (prefix, mut native) = (c_text(prefix), std::ptr::null_mut());
        let (rank, world) = (int(rank)?, int(world)?);
        let (address, is_interface) = match address {
            Address::Host(name) => (c_text(name), false),
            Address::Interface(name) => (c_text(name), true),
        };
        // SAFETY: the store is whole, the texts outlive the call, `native` is a place for the result.
        native::error(unsafe {
            native::mugs_gloo_new(
                store.native(),
                prefix.as_ptr(),
                rank,
                world,
                milliseconds(timeout),
                address.as_ptr(),
                is_interface,
                &raw mut native,
            )
        })?;
        Ok(Gloo { native })
    }

    /// Begins to put the sum over all ranks into the dense `tensor`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<GlooWork, GlooError> {
        let mut own = tensor.shallow_clone();
        // SAFETY: both the group and the tensor are whole.
        self.work(vec![tensor.shallow_clone()], |pending| unsafe {
            native::mugs_gloo_all_reduce(self.native, own.as_mut_ptr(), pending)
        })
    }

    /// Begins to gather the dense `tensor`s of all ranks into `outputs` `[world, …]`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn all_gather(&self, tensor: &Tensor, outputs: &Tensor) -> Result<GlooWork, GlooError> {
        let (mut own, mut all) = (tensor.shallow_clone(), outputs.shallow_clone());
        // SAFETY: the group and both tensors are whole.
        self.work(vec![tensor.shallow_clone(), outputs.shallow_clone()], |pending| unsafe {
            native::mugs_gloo_all_gather(self.native, own.as_mut_ptr(), all.as_mut_ptr(), pending)
        })
    }

    /// Begins to copy rank `root`'s dense `tensor` into those of the others.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<GlooWork, GlooError> {
        let mut own = tensor.shallow_clone();
        let root = int(root).map_err(GlooError::Failed)?;
        // SAFETY: both the group and the tensor are whole.
        self.work(vec![tensor.shallow_clone()], |pending| unsafe {
            native::mugs_gloo_broadcast(self.native, own.as_mut_ptr(), root, pending)
        })
    }

    /// Ends every wait, now and later, with [`GlooError::Aborted`]; what is under way goes on unseen until its time-out.
    pub fn abort(&self) {
        // SAFETY: the group is whole.
        unsafe { native::mugs_gloo_abort(self.native) }
    }

    /// Never frees the group: doing so would wait for what is under way.
    pub fn forget(self) {
        std::mem::forget(self);
    }

    fn work(
        &self,
        tensors: Vec<Tensor>,
        begin: impl FnOnce(*mut *mut c_void) -> *mut std::ffi::c_char,
    ) -> Result<GlooWork, GlooError> {
        let mut pending = std::ptr::null_mut();
        native::error(begin(&raw mut pending)).map_err(GlooError::Failed)?;
        Ok(GlooWork { native: pending, tensors })
    }
}

impl Drop for Gloo {
    fn drop(&mut self) {
        // SAFETY: made by `mugs_gloo_new`, not used any more.
        unsafe { native::mugs_gloo_free(self.native) }
    }
}

/// A call under way.
#[derive(Debug)]
pub struct GlooWork {
    native: *mut c_void,
    /// Kept while they are read and written; the group keeps them too.
    tensors: Vec<Tensor>,
}

// SAFETY: c10d's work may be waited for from any thread.
unsafe impl Send for GlooWork {}

impl GlooWork {
    /// Returns when it is done.
    ///
    /// # Errors
    /// It failed, for example since a rank is gone, or was given up.
    pub fn wait(self) -> Result<(), GlooError> {
        let mut text = std::ptr::null_mut();
        // SAFETY: made by a call of the group, `text` is a place for the result.
        let status = unsafe { native::mugs_pending_wait(self.native, &raw mut text) };
        match native::error(text) {
            Err(message) => Err(GlooError::Failed(message)),
            Ok(()) if status == 0 => Ok(()),
            Ok(()) => Err(GlooError::Aborted),
        }
    }
}

impl Drop for GlooWork {
    fn drop(&mut self) {
        self.tensors.clear();
        // SAFETY: made by a call of the group, not used any more.
        unsafe { native::mugs_pending_free(self.native) }
    }
}

fn int(number: usize) -> Result<i32, String> {
    i32::try_from(number).map_err(|_| format!("{number} is too large a number of a rank"))
}
