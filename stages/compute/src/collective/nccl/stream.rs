//! The stream that NCCL's work is put on, ordered with libtorch's.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::sync::Arc;

use cudarc::nccl::sys::cudaStream_t;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::library::{RTLD_NOLOAD, missing, reason};
use super::table::{table, text};
use crate::collective::CollectiveError;

/// The part of libtorch that computes on GPUs; CUDA's runtime is among the libraries that it was linked to.
const TORCH: &str = "libtorch_cuda.so";

const SUCCESS: c_int = 0;
/// `cudaErrorNotReady`: the work before an event is not done.
const NOT_READY: c_int = 600;
/// `cudaStreamNonBlocking`: not ordered with the stream 0, which is libtorch's.
const NON_BLOCKING: c_uint = 1;
/// `cudaEventDisableTiming`: an event for order alone.
const NO_TIMING: c_uint = 2;

table! {
    /// What is called of libtorch and of CUDA's runtime, looked up in the copies that libtorch computes with: another
    /// copy of the runtime need not be of the same version.
    Runtime {
        aoti_torch_get_current_cuda_stream: fn(i32, *mut cudaStream_t) -> i32,
        cudaGetDevice: fn(*mut c_int) -> c_int,
        cudaSetDevice: fn(c_int) -> c_int,
        cudaStreamCreateWithFlags: fn(*mut cudaStream_t, c_uint) -> c_int,
        cudaStreamDestroy: fn(cudaStream_t) -> c_int,
        cudaStreamWaitEvent: fn(cudaStream_t, *mut c_void, c_uint) -> c_int,
        cudaEventCreateWithFlags: fn(*mut *mut c_void, c_uint) -> c_int,
        cudaEventRecord: fn(*mut c_void, cudaStream_t) -> c_int,
        cudaEventQuery: fn(*mut c_void) -> c_int,
        cudaEventDestroy: fn(*mut c_void) -> c_int,
        cudaGetLastError: fn() -> c_int,
        cudaGetErrorString: fn(c_int) -> *const c_char,
    }
}

impl Runtime {
    /// That of the libtorch in this process, whose GPU part whoever asked for a GPU has loaded.
    fn of_torch() -> Result<Self, CollectiveError> {
        let way_out = "CUDA=1 scripts/setup.sh fetches it, and --device cuda loads it";
        // SAFETY: nothing is loaded, so that no initialiser runs.
        let library = unsafe { Library::open(Some(TORCH), RTLD_NOW | RTLD_NOLOAD) }
            .map_err(|_| missing(format!("the GPU part of libtorch ({TORCH}) is not loaded; {way_out}")))?;
        // SAFETY: the signatures are those of libtorch's shim.h and of the runtime's API, the same in CUDA 11 to 13.
        unsafe { Self::of(library, TORCH) }
    }

    fn at(path: &Path) -> Result<Self, CollectiveError> {
        // SAFETY: whoever names a library vouches for its initialisers.
        let library =
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| missing(reason(&error)))?;
        // SAFETY: and for its functions, which are made to stand in for CUDA's.
        unsafe { Self::of(library, &path.to_string_lossy()) }
    }

    /// # Safety
    /// The library's functions of these names have these signatures.
    unsafe fn of(library: Library, name: &str) -> Result<Self, CollectiveError> {
        // SAFETY: by the caller's word, and never unloaded.
        let runtime = unsafe { Self::resolve(&library) }
            .map_err(|function| missing(format!("{name} and the libraries that it needs lack {function}")))?;
        std::mem::forget(library);
        Ok(runtime)
    }

    /// Nothing, or what the runtime says of a status, `doing` something as `recording an event`.
    fn check(&self, status: c_int, doing: &str) -> Result<(), String> {
        if status == SUCCESS {
            return Ok(());
        }
        // SAFETY: takes any number; gives a C string that lasts as long as the library.
        let meaning = unsafe { text((self.cudaGetErrorString)(status)) };
        Err(format!("{doing}: {meaning} (CUDA error {status})"))
    }
}

/// A stream of our own, beside the one that libtorch computes on: NCCL's work waits there for what libtorch was told to
/// compute before it, and what libtorch is told after it goes on beside it.
#[derive(Debug)]
pub(super) struct Stream {
    runtime: Arc<Runtime>,
    device: c_int,
    own: Raw<cudaStream_t>,
}

/// A handle of CUDA's, which any thread may use.
#[derive(Debug)]
struct Raw<T>(T);

// SAFETY: CUDA's runtime takes its handles from every thread; they are made and destroyed once, by their owners here.
unsafe impl<T> Send for Raw<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Raw<T> {}

impl Stream {
    /// One on the GPU of this number.
    pub(super) fn open(device: usize) -> Result<Self, CollectiveError> {
        Self::with(Runtime::of_torch()?, device)
    }

    /// One of what stands in for CUDA's runtime and libtorch in a library made for tests.
    pub(super) fn rehearse(library: &Path) -> Result<Self, CollectiveError> {
        Self::with(Runtime::at(library)?, 0)
    }

