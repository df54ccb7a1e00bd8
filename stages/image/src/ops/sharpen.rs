//! Smoothing, and the sharpness operator built on it.

use super::colour::blend;
use crate::Image;
use crate::image::CHANNELS;

/// Weight of the eight neighbours.
const NEAR: f32 = 1.0 / 13.0;
/// Weight of the pixel itself.
const SELF: f32 = 5.0 / 13.0;

/// Averages each pixel with its neighbours, itself five-fold. The outer ring, and a picture of fewer than three rows or
/// columns, is copied.
pub fn smooth(image: &Image) -> Image {
    let mut out = image.clone();
    let (width, height) = (image.width, image.height);
    if width < 3 || height < 3 {
        return out;
    }
    for y in 1..height - 1 {
        let (above, middle, below) = (image.row(y - 1), image.row(y), image.row(y + 1));
        let inner = &mut out.row_mut(y)[CHANNELS..(width - 1) * CHANNELS];
        for (left, target) in inner.iter_mut().enumerate() {
            // The bottom row first, each row and each sum rounded to f32: the reference's order.
            let acc = 0.5 + line(below, left, NEAR);
            let acc = acc + line(middle, left, SELF);
            let acc = acc + line(above, left, NEAR);
            *target = acc as u8;
        }
    }
    out
}

/// Three weighted neighbours in a row, of which the left one is at `left`.
fn line(row: &[u8], left: usize, weight: f32) -> f32 {
    let at = |step: usize| f32::from(row[left + step * CHANNELS]);
    (at(0) * NEAR + at(1) * weight) + at(2) * NEAR
}

/// Blends from the smoothed picture: below 1 softer, above 1 sharper; 1 changes nothing.
pub fn sharpness(image: &mut Image, factor: f64) {
    let factor = factor as f32;
    if factor == 1.0 {
        return;
    }
    let soft = smooth(image);
    for (value, &soft) in image.pixels.iter_mut().zip(&soft.pixels) {
        *value = blend(soft, *value, factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bright_pixel_spreads_in_thirteenths() {
        let mut image = Image::filled(5, 5, [0; 3]);
        image.row_mut(2)[6..9].fill(130);
        let soft = smooth(&image);
        assert_eq!((soft.pixel(2, 2), soft.pixel(1, 1), soft.pixel(0, 2)), ([50; 3], [10; 3], [0; 3]));
    }

    #[test]
    fn the_ring_is_copied() {
        let image = Image::new(4, 3, (0..36).map(|at| (at * 91) as u8).collect()).unwrap();
        let soft = smooth(&image);
        assert_eq!((soft.row(0), soft.row(2)), (image.row(0), image.row(2)));
        assert_eq!((soft.pixel(0, 1), soft.pixel(3, 1)), (image.pixel(0, 1), image.pixel(3, 1)));
    }
}
