//! Crops and flips: pixels move, none is computed.

use crate::Image;
use crate::image::CHANNELS;

/// Copies the window at row `top` and column `left`; what lies outside the picture is black.
pub fn crop(image: &Image, top: isize, left: isize, height: usize, width: usize) -> Image {
    let (height, width) = (height.max(1), width.max(1));
    let mut out = Image::black(width, height);
    // The columns of the window that lie inside the picture.
    let start = left.saturating_neg().clamp(0, width as isize) as usize;
    let end = (image.width as isize).saturating_sub(left).clamp(start as isize, width as isize) as usize;
    let from = start.wrapping_add_signed(left);
    for y in 0..height {
        let row = top.saturating_add_unsigned(y);
        if start < end && (0..image.height as isize).contains(&row) {
            let source = &image.row(row as usize)[from * CHANNELS..][..(end - start) * CHANNELS];
            out.row_mut(y)[start * CHANNELS..end * CHANNELS].copy_from_slice(source);
        }
    }
    out
}

/// Copies the middle `height` x `width` pixels; a picture that is too small gets a black border.
pub fn center_crop(image: &Image, height: usize, width: usize) -> Image {
    crop(image, centre(image.height, height), centre(image.width, width), height, width)
}

/// Where a centred window of `inner` pixels starts on a side of `outer` pixels. Halves of a pixel go to the even
/// neighbour where the window is smaller, and outwards at the end where it is larger.
fn centre(outer: usize, inner: usize) -> isize {
    if inner > outer {
        -(((inner - outer) / 2) as isize)
    } else {
        ((outer - inner) as f64 / 2.0).round_ties_even() as isize
    }
}

/// Mirrors left and right.
pub fn hflip(image: &mut Image) {
    let width = image.width;
    for row in image.colours_mut().chunks_exact_mut(width) {
        row.reverse();
    }
}

/// Mirrors top and bottom.
pub fn vflip(image: &mut Image) {
    let (width, height) = (image.width, image.height);
    let (upper, lower) = image.colours_mut().split_at_mut(height / 2 * width);
    for (top, bottom) in upper.chunks_exact_mut(width).zip(lower.rchunks_exact_mut(width)) {
        top.swap_with_slice(bottom);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: usize, height: usize) -> Image {
        Image::new(width, height, (0..width * height * 3).map(|at| at as u8).collect()).unwrap()
    }

    #[test]
    fn a_window_wholly_outside_is_black() {
        let image = numbered(4, 3);
        for (top, left) in [(3, 0), (-9, 0), (0, 4), (0, -2), (isize::MIN, isize::MAX), (isize::MAX, isize::MIN)] {
            assert_eq!(crop(&image, top, left, 2, 2), Image::filled(2, 2, [0; 3]), "{top} {left}");
        }
    }

    #[test]
    fn halves_of_a_pixel_go_to_the_even_neighbour() {
        assert_eq!([centre(7, 2), centre(9, 2), centre(8, 2)], [2, 4, 3]);
        assert_eq!([centre(2, 7), centre(2, 6)], [-2, -2]);
    }

    #[test]
    fn odd_heights_keep_their_middle_row() {
        let image = numbered(2, 3);
        let mut flipped = image.clone();
        vflip(&mut flipped);
        assert_eq!([flipped.row(0), flipped.row(1), flipped.row(2)], [image.row(2), image.row(1), image.row(0)]);
    }
}
