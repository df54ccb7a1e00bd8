//! Counter-based random numbers: every draw has a fixed address, on every host the same.
//!
//! A conventional generator has a hidden state, so a draw depends on all draws before it: on the number of workers,
//! on what was skipped, on where a run was resumed. Here a draw is a pure function of a key and an [`Address`]:
//!
//! ```
//! use mugs_random::{Address, Draws};
//!
//! let address = Address { epoch: 3, position: 1_281_166, lane: 0 };
//! let mut draws = Draws::at(42, address);
//! let angle = draws.range_f32(-30.0, 30.0);
//!
//! // Anyone who knows seed and address draws the same, without having drawn anything else.
//! assert_eq!(Draws::at(42, address).range_f32(-30.0, 30.0), angle);
//! ```
//!
//! The generator is [Philox 4x32-10](philox4x32_10); the mappings from its words to numbers are our own, written out
//! at each method of [`Draws`], and use the `libm` crate in place of the host's mathematics library. Many normals at once
//! are drawn by vectors ([`Draws::fill_normal_f32`]), whose lanes do what `libm` does: the same bits, several times faster.

mod draws;
mod normals;
mod philox;
mod shuffle;

pub use draws::{Address, Draws};
pub use philox::philox4x32_10;
pub use shuffle::{derive, permutation, shuffle};
