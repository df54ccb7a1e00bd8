//! Builds the library of `fake/fake.c`, tells it what is to go wrong, and runs ranks over it.

use std::ffi::{CString, c_char, c_int, c_long, c_uint};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::Duration;

use libloading::Library;
use mugs_compute::collective::CollectiveError;
use mugs_compute::collective::nccl::Nccl;
use tempfile::TempDir;

/// Longer than any test that ends well takes.
pub const LONG: Duration = Duration::from_secs(120);
/// For the tests of what ends by it; said as `1 s`.
pub const SHORT: Duration = Duration::from_millis(900);
/// The same where ranks must meet before, which takes a while on a busy machine; said as `5 s`.
pub const MEETING: Duration = Duration::from_millis(4900);

/// A copy of the library of its own, so that tests do not share its counts.
pub struct Fake {
    pub path: PathBuf,
    library: Library,
    _folder: TempDir,
}

impl Fake {
    pub fn new() -> Self {
        Self::built(&[])
    }

    /// With flags for the compiler.
    pub fn built(flags: &[&str]) -> Self {
        static PLAIN: OnceLock<Vec<u8>> = OnceLock::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnccl.so.2");
        if flags.is_empty() {
            std::fs::write(&path, PLAIN.get_or_init(|| compile(&[]))).unwrap();
        } else {
            std::fs::write(&path, compile(flags)).unwrap();
        }
        // SAFETY: the library has no initialisers.
        let library = unsafe { Library::new(&path) }.unwrap();
        Self { path, library, _folder: folder }
    }

    /// See `fake_set`.
    pub fn set(&self, name: &str, value: c_long) {
        let name = CString::new(name).unwrap();
        // SAFETY: the signature is the one in fake.c.
        unsafe {
            let set = self.library.get::<unsafe extern "C" fn(*const c_char, c_long)>("fake_set").unwrap();
            set(name.as_ptr(), value);
        }
    }

    /// The call of this number of a function, counted from 1 for each rank (-1: there is none), returns `status`.
    pub fn fail(&self, function: &str, rank: c_int, call: c_long, status: c_uint) {
        let function = CString::new(function).unwrap();
        // SAFETY: the signature is the one in fake.c.
        unsafe {
            type Fail = unsafe extern "C" fn(*const c_char, c_int, c_long, c_uint);
            let fail = self.library.get::<Fail>("fake_fail").unwrap();
            fail(function.as_ptr(), rank, call, status);
        }
    }

    /// After so many looks at its communicator, a rank finds it in the state `status`.
    pub fn asynchronous(&self, rank: c_int, after: c_long, status: c_uint) {
        // SAFETY: the signature is the one in fake.c.
        unsafe {
            let arm = self.library.get::<unsafe extern "C" fn(c_int, c_long, c_uint)>("fake_async").unwrap();
            arm(rank, after, status);
        }
    }

    /// What `ncclGetLastError` says.
    pub fn say(&self, message: &str) {
        let message = CString::new(message).unwrap();
        // SAFETY: the signature is the one in fake.c.
        unsafe {
            let say = self.library.get::<unsafe extern "C" fn(*const c_char)>("fake_say").unwrap();
            say(message.as_ptr());
        }
    }

    /// How often a function was called, or something was seen, by all ranks together.
    pub fn count(&self, name: &str) -> c_long {
        self.count_of(name, -1)
    }

    /// The same by one rank.
    pub fn count_of(&self, name: &str, rank: c_int) -> c_long {
        let name = CString::new(name).unwrap();
        // SAFETY: the signature is the one in fake.c.
        unsafe {
            let count = self.library.get::<unsafe extern "C" fn(*const c_char, c_int) -> c_long>("fake_count").unwrap();
            count(name.as_ptr(), rank)
        }
    }

    /// This thread's current GPU, and its last error of CUDA's.
    pub fn thread(&self) -> (c_int, c_int) {
        let mut device = -1;
        // SAFETY: the signatures are those in fake.c.
        unsafe {
            self.library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>("cudaGetDevice").unwrap()(&mut device);
            (device, self.library.get::<unsafe extern "C" fn() -> c_int>("cudaGetLastError").unwrap()())
        }
    }

    /// Communicators that ended by an abort, and by a destroy. Whatever happens, none is used after its end.
    pub fn ends(&self) -> (c_long, c_long) {
        assert_eq!(self.count("used after its end"), 0);
        (self.count("ncclCommAbort"), self.count("ncclCommDestroy"))
    }

    /// One rank of a group.
    pub fn rank(&self, rank: usize, world: usize, timeout: Duration, id: &Id) -> Result<Nccl, CollectiveError> {
        Nccl::rehearse(&self.path, rank, world, timeout, &mut |own| Ok(id.exchange(own)))
    }

    /// Runs a group, each rank in a thread of its own; what they return, by rank.
    pub fn run<T: Send>(&self, world: usize, timeout: Duration, run: impl Fn(Nccl) -> T + Sync) -> Vec<T> {
        let id = Id::default();
        std::thread::scope(|scope| {
            let ranks: Vec<_> = (0..world)
                .map(|rank| {
                    let (run, id) = (&run, &id);
                    scope.spawn(move || run(self.rank(rank, world, timeout, id).unwrap()))
                })
                .collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }
}

/// The library's bytes, made with further flags.
fn compile(flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nccl/fake/fake.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(&compiler)
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"])
        .args(flags)
        .arg("-o")
        .args([path.as_os_str(), source.as_ref(), "-lpthread".as_ref()])
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::read(path).unwrap()
}

/// Carries a group's id from rank 0 to the others.
#[derive(Default)]
pub struct Id {
    bytes: Mutex<Option<Vec<u8>>>,
    there: Condvar,
}

impl Id {
    pub fn exchange(&self, own: Option<Vec<u8>>) -> Vec<u8> {
        let mut bytes = self.bytes.lock().unwrap();
        if own.is_some() {
            *bytes = own;
            self.there.notify_all();
        }
        let bytes = self.there.wait_while(bytes, |bytes| bytes.is_none()).unwrap();
        bytes.clone().unwrap()
    }
}
