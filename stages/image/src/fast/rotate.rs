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
        let [red, green, blue, spare] = self.quads[x * self.window.columns.len() + y].to_le_bytes();
        [red.into(), green.into(), blue.into(), spare.into()]
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
            Resample::Bilinear => self.each::<false>(),
            Resample::Bicubic => self.each::<true>(),
        }
    }
}

impl Map<'_> {
    #[inline(always)]
    fn each<const BICUBIC: bool>(self) {
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
                    let (x, y) = (x - 0.5, y - 0.5);
                    let colour = if BICUBIC { bicubic(&source, x, y) } else { bilinear(&source, x, y) };
                    let [red, green, blue, _] = colour;
                    [red as u8, green as u8, blue as u8]
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
    let upper = between(source.pixel(x, y), source.pixel(x + 1, y), dx);
    let lower = between(source.pixel(x, y + 1), source.pixel(x + 1, y + 1), dx);
    between(upper, lower, dy)
}

#[inline(always)]
fn between(from: Quad, to: Quad, t: f64) -> Quad {
    let mut out = from;
    for channel in 0..4 {
        out[channel] = line(from[channel], to[channel], t);
    }
    out
}

#[inline(always)]
fn bicubic(source: &Source<'_>, x: f64, y: f64) -> Quad {
    let (whole_x, whole_y) = (x.floor(), y.floor());
    let (dx, dy) = (x - whole_x, y - whole_y);
    let (x, y) = (whole_x as isize, whole_y as isize);
    let mut rows = [[0.0; 4]; 4];
    for (step, row) in rows.iter_mut().enumerate() {
        let y = y - 1 + step as isize;
        let taps = [source.pixel(x - 1, y), source.pixel(x, y), source.pixel(x + 1, y), source.pixel(x + 2, y)];
        *row = through(taps, dx);
    }
    through(rows, dy)
}

#[inline(always)]
fn through([a, b, c, d]: [Quad; 4], t: f64) -> Quad {
    let mut out = a;
    for channel in 0..4 {
        out[channel] = cubic([a[channel], b[channel], c[channel], d[channel]], t);
    }
    out
}
