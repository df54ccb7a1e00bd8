//! Any other affine map, pixel by pixel in f64, the three channels side by side in one vector.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::{Planes, View, Window};
use super::turn;
use crate::image::CHANNELS;
use crate::ops::affine::{cubic, line};
use crate::ops::{FILL, Matrix, Resample};

/// Three channels and a spare.
type Quad = [f64; 4];

/// Writes a window of a turned picture, mapped. `quads` is scratch.
pub(super) fn map(
    vectors: Vectors,
    quads: &mut Vec<u32>,
    view: &View<'_>,
    window: &Window,
    matrix: &Matrix,
    resample: Resample,
    out: &mut Planes,
) {
    let read = super::geometry::source_window(matrix, view.rows, view.columns, window);
    turn::quads(view, &read, quads);
    let source = Source { quads, window: &read, rows: view.rows, columns: view.columns };
    vectors.run(Map { source, window, matrix, resample, out });
}

/// Four bytes a pixel of a window of a picture.
struct Source<'a> {
    quads: &'a [u32],
    window: &'a Window,
    rows: usize,
    columns: usize,
}

impl Source<'_> {
    /// The pixel at x (row) and y (column), edge pixels repeated outwards.
    #[inline(always)]
    fn pixel(&self, x: isize, y: isize) -> Quad {
        let x = x.clamp(0, self.rows as isize - 1) as usize - self.window.rows.start;
        let y = y.clamp(0, self.columns as isize - 1) as usize - self.window.columns.start;
        self.quads[x * self.window.columns.len() + y].to_le_bytes().map(f64::from)
    }
}

struct Map<'a> {
    source: Source<'a>,
    window: &'a Window,
    matrix: &'a Matrix,
    resample: Resample,
    out: &'a mut Planes,
}

impl Kernel for Map<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.resample {
            Resample::Bilinear => self.each(bilinear),
            Resample::Bicubic => self.each(bicubic),
        }
    }
}

impl Map<'_> {
    #[inline(always)]
    fn each(self, sample: impl Fn(&Source<'_>, f64, f64) -> Quad) {
        let Self { source, window, matrix, out, .. } = self;
        let [a, b, c, d, e, f] = *matrix;
        let (width, height) = (source.rows as f64, source.columns as f64);
        for row in window.rows.clone() {
            let x = row as f64 + 0.5;
            let (ax, dx) = (a * x, d * x);
            let target = out.pixels_mut(row - window.rows.start);
            for (at, column) in window.columns.clone().enumerate() {
                let y = column as f64 + 0.5;
                let (x, y) = ((ax + b * y) + c, (dx + e * y) + f);
                let colour = if 0.0 <= x && x < width && 0.0 <= y && y < height {
                    // The cast clamps and truncates.
                    let [red, green, blue, _] = sample(&source, x - 0.5, y - 0.5).map(|value| value as u8);
                    [red, green, blue]
                } else {
                    FILL
                };
                for channel in 0..CHANNELS {
                    target[channel][at] = colour[channel];
                }
            }
        }
    }
}

#[inline(always)]
fn bilinear(source: &Source<'_>, x: f64, y: f64) -> Quad {
    let (whole_x, whole_y) = (x.floor(), y.floor());
    let (dx, dy) = (x - whole_x, y - whole_y);
    let (x, y) = (whole_x as isize, whole_y as isize);
    let row = |y: isize| {
        let (from, to) = (source.pixel(x, y), source.pixel(x + 1, y));
        let out: Quad = std::array::from_fn(|c| line(from[c], to[c], dx));
        out
    };
    let (upper, lower) = (row(y), row(y + 1));
    std::array::from_fn(|c| line(upper[c], lower[c], dy))
}

#[inline(always)]
fn bicubic(source: &Source<'_>, x: f64, y: f64) -> Quad {
    let (whole_x, whole_y) = (x.floor(), y.floor());
    let (dx, dy) = (x - whole_x, y - whole_y);
    let (x, y) = (whole_x as isize, whole_y as isize);
    let rows = [-1, 0, 1, 2].map(|step| {
        let taps = [-1, 0, 1, 2].map(|across| source.pixel(x + across, y + step));
        let out: Quad = std::array::from_fn(|c| cubic([taps[0][c], taps[1][c], taps[2][c], taps[3][c]], dx));
        out
    });
    std::array::from_fn(|c| cubic([rows[0][c], rows[1][c], rows[2][c], rows[3][c]], dy))
}
