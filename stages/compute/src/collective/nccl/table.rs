//! Tables of C functions that are looked up in a library at run time.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

/// Declares a table of C functions by their signatures. Its `resolve` looks all of them up at once, so that a library
/// that lacks one is noticed before the first call, by the name of the function.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($function:ident: fn($($argument:ty),* $(,)?) -> $result:ty,)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case, reason = "the names of C")]
        pub(super) struct $name {
            $(pub(super) $function: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl $name {
            /// # Errors
            /// The name of the first function that `library`, together with what it was linked to, has not got.
            ///
            /// # Safety
            /// The library's functions have the signatures of the table, and it is never unloaded.
            pub(super) unsafe fn resolve(library: &libloading::os::unix::Library) -> Result<Self, &'static str> {
                Ok(Self {
                    $($function: {
                        // SAFETY: the caller vouches for the signature, and that the address stays good.
                        match unsafe { library.get(concat!(stringify!($function), "\0").as_bytes()) } {
                            Ok(symbol) => *symbol,
                            Err(_) => return Err(stringify!($function)),
                        }
                    },)*
                })
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use table;

/// A message of a C library.
///
/// # Safety
/// `message` is null or a C string that lasts for the duration of the call.
pub(super) unsafe fn text(message: *const c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    // SAFETY: not null, and a C string by the caller's word.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

/// The files mapped into this process, with the first address and the one after the last of each mapping.
fn mappings() -> Vec<(usize, usize, PathBuf)> {
    // Without the file (not Linux, no /proc) the answer is merely less precise.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(mapping).collect()
}

/// One line of it, as `7f00-7fff r-xp 00000000 fe:01 1234   /usr/lib/libz.so.1`.
fn mapping(line: &str) -> Option<(usize, usize, PathBuf)> {
    let path = &line[line.find('/')?..];
    let (first, end) = line.split_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(first, 16).ok()?, usize::from_str_radix(end, 16).ok()?, path.into()))
}

/// The library that holds the function at an address.
pub(super) fn library_of(address: usize) -> Option<PathBuf> {
    mappings().into_iter().find(|(first, end, _)| (*first..*end).contains(&address)).map(|(_, _, path)| path)
}

/// Where a library with this file name was loaded from.
pub(super) fn loaded(name: &str) -> Option<PathBuf> {
    mappings().into_iter().map(|(_, _, path)| path).find(|path| path.file_name().is_some_and(|file| file == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mappings() {
        let line = "7f10a000-7f10c000 r-xp 00001000 fe:01 1234   /opt/some where/libnccl.so.2";
        assert_eq!(mapping(line), Some((0x7f10_a000, 0x7f10_c000, "/opt/some where/libnccl.so.2".into())));
        assert_eq!(mapping("7f10a000-7f10c000 rw-p 00000000 00:00 0 "), None);
        assert_eq!(mapping("7ffd0000-7ffd2000 rw-p 00000000 00:00 0   [stack]"), None);
    }

    #[test]
    fn libtorch_knows_where_it_lies() {
        assert!(tch::Cuda::device_count() >= 0);
        let torch = loaded("libtorch_cpu.so").unwrap();
        assert!(torch.is_absolute() && torch.is_file(), "{}", torch.display());
        assert_eq!(loaded("libmugs-nothing.so"), None);
        // A function of this program lies in this program.
        assert_eq!(library_of(mapping as *const () as usize), std::env::current_exe().ok());
        assert_eq!(library_of(0), None);
    }
}
