//! Shears and translations: every output pixel is looked up in the input through an affine map.

use crate::Image;

/// The colour of what comes from outside the picture: round(255 * ImageNet's mean).
pub const FILL: [u8; 3] = [124, 116, 104];

/// The map a, b, c, d, e, f from output to input: `x' = (a x + b y) + c`, `y' = (d x + e y) + f`, where pixel centres
/// lie at halves.
pub type Matrix = [f64; 6];

/// The interpolation of an affine operator. There is no antialiasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resample {
    /// Between 2 x 2 pixels.
    Bilinear,
    /// Between 4 x 4 pixels, cubic with a = -1 (not the -0.5 of a resize).
    Bicubic,
}

/// Shears sideways: row y comes from `factor * y` further right.
pub fn shear_x(image: &Image, factor: f64, resample: Resample) -> Image {
    affine(image, [1.0, factor, 0.0, 0.0, 1.0, 0.0], resample)
}

/// Shears up and down: column x comes from `factor * x` further down.
pub fn shear_y(image: &Image, factor: f64, resample: Resample) -> Image {
    affine(image, [1.0, 0.0, 0.0, factor, 1.0, 0.0], resample)
}

/// Moves the picture left by `pixels`, which need not be whole.
pub fn translate_x(image: &Image, pixels: f64, resample: Resample) -> Image {
    affine(image, [1.0, 0.0, pixels, 0.0, 1.0, 0.0], resample)
}

/// Moves the picture up by `pixels`, which need not be whole.
pub fn translate_y(image: &Image, pixels: f64, resample: Resample) -> Image {
    affine(image, [1.0, 0.0, 0.0, 0.0, 1.0, pixels], resample)
}

/// Moves the picture left by `fraction` of its width.
pub fn translate_x_rel(image: &Image, fraction: f64, resample: Resample) -> Image {
    translate_x(image, fraction * image.width as f64, resample)
}

/// Moves the picture up by `fraction` of its height.
pub fn translate_y_rel(image: &Image, fraction: f64, resample: Resample) -> Image {
    translate_y(image, fraction * image.height as f64, resample)
}

/// Maps a picture through `matrix` into one of the same size; what comes from outside is [`FILL`].
///
/// There is no blending with the fill at the border: a pixel whose place lies inside reads repeated edge pixels.
pub fn affine(image: &Image, matrix: Matrix, resample: Resample) -> Image {
    match resample {
        Resample::Bilinear => transform(image, matrix, bilinear),
        Resample::Bicubic => transform(image, matrix, bicubic),
    }
}

fn transform(image: &Image, matrix: Matrix, sample: impl Fn(&Image, f64, f64) -> [u8; 3]) -> Image {
    let [a, b, c, d, e, f] = matrix;
    let (width, height) = (image.width as f64, image.height as f64);
    let mut out = Image::filled(image.width, image.height, FILL);
    let columns: Vec<[f64; 2]> = (0..image.width).map(|x| x as f64 + 0.5).map(|x| [a * x, d * x]).collect();
    for (y, row) in out.colours_mut().chunks_exact_mut(image.width).enumerate() {
        let y = y as f64 + 0.5;
        let (by, ey) = (b * y, e * y);
        for (pixel, [ax, dx]) in row.iter_mut().zip(&columns) {
            let (x, y) = ((ax + by) + c, (dx + ey) + f);
            if 0.0 <= x && x < width && 0.0 <= y && y < height {
                *pixel = sample(image, x - 0.5, y - 0.5);
            }
        }
    }
    out
}

/// A place on one axis: the pixel before it, and how far behind that pixel it is, 0 to 1.
fn split(place: f64) -> (isize, f64) {
    let whole = place.floor();
    (whole as isize, place - whole)
}

/// The pixels of columns `first`, `first` + 1, ... of a row, edge pixels repeated.
fn columns<const N: usize>(image: &Image, y: usize, first: isize) -> [[u8; 3]; N] {
    let last = image.width as isize - 1;
    std::array::from_fn(|step| image.pixel((first + step as isize).clamp(0, last) as usize, y))
}

fn bilinear(image: &Image, x: f64, y: f64) -> [u8; 3] {
    let ((x, dx), (y, dy)) = (split(x), split(y));
    let row = |y: usize| -> [f64; 3] {
        let [p, q] = columns(image, y, x);
        std::array::from_fn(|c| line(f64::from(p[c]), f64::from(q[c]), dx))
    };
    let upper = row(y.max(0) as usize);
    let below = (y + 1) as usize;
    let lower = if below < image.height { row(below) } else { upper };
    // The values lie between 0 and 255; the cast truncates.
    std::array::from_fn(|c| line(upper[c], lower[c], dy) as u8)
}

#[inline(always)]
pub(crate) fn line(from: f64, to: f64, t: f64) -> f64 {
    from + (to - from) * t
}

fn bicubic(image: &Image, x: f64, y: f64) -> [u8; 3] {
    let ((x, dx), (y, dy)) = (split(x), split(y));
    let row = |y: usize| -> [f64; 3] {
        let [p, q, r, s] = columns(image, y, x - 1);
        std::array::from_fn(|c| cubic([p[c].into(), q[c].into(), r[c].into(), s[c].into()], dx))
    };
    let last = image.height as isize - 1;
    let mut rows = [row((y - 1).clamp(0, last) as usize); 4];
    for step in 1..4 {
        let at = y - 1 + step as isize;
        // A row outside takes the value of the row before it.
        rows[step] = if (0..=last).contains(&at) { row(at as usize) } else { rows[step - 1] };
    }
    // The cast clamps and truncates.
    std::array::from_fn(|c| cubic([rows[0][c], rows[1][c], rows[2][c], rows[3][c]], dy) as u8)
}

/// The cubic through four values at `t` between the second and the third, a = -1, in the reference's order.
#[inline(always)]
pub(crate) fn cubic([v1, v2, v3, v4]: [f64; 4], t: f64) -> f64 {
    let p2 = -v1 + v3;
    let p3 = 2.0 * (v1 - v2) + v3 - v4;
    let p4 = -v1 + v2 - v3 + v4;
    v2 + t * (p2 + t * (p3 + t * p4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: usize, height: usize) -> Image {
        Image::new(width, height, (0..width * height * 3).map(|at| (at * 7) as u8).collect()).unwrap()
    }

    #[test]
    fn whole_translations_move_pixels_exactly() {
        let image = numbered(5, 4);
        for resample in [Resample::Bilinear, Resample::Bicubic] {
            let moved = translate_x(&image, 2.0, resample);
            assert_eq!((moved.pixel(0, 1), moved.pixel(2, 3)), (image.pixel(2, 1), image.pixel(4, 3)));
            assert_eq!(moved.pixel(3, 0), FILL);
            let moved = translate_y_rel(&image, -0.25, resample);
            assert_eq!((moved.pixel(4, 1), moved.pixel(4, 0)), (image.pixel(4, 0), FILL));
        }
    }

    #[test]
    fn places_that_are_no_number_are_filled() {
        let image = numbered(3, 3);
        let out = affine(&image, [f64::NAN, 0.0, 0.0, 0.0, 1.0, 0.0], Resample::Bicubic);
        assert_eq!(out, Image::filled(3, 3, FILL));
    }
}
