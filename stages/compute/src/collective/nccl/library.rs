//! NCCL's library: where it is found, which version it is, and the functions of it that are used.

use std::fmt;
use std::path::{Path, PathBuf};

use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::table::{library_of, loaded, table, text};
use crate::collective::CollectiveError;

/// The names under which NVIDIA's packages and their development parts install the library.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

/// Has the communicators that never block, and no longer the mistakes of their first versions.
const OLDEST: Version = Version(21_800);

/// glibc's flag for [`Library::open`]: only what is loaded already.
pub(super) const RTLD_NOLOAD: std::ffi::c_int = 4;

/// All is well.
pub(super) const SUCCESS: u32 = 0;
/// A call that does not block goes on; what becomes of it is to be asked later.
pub(super) const IN_PROGRESS: u32 = 7;

table! {
    /// What is called of NCCL. Statuses are numbers here, not the `enum` of the bindings: a newer library may return one
    /// that the `enum` has not got.
    Functions {
        ncclGetUniqueId: fn(*mut ncclUniqueId) -> u32,
        ncclGetErrorString: fn(u32) -> *const std::ffi::c_char,
        ncclGetLastError: fn(ncclComm_t) -> *const std::ffi::c_char,
        ncclCommInitRankConfig: fn(*mut ncclComm_t, i32, ncclUniqueId, i32, *mut ncclConfig_t) -> u32,
        ncclCommGetAsyncError: fn(ncclComm_t, *mut u32) -> u32,
        ncclCommFinalize: fn(ncclComm_t) -> u32,
        ncclCommDestroy: fn(ncclComm_t) -> u32,
        ncclCommAbort: fn(ncclComm_t) -> u32,
        ncclAllReduce: fn(
            *const std::ffi::c_void, *mut std::ffi::c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t,
        ) -> u32,
        ncclAllGather: fn(
            *const std::ffi::c_void, *mut std::ffi::c_void, usize, ncclDataType_t, ncclComm_t, cudaStream_t,
        ) -> u32,
        ncclBroadcast: fn(
            *const std::ffi::c_void, *mut std::ffi::c_void, usize, ncclDataType_t, i32, ncclComm_t, cudaStream_t,
        ) -> u32,
    }
}

table! {
    /// The one function that every NCCL has.
    Ancient {
        ncclGetVersion: fn(*mut i32) -> u32,
    }
}

/// A version of NCCL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub(super) i32);

impl Version {
    /// Makes one from its parts, as 2, 30, 0.
    #[must_use]
    pub const fn new(major: i32, minor: i32, patch: i32) -> Self {
        Self(major * 10_000 + minor * 100 + patch)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Up to 2.8 the major part had one digit less behind it.
        let unit = if self.0 < 10_000 { 1_000 } else { 10_000 };
        write!(formatter, "{}.{}.{}", self.0 / unit, self.0 % unit / 100, self.0 % 100)
    }
}

/// A loaded NCCL, which stays loaded until the process ends: it has threads of its own.
#[derive(Debug)]
pub(super) struct Nvidia {
    pub(super) functions: Functions,
    pub(super) version: Version,
    pub(super) path: PathBuf,
}

impl Nvidia {
    /// The one that this process has already (libtorch's GPU part brings it along), so that there are never two; else
    /// the one of the wheel beside libtorch, else the system's.
    pub(super) fn find() -> Result<Self, CollectiveError> {
        Self::first_of(&candidates())
    }

    /// The one in a file.
    pub(super) fn at(path: &Path) -> Result<Self, CollectiveError> {
        Self::first_of(&[(path.to_owned(), RTLD_NOW | RTLD_LOCAL)])
    }

    fn first_of(candidates: &[(PathBuf, std::ffi::c_int)]) -> Result<Self, CollectiveError> {
        let mut reasons = Vec::new();
        for (path, flags) in candidates {
            // SAFETY: NCCL's initialisers set up nothing but its own state.
            match unsafe { Library::open(Some(path), *flags) } {
                Ok(library) => return Self::of(library, path),
                Err(_) if flags & RTLD_NOLOAD != 0 => {}
                Err(error) => reasons.push(reason(&error)),
            }
        }
        Err(missing(format!(
            "NVIDIA's NCCL cannot be loaded ({}); CUDA=1 scripts/setup.sh fetches it",
            reasons.join("; ")
        )))
    }

