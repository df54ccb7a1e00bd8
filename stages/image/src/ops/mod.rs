//! The crop operators, exact to the bit.
//!
//! Operators that keep the size change a picture in place; those that move pixels return a new one. Numbers are those
//! of the reference: factors and angles f64 (rounded to f32 where Pillow does), pixels truncated or rounded as each
//! operator says.

pub(crate) mod affine;
mod blur;
pub(crate) mod colour;
mod crop;
mod evaluate;
mod hue;
pub(crate) mod lookup;
mod resize;
mod rotate;
mod sharpen;
pub(crate) mod taps;
pub mod tensor;

pub use affine::{
    FILL, Matrix, Resample, affine, shear_x, shear_y, translate_x, translate_x_rel, translate_y, translate_y_rel,
};
pub use blur::{BoxBlur, gaussian_blur};
pub use colour::{brightness, contrast, grayscale, saturation};
pub use crop::{center_crop, crop, hflip, vflip};
pub use evaluate::evaluate;
pub use hue::hue;
pub use lookup::{auto_contrast, equalize, invert, posterize, solarize, solarize_add};
pub use resize::{resize, resize_box, resize_short, resized_crop, short_side_size};
pub use rotate::{rotate, rotation};
pub use sharpen::{sharpness, smooth};
pub use taps::Filter;

/// A rectangle of whole pixels inside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rect {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}
