//! The one crop of evaluation.

use super::{Filter, center_crop, resize_short};
use crate::Image;

/// Resizes the shorter side to `short` pixels (published: 256), then cuts out the middle `side` x `side` (224).
pub fn evaluate(image: &Image, short: usize, side: usize) -> Image {
    center_crop(&resize_short(image, short, Filter::Bicubic), side, side)
}
