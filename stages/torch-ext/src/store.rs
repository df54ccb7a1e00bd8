//! c10d's TCP store: keys and values on one rank's host, for all.

use std::ffi::c_void;
use std::time::Duration;

use crate::native::{self, c_text};

/// The store could not be had, or does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} at the store {place}: {message}")]
pub struct StoreError {
    /// What was tried, as `asking for fault`.
    pub operation: String,
    /// Where the store is, as `host:port`.
    pub place: String,
    /// What libtorch says.
    pub message: String,
}

/// A connection to the store, with the store itself behind it where this process serves it.
///
/// One call at a time: a connection that may wait long should not be shared.
#[derive(Debug)]
pub struct TcpStore {
    native: *mut c_void,
    place: String,
    port: u16,
}

// SAFETY: c10d's store takes a lock around each call; nothing in it belongs to a thread.
unsafe impl Send for TcpStore {}
// SAFETY: as above.
unsafe impl Sync for TcpStore {}

impl TcpStore {
    /// Connects to the store at `host` and `port`, trying again until `timeout`; serves it first where `serves` (port 0:
    /// any free one). Calls that get no answer fail after `timeout` too.
    ///
    /// # Errors
    /// The port is taken, or nobody serves there within the time-out.
    pub fn connect(host: &str, port: u16, serves: bool, timeout: Duration) -> Result<TcpStore, StoreError> {
        let place = format!("{host}:{port}");
        let operation = if serves { "serving" } else { "meeting" };
        let mut native = std::ptr::null_mut();
        let host = c_text(host);
        if std::env::var_os("TORCH_CPP_LOG_LEVEL").is_none() {
            // SAFETY: writes a number that libtorch's log reads.
            unsafe { native::mugs_quiet_log() }
        }
        // SAFETY: the text outlives the call, `native` is a place for the result.
        let failed =
            unsafe { native::mugs_store_new(host.as_ptr(), port, serves, milliseconds(timeout), &raw mut native) };
        native::error(failed).map_err(|message| StoreError {
            operation: operation.into(),
            place: place.clone(),
            message,
        })?;
        // SAFETY: the store is made.
        let port = unsafe { native::mugs_store_port(native) };
        Ok(TcpStore { native, place, port })
    }

    /// The port that it is served on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the store is, as `host:port`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Puts `value` under `key`. Once this has returned, every connection finds it.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let name = c_text(key);
        // SAFETY: key and value outlive the call.
        let failed = unsafe { native::mugs_store_set(self.native, name.as_ptr(), value.as_ptr(), value.len()) };
        self.answer(failed, "writing", key)
    }

    /// What is under `key`, waiting up to `timeout` for somebody to put it there.
    ///
    /// # Errors
    /// Nobody does, or the store does not answer.
    pub fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, StoreError> {
        let name = c_text(key);
        let (mut data, mut length) = (std::ptr::null_mut(), 0);
        // SAFETY: the key outlives the call, `data` and `length` are places for the result.
        let failed = unsafe {
            native::mugs_store_get(self.native, name.as_ptr(), milliseconds(timeout), &raw mut data, &raw mut length)
        };
        self.answer(failed, "waiting for", key)?;
        // SAFETY: without an error there are `length` bytes at `data`, ours to free.
        let value = unsafe { std::slice::from_raw_parts(data, length) }.to_vec();
        // SAFETY: as above; not used any more.
        unsafe { native::free(data.cast()) };
        Ok(value)
    }

    /// Adds to the number under `key`, 0 before the first time; the sum.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn add(&self, key: &str, value: i64) -> Result<i64, StoreError> {
        let name = c_text(key);
        let mut sum = 0;
        // SAFETY: the key outlives the call, `sum` is a place for the result.
        let failed = unsafe { native::mugs_store_add(self.native, name.as_ptr(), value, &raw mut sum) };
        self.answer(failed, "counting", key).map(|()| sum)
    }

    /// Whether there is anything under `key`; waits for nobody.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn has(&self, key: &str) -> Result<bool, StoreError> {
        let name = c_text(key);
        let mut present = false;
        // SAFETY: the key outlives the call, `present` is a place for the result.
        let failed = unsafe { native::mugs_store_check(self.native, name.as_ptr(), &raw mut present) };
        self.answer(failed, "looking for", key).map(|()| present)
    }

    pub(crate) fn native(&self) -> *mut c_void {
        self.native
    }

    fn answer(&self, failed: *mut std::ffi::c_char, what: &str, key: &str) -> Result<(), StoreError> {
        native::error(failed).map_err(|message| StoreError {
            operation: format!("{what} {key}"),
            place: self.place.clone(),
            message,
        })
    }
}

impl Drop for TcpStore {
    fn drop(&mut self) {
        // SAFETY: made by `mugs_store_new`, not used any more. Groups hold a count of their own.
        unsafe { native::mugs_store_free(self.native) }
    }
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64)
}