    fn of(library: Library, name: &Path) -> Result<Self, CollectiveError> {
        // SAFETY: the signature is the one in nccl.h of every version; the library is never unloaded, see below.
        let Ok(ancient) = (unsafe { Ancient::resolve(&library) }) else {
            return Err(missing(format!("{} is not NVIDIA's NCCL: it lacks ncclGetVersion", name.display())));
        };
        let path = library_of(ancient.ncclGetVersion as *const () as usize).unwrap_or_else(|| name.to_owned());
        let mut version = Version(0);
        // SAFETY: writes one int.
        let status = unsafe { (ancient.ncclGetVersion)(&mut version.0) };
        if status != SUCCESS {
            return Err(missing(format!("{} does not tell its version (status {status})", path.display())));
        }
        if version < OLDEST {
            return Err(missing(format!(
                "{} is NCCL {version}, and {OLDEST} or newer is needed; CUDA=1 scripts/setup.sh fetches one",
                path.display()
            )));
        }
        // SAFETY: the signatures are those of nccl.h from the oldest allowed version on; never unloaded.
        let functions = unsafe { Functions::resolve(&library) }
            .map_err(|function| missing(format!("{} (NCCL {version}) lacks {function}", path.display())))?;
        std::mem::forget(library);
        Ok(Self { functions, version, path })
    }

    /// What a status means, and what NCCL wrote down last.
    pub(super) fn explain(&self, status: u32, comm: ncclComm_t) -> String {
        // SAFETY: takes any number; gives a C string that lasts as long as the library.
        let meaning = unsafe { text((self.functions.ncclGetErrorString)(status)) };
        // SAFETY: the communicator is alive or null, which is allowed; the C string is NCCL's own.
        let last = unsafe { text((self.functions.ncclGetLastError)(comm)) };
        match last.trim() {
            "" => format!("{meaning} (status {status})"),
            last => format!("{meaning} (status {status}): {last}"),
        }
    }
}

/// What is looked for, in this order, with the flags to open it with.
fn candidates() -> Vec<(PathBuf, std::ffi::c_int)> {
    let already = NAMES.map(|name| (name.into(), RTLD_NOW | RTLD_NOLOAD));
    // As in the wheels: torch/lib/libtorch_cpu.so and nvidia/nccl/lib/libnccl.so.2.
    let beside = loaded("libtorch_cpu.so")
        .and_then(|torch| Some(torch.ancestors().nth(3)?.join("nvidia/nccl/lib").join(NAMES[0])))
        .filter(|path| path.is_file());
    let system = NAMES.map(PathBuf::from);
    already.into_iter().chain(beside.into_iter().chain(system).map(|path| (path, RTLD_NOW | RTLD_LOCAL))).collect()
}

/// Why the loader did not load something, in its own words.
pub(super) fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

pub(super) fn missing(reason: String) -> CollectiveError {
    CollectiveError::Missing { backend: "nccl", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_nvidia_writes_them() {
        assert_eq!(Version(22_809).to_string(), "2.28.9");
        assert_eq!(Version(23_000), Version::new(2, 30, 0));
        assert_eq!(Version(2_708).to_string(), "2.7.8");
        assert!(Version(2_804) < OLDEST);
    }

    #[test]
    fn a_host_without_the_library_is_told_the_way_out() {
        let candidates = [
            (PathBuf::from("libmugs-loaded.so"), RTLD_NOW | RTLD_NOLOAD),
            (PathBuf::from("libmugs-one.so"), RTLD_NOW | RTLD_LOCAL),
            (PathBuf::from("/nowhere/libmugs-two.so"), RTLD_NOW | RTLD_LOCAL),
        ];
        let error = Nvidia::first_of(&candidates).unwrap_err().to_string();
        let start = "no nccl here: NVIDIA's NCCL cannot be loaded (libmugs-one.so: cannot open shared object file";
        assert!(error.starts_with(start), "{error}");
        assert!(error.contains("; /nowhere/libmugs-two.so: ") && !error.contains("loaded.so"), "{error}");
        assert!(error.ends_with("; CUDA=1 scripts/setup.sh fetches it"), "{error}");
    }

    #[test]
    fn what_is_loaded_comes_first_and_the_system_last() {
        let paths: Vec<_> = candidates().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths[..2], NAMES.map(PathBuf::from));
        assert_eq!(paths[paths.len() - 2..], NAMES.map(PathBuf::from));
        assert!(paths[2..paths.len() - 2].iter().all(|path| path.ends_with("nvidia/nccl/lib/libnccl.so.2")));
    }

    #[test]
    fn another_library_is_not_taken_for_nccl() {
        let torch = loaded("libtorch_cpu.so").unwrap();
        let error = Nvidia::at(&torch).unwrap_err().to_string();
        assert!(error.ends_with("libtorch_cpu.so is not NVIDIA's NCCL: it lacks ncclGetVersion"), "{error}");
    }
}
