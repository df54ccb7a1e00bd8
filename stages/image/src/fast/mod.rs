//! The operators on vectors: the same bytes as [`ops`](crate::ops), many times faster.
//!
//! Pictures lie in [`Planes`], mostly turned: a row of the planes is a column of the picture. That makes both passes of
//! a resize sums of whole rows, mirroring left and right an order of rows, and shears and translations blends of
//! lines. Operators that strong crops need work on a [`Window`] of the picture and read only what that window needs.
//!
//! Every function names its [`Vectors`](mugs_simd::Vectors), so that tests can run all of them on one machine.

mod blend;
mod blur;
mod colour;
mod floats;
mod geometry;
mod hue;
mod lookup;
mod planes;
mod resize;
mod rotate;
mod sharpen;
mod turn;
mod weights;

pub use blur::Blur;
pub use colour::{brightness, contrast, grayscale, mean_luma, saturation};
pub use floats::ToFloats;
pub use geometry::{Geometry, source_window};
pub use hue::hue;
pub use lookup::{Counts, Maps};
pub use planes::{Planes, View, Window};
pub use resize::Resizer;
pub use sharpen::sharpness;
pub use turn::{columns_of, to_image, turned as turn};
