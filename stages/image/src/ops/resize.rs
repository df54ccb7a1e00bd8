//! Resizing in two passes of fixed-point sums, horizontal first, with a picture of bytes between them.
//!
//! The order of the passes is that of Pillow up to 12, with which Mugs was trained.

use super::taps::{Filter, HALF, Taps, to_pixel};
use super::{Rect, crop};
use crate::Image;
use crate::image::CHANNELS;

/// A window of a picture: what lies outside it is never read.
#[derive(Clone, Copy)]
struct View<'a> {
    image: &'a Image,
    window: Rect,
}

impl<'a> View<'a> {
    fn whole(image: &'a Image) -> Self {
        Self { image, window: Rect { top: 0, left: 0, height: image.height, width: image.width } }
    }

    fn row(&self, y: usize) -> &'a [u8] {
        let Rect { top, left, width, .. } = self.window;
        &self.image.row(top + y)[left * CHANNELS..(left + width) * CHANNELS]
    }

    fn to_image(self) -> Image {
        let Rect { top, left, height, width } = self.window;
        crop(self.image, top as isize, left as isize, height, width)
    }
}

/// Resizes to `width` x `height` (each at least 1); the same size is a copy.
pub fn resize(image: &Image, width: usize, height: usize, filter: Filter) -> Image {
    resize_view(View::whole(image), [0.0, 0.0, image.width as f32, image.height as f32], width, height, filter)
}

/// Resizes the part of the picture inside the box x0, y0, x1, y1 (pixels, inside the picture, not necessarily whole).
///
/// Near the box's edges the filter reads pixels outside it, unlike [`resized_crop`].
pub fn resize_box(image: &Image, edges: [f32; 4], width: usize, height: usize, filter: Filter) -> Image {
    let [x0, y0, x1, y1] = edges;
    let whole = |edge: f32| edge.fract() == 0.0;
    if whole(x0) && whole(y0) && x1 - x0 == width as f32 && y1 - y0 == height as f32 {
        return crop(image, y0 as isize, x0 as isize, height, width);
    }
    resize_view(View::whole(image), edges, width, height, filter)
}

/// Crops, then resizes the crop: the filter never sees pixels outside it. A crop that leaves the picture is black there.
pub fn resized_crop(image: &Image, area: Rect, width: usize, height: usize, filter: Filter) -> Image {
    let Rect { top, left, height: rows, width: columns } = area;
    if top + rows > image.height || left + columns > image.width {
        return resize(&crop(image, top as isize, left as isize, rows, columns), width, height, filter);
    }
    let view = View { image, window: area };
    resize_view(view, [0.0, 0.0, columns as f32, rows as f32], width, height, filter)
}

/// Resizes so that the shorter side has `size` pixels; the longer is cut to a whole number.
pub fn resize_short(image: &Image, size: usize, filter: Filter) -> Image {
    let (width, height) = short_side_size(image.width, image.height, size);
    resize(image, width, height, filter)
}

/// Width and height after [`resize_short`].
pub fn short_side_size(width: usize, height: usize, size: usize) -> (usize, usize) {
    let longer = |long: usize, short: usize| ((size * long) as f64 / short as f64) as usize;
    if width <= height { (size, longer(height, width)) } else { (longer(width, height), size) }
}

fn resize_view(view: View<'_>, edges: [f32; 4], width: usize, height: usize, filter: Filter) -> Image {
    let (width, height) = (width.max(1), height.max(1));
    let [x0, y0, x1, y1] = edges;
    let Rect { width: columns, height: rows, .. } = view.window;
    let across =
        (width != columns || x0 != 0.0 || x1 != width as f32).then(|| Taps::new(filter, columns, x0, x1, width));
    let down = (height != rows || y0 != 0.0 || y1 != height as f32).then(|| Taps::new(filter, rows, y0, y1, height));
    match (across, down) {
        (None, None) => view.to_image(),
        (None, Some(down)) => vertical(view, 0, &down),
        (Some(across), None) => horizontal(view, 0..rows, &across),
        (Some(across), Some(down)) => {
            let needed = down.reach();
            let first = needed.start;
            vertical(View::whole(&horizontal(view, needed, &across)), first, &down)
        }
    }
}

