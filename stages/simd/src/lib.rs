//! Vectors of the processor's widest kind, chosen at run time.
//!
//! A [`Kernel`] is written once, over any [`Simd`], and runs with AVX2 (32 bytes a vector) or AVX-512 (64). A value of
//! [`Vectors`] exists only where the processor has what it stands for, so a kernel's calls are safe.
//! [`Level`] names the paths; [`Level::chosen`] is the one in use.
//!
//! ```
//! use mugs_simd::{Kernel, Level, Simd};
//!
//! /// 255 - v of every byte.
//! struct Invert<'a>(&'a mut [u8]);
//!
//! impl Kernel for Invert<'_> {
//!     type Out = ();
//!
//!     #[inline(always)]
//!     fn run<S: Simd>(self, s: S) {
//!         let ones = s.splat8(255);
//!         for bytes in self.0.chunks_exact_mut(S::BYTES) {
//!             s.store(s.xor(s.load(bytes), ones), bytes);
//!         }
//!     }
//! }
//!
//! let mut bytes = [7; 128];
//! let ran = Level::best().run(Invert(&mut bytes)).is_some();
//! assert_eq!(bytes[100], if ran { 248 } else { 7 }); // without vectors nothing ran
//! ```
//!
//! Floats are rounded as by scalar code: nothing is fused or reordered unless a kernel calls [`Simd::fma`].

mod level;
#[cfg(not(target_arch = "x86_64"))]
mod other;
mod simd;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use level::{Level, LevelError};
#[cfg(not(target_arch = "x86_64"))]
pub use other::Vectors;
pub use simd::{Kernel, Simd};
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512, Vectors};