    fn with(runtime: Runtime, device: usize) -> Result<Self, CollectiveError> {
        let device = c_int::try_from(device).map_err(|_| missing(format!("there is no GPU {device}")))?;
        let mut stream = Self { runtime: Arc::new(runtime), device, own: Raw(std::ptr::null_mut()) };
        let made = stream.enter().and_then(|_entered| {
            let mut own = std::ptr::null_mut();
            // SAFETY: writes one handle.
            let status = unsafe { (stream.runtime.cudaStreamCreateWithFlags)(&mut own, NON_BLOCKING) };
            stream.runtime.check(status, "making a stream on the GPU").map(|()| own)
        });
        stream.own = Raw(made.map_err(missing)?);
        Ok(stream)
    }

    /// Makes this stream's GPU the thread's current one, as NCCL wants it, until the answer is dropped.
    pub(super) fn enter(&self) -> Result<Entered, String> {
        let mut before = 0;
        // SAFETY: writes one int.
        self.runtime.check(unsafe { (self.runtime.cudaGetDevice)(&mut before) }, "asking which GPU is current")?;
        if before == self.device {
            return Ok(Entered { runtime: Arc::clone(&self.runtime), before: None });
        }
        // SAFETY: takes any number.
        self.runtime.check(unsafe { (self.runtime.cudaSetDevice)(self.device) }, "choosing the GPU")?;
        Ok(Entered { runtime: Arc::clone(&self.runtime), before: Some(before) })
    }

    /// The stream to put work on, which begins after what libtorch was told to compute so far.
    pub(super) fn after_torch(&self) -> Result<cudaStream_t, String> {
        self.mark(self.torch()?)?.hold_back(self.own.0)?;
        Ok(self.own.0)
    }

    /// An event after the work put on the stream so far.
    pub(super) fn event(&self) -> Result<Event, String> {
        self.mark(self.own.0)
    }

    /// Lets what libtorch is told from now on begin after an event.
    pub(super) fn torch_after(&self, event: &Event) -> Result<(), String> {
        event.hold_back(self.torch()?)
    }

    /// The stream that libtorch puts this thread's work on.
    fn torch(&self) -> Result<cudaStream_t, String> {
        let mut current = std::ptr::null_mut();
        // SAFETY: writes one handle, which is libtorch's.
        match unsafe { (self.runtime.aoti_torch_get_current_cuda_stream)(self.device, &mut current) } {
            0 => Ok(current),
            status => Err(format!("libtorch does not tell its stream on GPU {} (status {status})", self.device)),
        }
    }

    fn mark(&self, stream: cudaStream_t) -> Result<Event, String> {
        let _entered = self.enter()?;
        let mut event = std::ptr::null_mut();
        // SAFETY: writes one handle.
        let status = unsafe { (self.runtime.cudaEventCreateWithFlags)(&mut event, NO_TIMING) };
        self.runtime.check(status, "making an event")?;
        let event = Event { runtime: Arc::clone(&self.runtime), event: Raw(event) };
        // SAFETY: both handles are alive and of the current GPU.
        let status = unsafe { (self.runtime.cudaEventRecord)(event.event.0, stream) };
        self.runtime.check(status, "recording an event").map(|()| event)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.own.0.is_null() {
            // SAFETY: made in `with`, destroyed once; CUDA lets the work on it end first.
            unsafe { (self.runtime.cudaStreamDestroy)(self.own.0) };
        }
    }
}

/// While it lives, the thread's current GPU is that of a [`Stream`].
#[derive(Debug)]
pub(super) struct Entered {
    runtime: Arc<Runtime>,
    before: Option<c_int>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // SAFETY: takes any number; this one was current before.
            unsafe { (self.runtime.cudaSetDevice)(before) };
        }
    }
}

/// A place in a stream.
#[derive(Debug)]
pub(super) struct Event {
    runtime: Arc<Runtime>,
    event: Raw<*mut c_void>,
}

impl Event {
    /// Whether all work before it is done.
    pub(super) fn done(&self) -> Result<bool, String> {
        // SAFETY: the handle is alive.
        let status = unsafe { (self.runtime.cudaEventQuery)(self.event.0) };
        if status == NOT_READY {
            // The runtime remembers the answer as this thread's last error, and libtorch would take it for one of its own.
            // SAFETY: takes nothing.
            unsafe { (self.runtime.cudaGetLastError)() };
            return Ok(false);
        }
        self.runtime.check(status, "waiting for the GPU").map(|()| true)
    }

    /// Lets what is put on `stream` from now on begin after this event.
    fn hold_back(&self, stream: cudaStream_t) -> Result<(), String> {
        // SAFETY: both handles are alive.
        let status = unsafe { (self.runtime.cudaStreamWaitEvent)(stream, self.event.0, 0) };
        self.runtime.check(status, "ordering two streams")
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made in `mark`, destroyed once; CUDA keeps it for the streams that wait for it.
        unsafe { (self.runtime.cudaEventDestroy)(self.event.0) };
    }
}
