//! Rotation about the middle; right angles move pixels exactly.

use std::f64::consts::PI;
use std::io::Write;

use super::affine::{Matrix, Resample, affine};
use super::{hflip, vflip};
use crate::Image;

/// Rotates counter-clockwise by `degrees`, keeping the size; what comes from outside is [`super::FILL`].
///
/// Angles that are 0 or 180 modulo 360, and 90 or 270 on squares, are exact.
pub fn rotate(image: &Image, degrees: f64, resample: Resample) -> Image {
    let angle = modulo(degrees);
    let square = image.width == image.height;
    let mut out = image.clone();
    if angle == 180.0 {
        hflip(&mut out);
        vflip(&mut out);
    } else if square && angle == 90.0 {
        transpose(&mut out);
        vflip(&mut out);
    } else if square && angle == 270.0 {
        transpose(&mut out);
        hflip(&mut out);
    } else if angle != 0.0 {
        out = affine(image, rotation(image.width, image.height, degrees), resample);
    }
    out
}

/// The map of a rotation about the middle of a `width` x `height` picture.
pub fn rotation(width: usize, height: usize, degrees: f64) -> Matrix {
    let theta = -(modulo(degrees) * (PI / 180.0));
    let cos = round15(libm::cos(theta));
    let sin = round15(libm::sin(theta));
    let minus_sin = round15(-libm::sin(theta));
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    let c = (cos * -x + sin * -y) + 0.0 + x;
    let f = (minus_sin * -x + cos * -y) + 0.0 + y;
    [cos, sin, c, minus_sin, cos, f]
}

/// An angle in [0, 360), floored modulo.
fn modulo(degrees: f64) -> f64 {
    degrees.rem_euclid(360.0)
}

/// Rounds to 15 decimals as printing and reading back does, which hides the last bits in which math libraries differ.
fn round15(value: f64) -> f64 {
    // In a buffer of its own, as every strong crop may ask: a sine and a cosine have at most 18 characters.
    let mut text = [0; 32];
    let mut rest = &mut text[..];
    let written = write!(rest, "{value:.15}").is_ok();
    let length = 32 - rest.len();
    let text = std::str::from_utf8(&text[..length]).ok().filter(|_| written);
    text.and_then(|text| text.parse().ok()).unwrap_or(value)
}

/// Swaps rows and columns of a square picture.
fn transpose(image: &mut Image) {
    let side = image.width;
    let colours = image.colours_mut();
    for y in 0..side {
        for x in 0..y {
            colours.swap(y * side + x, x * side + y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_is_counter_clockwise() {
        let image = Image::new(2, 2, vec![1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]).unwrap();
        let turned = rotate(&image, 90.0, Resample::Bilinear);
        assert_eq!(turned.pixels, [2, 2, 2, 4, 4, 4, 1, 1, 1, 3, 3, 3]);
        assert_eq!(rotate(&turned, -90.0, Resample::Bilinear), image);
        assert_eq!(rotate(&turned, 90.0, Resample::Bilinear), rotate(&image, 540.0, Resample::Bicubic));
    }

    #[test]
    fn a_whole_turn_is_a_copy() {
        let image = Image::new(3, 1, (0..9).collect()).unwrap();
        assert_eq!(rotate(&image, -720.0, Resample::Bicubic), image);
    }
}