/// Resizes some rows in width, two at a time: their sums ride in the halves of one i64, so that one multiplication
/// serves both.
fn horizontal(view: View<'_>, rows: std::ops::Range<usize>, taps: &Taps) -> Image {
    let mut out = Image::black(taps.len(), rows.len());
    let mut packed = vec![[0; CHANNELS]; view.window.width];
    let stride = taps.len() * CHANNELS;
    for (target, y) in out.pixels.chunks_mut(2 * stride).zip(rows.clone().step_by(2)) {
        let upper = view.row(y).as_chunks::<CHANNELS>().0;
        let lower = view.row((y + 1).min(rows.end - 1)).as_chunks::<CHANNELS>().0;
        for ((packed, upper), lower) in packed.iter_mut().zip(upper).zip(lower) {
            *packed = std::array::from_fn(|c| pack(upper[c].into(), lower[c].into()));
        }
        // The last row of an odd number has no partner.
        let (upper, lower) = target.split_at_mut(stride);
        let lower = lower.as_chunks_mut::<CHANNELS>().0;
        for (x, upper) in upper.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
            let (first, weights) = taps.of(x);
            let mut sums = [pack(HALF, HALF); CHANNELS];
            for (colour, &weight) in packed[first..first + weights.len()].iter().zip(weights) {
                for (sum, value) in sums.iter_mut().zip(colour) {
                    *sum += value * i64::from(weight);
                }
            }
            *upper = sums.map(|sum| to_pixel(unpack(sum).0));
            if let Some(lower) = lower.get_mut(x) {
                *lower = sums.map(|sum| to_pixel(unpack(sum).1));
            }
        }
    }
    out
}

/// Two numbers in one. Sums and multiples of packed numbers are packed sums and multiples as long as each fits an i32.
fn pack(low: i32, high: i32) -> i64 {
    i64::from(low) + (i64::from(high) << 32)
}

/// The two numbers of [`pack`], in its order.
fn unpack(both: i64) -> (i32, i32) {
    let low = both as i32;
    (low, ((both - i64::from(low)) >> 32) as i32)
}

/// Resizes in height; row 0 of `view` is row `first` of the picture that `taps` is about.
fn vertical(view: View<'_>, first: usize, taps: &Taps) -> Image {
    let mut out = Image::black(view.window.width, taps.len());
    let mut sums = vec![HALF; view.window.width * CHANNELS];
    for y in 0..taps.len() {
        let (top, weights) = taps.of(y);
        sums.fill(HALF);
        for (row, &weight) in weights.iter().enumerate() {
            for (sum, &value) in sums.iter_mut().zip(view.row(top - first + row)) {
                *sum += i32::from(value) * weight;
            }
        }
        for (target, &sum) in out.row_mut(y).iter_mut().zip(&sums) {
            *target = to_pixel(sum);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_side_takes_the_size_and_the_long_side_is_cut() {
        assert_eq!(short_side_size(500, 375, 256), (341, 256));
        assert_eq!(short_side_size(333, 500, 256), (256, 384));
        assert_eq!(short_side_size(7, 7, 3), (3, 3));
    }

    #[test]
    fn packed_numbers_add_and_multiply_separately() {
        for (low, high) in [(255, 0), (0, 255), (200, 100)] {
            for factor in [1, -1, 4_194_304, -4_194_304] {
                let both = pack(HALF, HALF) + pack(low, high) * i64::from(factor);
                assert_eq!(unpack(both), (HALF + low * factor, HALF + high * factor));
            }
        }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let image = Image::filled(31, 17, [3, 128, 254]);
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            assert_eq!(resize(&image, 100, 5, filter), Image::filled(100, 5, [3, 128, 254]));
        }
    }

    #[test]
    fn a_crop_that_leaves_the_picture_is_black_there() {
        let image = Image::filled(4, 4, [200; 3]);
        let area = Rect { top: 2, left: 2, height: 4, width: 4 };
        let out = resized_crop(&image, area, 4, 4, Filter::Bicubic);
        assert_eq!((out.pixel(1, 1), out.pixel(2, 1), out.pixel(1, 2)), ([200; 3], [0; 3], [0; 3]));
    }
}
