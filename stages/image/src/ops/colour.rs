//! Brightness, contrast, saturation and gray: blends between a picture and a degenerate version of it.

use super::lookup::{apply, table};
use crate::Image;

/// ITU-R 601-2 luma in 16-bit fixed point, rounded.
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 0x8000) >> 16) as u8
}

/// `from` at factor 0, `to` at factor 1, beyond them outside; f32 step by step, then clamped and **truncated**.
pub(crate) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let step = factor * f32::from(i16::from(to) - i16::from(from));
    // The cast clamps to [0, 255] and truncates.
    (f32::from(from) + step) as u8
}

/// Replaces every pixel by its luma.
pub fn grayscale(image: &mut Image) {
    for colour in image.colours_mut() {
        *colour = [luma(*colour); 3];
    }
}

/// Blends from black. `factor` 1 changes nothing.
pub fn brightness(image: &mut Image, factor: f64) {
    let factor = factor as f32;
    apply(image, &table(|value| blend(0, value, factor)));
}

/// Blends from the gray of the picture's mean luma. `factor` 1 changes nothing.
pub fn contrast(image: &mut Image, factor: f64) {
    let factor = factor as f32;
    let gray = mean_luma(image);
    apply(image, &table(|value| blend(gray, value, factor)));
}

/// Blends from the picture's own luma. `factor` 1 changes nothing.
pub fn saturation(image: &mut Image, factor: f64) {
    let factor = factor as f32;
    if factor == 1.0 {
        return;
    }
    for colour in image.colours_mut() {
        let gray = luma(*colour);
        *colour = colour.map(|value| blend(gray, value, factor));
    }
}

/// The mean of the lumas, each rounded to a byte first, rounded half up.
fn mean_luma(image: &Image) -> u8 {
    let sum: u64 = image.colours().iter().map(|&colour| u64::from(luma(colour))).sum();
    let mean = sum as f64 / (image.width * image.height) as f64;
    (mean + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_0_and_1_are_exact() {
        for from in 0..=255 {
            for to in 0..=255 {
                assert_eq!((blend(from, to, 0.0), blend(from, to, 1.0)), (from, to));
            }
        }
    }

    #[test]
    fn blends_truncate_and_clamp() {
        assert_eq!(blend(0, 255, 0.999), 254);
        assert_eq!(blend(0, 200, 1.5), 255);
        assert_eq!(blend(200, 0, 1.5), 0);
    }

    #[test]
    fn luma_of_grays_is_the_gray() {
        for value in 0..=255 {
            assert_eq!(luma([value; 3]), value);
        }
    }
}
