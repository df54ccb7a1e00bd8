//! Any other affine map, pixel by pixel in f64, the three channels side by side in one vector.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::{Planes, View, Window};
use super::turn;
use crate::image::CHANNELS;
use crate::ops::{FILL, Matrix, Resample};

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
    /// The `TAPS` pixels around a place on each axis, edge pixels repeated outwards: by x (row), then y (column).
    #[inline(always)]
    fn taps<const TAPS: usize>(&self, place: &Place) -> [[u32; TAPS]; TAPS] {
        let before = TAPS / 2 - 1;
        let mut taps = [[0; TAPS]; TAPS];
        let (x, y) = (place.x - before as isize, place.y - before as isize);
        let (end_x, end_y) = (x + TAPS as isize, y + TAPS as isize);
        let columns = self.window.columns.len();
        if x >= 0 && y >= 0 && end_x <= self.rows as isize && end_y <= self.columns as isize {
            let first = (x as usize - self.window.rows.start) * columns + y as usize - self.window.columns.start;
            for (row, taps) in taps.iter_mut().enumerate() {
                taps.copy_from_slice(&self.quads[first + row * columns..][..TAPS]);
            }
            return taps;
        }
        for (row, taps) in taps.iter_mut().enumerate() {
            let x = (x + row as isize).clamp(0, self.rows as isize - 1) as usize - self.window.rows.start;
            for (column, tap) in taps.iter_mut().enumerate() {
                let y = (y + column as isize).clamp(0, self.columns as isize - 1) as usize;
                *tap = self.quads[x * columns + y - self.window.columns.start];
            }
        }
        taps
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
    fn run<S: Simd>(self, s: S) {
        match self.resample {
            Resample::Bilinear => self.each::<S, false>(s),
            Resample::Bicubic => self.each::<S, true>(s),
        }
    }
}

impl Map<'_> {
    #[inline(always)]
    fn each<S: Simd, const BICUBIC: bool>(self, s: S) {
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
                    let place = Place::new(x - 0.5, y - 0.5);
                    let colour = if BICUBIC { bicubic(s, &source, place) } else { bilinear(s, &source, place) };
                    let [red, green, blue, _] = s.quad_bytes(colour);
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

/// A place between pixels: the pixel before it on each axis, and how far behind that it is.
struct Place {
    x: isize,
    y: isize,
    dx: f64,
    dy: f64,
}

impl Place {
    #[inline(always)]
    fn new(x: f64, y: f64) -> Self {
        let (whole_x, whole_y) = (x.floor(), y.floor());
        Self { x: whole_x as isize, y: whole_y as isize, dx: x - whole_x, dy: y - whole_y }
    }
}

#[inline(always)]
fn bilinear<S: Simd>(s: S, source: &Source<'_>, place: Place) -> S::Q {
    let [before, behind] = source.taps::<2>(&place);
    let (dx, dy) = (s.splat_quad(place.dx), s.splat_quad(place.dy));
    let upper = between(s, s.quad(before[0]), s.quad(behind[0]), dx);
    let lower = between(s, s.quad(before[1]), s.quad(behind[1]), dx);
    between(s, upper, lower, dy)
}

/// `from + (to - from) * t`, as `ops::affine` has it.
#[inline(always)]
fn between<S: Simd>(s: S, from: S::Q, to: S::Q, t: S::Q) -> S::Q {
    s.add_quad(from, s.mul_quad(s.sub_quad(to, from), t))
}

#[inline(always)]
fn bicubic<S: Simd>(s: S, source: &Source<'_>, place: Place) -> S::Q {
    let taps = source.taps::<4>(&place);
    let (dx, dy) = (s.splat_quad(place.dx), s.splat_quad(place.dy));
    let mut rows = [dx; 4];
    for (y, row) in rows.iter_mut().enumerate() {
        *row = through(s, [s.quad(taps[0][y]), s.quad(taps[1][y]), s.quad(taps[2][y]), s.quad(taps[3][y])], dx);
    }
    through(s, rows, dy)
}

/// The cubic of `ops::affine`, operation by operation.
#[inline(always)]
fn through<S: Simd>(s: S, [a, b, c, d]: [S::Q; 4], t: S::Q) -> S::Q {
    // -a + c and c - a, and -a + b and b - a, are the same number.
    let p2 = s.sub_quad(c, a);
    let difference = s.sub_quad(a, b);
    let p3 = s.sub_quad(s.add_quad(s.add_quad(difference, difference), c), d);
    let p4 = s.add_quad(s.sub_quad(s.sub_quad(b, a), c), d);
    let sum = s.add_quad(p3, s.mul_quad(t, p4));
    s.add_quad(b, s.mul_quad(t, s.add_quad(p2, s.mul_quad(t, sum))))
}
