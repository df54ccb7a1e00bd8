//! Affine operators on a window.
//!
//! Shears and translations move along one axis: every line has one fraction between two pixels, the other is 0 and
//! drops out of the specification's arithmetic exactly. They are done line by line; rotations pixel by pixel.

use mugs_simd::{Kernel, Simd, Vectors};

use super::blend::Taps;
use super::planes::{LINE, Planes, View, Window};
use super::{rotate, turn};
use crate::ops::{FILL, Matrix, Resample};

/// Maps pictures; holds the buffers that it needs for it.
///
/// Pictures are turned: rows are the columns (x) of the picture that the matrix speaks of.
#[derive(Default)]
pub struct Geometry {
    line: Vec<u8>,
    source: Planes,
    sheared: Planes,
    quads: Vec<u32>,
}

/// The window of a turned picture of `rows` rows of `columns` pixels that a window of the mapped picture reads; a
/// pixel of the picture if it reads nothing but what lies outside.
pub fn source_window(matrix: &Matrix, rows: usize, columns: usize, window: &Window) -> Window {
    let [a, b, c, d, e, f] = matrix;
    let corners = [window.rows.start, window.rows.end].into_iter().flat_map(|x| {
        [window.columns.start, window.columns.end].map(|y| {
            let (x, y) = (x as f64, y as f64);
            [a * x + b * y + c, d * x + e * y + f]
        })
    });
    let bounds = |axis: usize, length: usize| {
        let places = corners.clone().map(|corner| corner[axis]);
        let (low, high) = places.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
        // Two pixels before and three behind are read by a bicubic; the casts end at 0.
        let first = ((low - 3.0).floor() as usize).min(length - 1);
        let end = ((high + 4.0).ceil() as usize).min(length);
        first..end.max(first + 1)
    };
    Window { rows: bounds(0, rows), columns: bounds(1, columns) }
}

impl Geometry {
    /// Writes a window of the mapped picture. The view holds what [`source_window`] names.
    pub fn map(
        &mut self,
        vectors: Vectors,
        view: &View<'_>,
        window: &Window,
        matrix: &Matrix,
        resample: Resample,
        out: &mut Planes,
    ) {
        out.reshape(window.rows.len(), window.columns.len());
        let line = &mut self.line;
        match *matrix {
            [1.0, 0.0, shift, 0.0, 1.0, 0.0] => vectors.run(Step { view, window, shift, resample, out }),
            [1.0, 0.0, 0.0, slope, 1.0, shift] => {
                vectors.run(Slide { view, window, slope, shift, resample, line, out });
            }
            [1.0, slope, shift, 0.0, 1.0, 0.0] => {
                let read = source_window(matrix, view.rows, view.columns, window);
                turn::turned(vectors, view, &read, &mut self.source);
                // Rows are now the picture's rows.
                let (rows, columns) = (view.columns, view.rows);
                let (top, left) = (read.columns.start, read.rows.start);
                let view = &View { planes: &self.source, top, left, rows, columns, reversed: false };
                let window = &Window { rows: window.columns.clone(), columns: window.rows.clone() };
                self.sheared.reshape(window.rows.len(), window.columns.len());
                vectors.run(Slide { view, window, slope, shift, resample, line, out: &mut self.sheared });
                let all = Window::whole(window.rows.len(), window.columns.len());
                turn::turned(vectors, &View::whole(&self.sheared, false), &all, out);
            }
            _ => rotate::map(vectors, &mut self.quads, view, window, matrix, resample, out),
        }
    }
}

/// Moves along rows: row r comes from `slope * (r + 1/2) + shift` further on.
struct Slide<'a> {
    view: &'a View<'a>,
    window: &'a Window,
    slope: f64,
    shift: f64,
    resample: Resample,
    line: &'a mut Vec<u8>,
    out: &'a mut Planes,
}

impl Kernel for Slide<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { view, window, slope, shift, resample, line, out } = self;
        let length = view.columns;
        line.resize(line.len().max(window.columns.len() + 2 * LINE), 0);
        for row in window.rows.clone() {
            let base = slope * (row as f64 + 0.5);
            // In the specification's order, so that it is its number to the last bit.
            let place = |column: usize| (base + (column as f64 + 0.5)) + shift;
            let inside = inside(window, length, base + shift, place);
            let whole = (base + shift).floor();
            let fraction = (base + shift) - whole;
            let exact = |at: usize| {
                let place = place(inside.start + at) - 0.5;
                (place.floor() as isize, place - place.floor())
            };
            let taps = Taps::at(resample, fraction);
            // Where one of the two parts is 0, whole steps are whole in every pixel.
            let copied = fraction == 0.0 && (base == 0.0 || shift == 0.0);
            // Nearer to whole numbers than this the pixel before could change along the line.
            let steady = (1e-6..=1.0 - 1e-6).contains(&fraction);
            for (channel, &fill) in FILL.iter().enumerate() {
                let target = out.row_mut(channel, row - window.rows.start);
                target[..window.columns.len()].fill(fill);
                if inside.is_empty() {
                    continue;
                }
                let target = &mut target[inside.start - window.columns.start..];
                let first = inside.start as isize + whole as isize;
                gather(view, channel, row, first - 1, inside.len() + 3, line);
                if copied {
                    target[..inside.len()].copy_from_slice(&line[1..=inside.len()]);
                } else if steady {
                    let lines = [&line[..], &line[1..], &line[2..], &line[3..]];
                    let mut bytes = [0; LINE];
                    // What follows the inside is fill, which a whole vector would overwrite.
                    let behind = (inside.len() + S::BYTES).min(target.len());
                    let kept = &mut bytes[..behind - inside.len()];
                    kept.copy_from_slice(&target[inside.len()..behind]);
                    taps.blend(s, lines, inside.len(), target, |at| exact(at).1);
                    target[inside.len()..behind].copy_from_slice(kept);
                } else {
                    for (at, target) in target[..inside.len()].iter_mut().enumerate() {
                        let (before, fraction) = exact(at);
                        let values = [-1, 0, 1, 2].map(|step| pixel(view, channel, row, before + step));
                        *target = taps.exactly(values, fraction);
                    }
                }
            }
        }
    }
}

/// A pixel of a row whose edge pixels repeat outwards.
fn pixel(view: &View<'_>, channel: usize, row: usize, column: isize) -> u8 {
    view.from(channel, row, column.clamp(0, view.columns as isize - 1) as usize)[0]
}

/// Copies `count` pixels of a row from `first` on, edge pixels repeated outwards.
#[inline(always)]
fn gather(view: &View<'_>, channel: usize, row: usize, first: isize, count: usize, line: &mut [u8]) {
    let last = view.columns as isize - 1;
    let before = first.min(0).unsigned_abs().min(count);
    let start = first.max(0);
    let middle = (last + 1 - start).clamp(0, (count - before) as isize) as usize;
    if before > 0 {
        line[..before].fill(pixel(view, channel, row, 0));
    }
    if middle > 0 {
        let from = view.from(channel, row, start as usize);
        line[before..before + middle].copy_from_slice(&from[..middle]);
    }
    if before + middle < count {
        line[before + middle..count].fill(pixel(view, channel, row, last));
    }
}

/// The columns of the window whose place lies in the picture; places ascend by 1 from about `offset` on.
#[inline(always)]
fn inside(window: &Window, length: usize, offset: f64, place: impl Fn(usize) -> f64) -> std::ops::Range<usize> {
    let columns = &window.columns;
    // One pixel to the safe side; the casts end at 0.
    let guess = |edge: f64| (edge.floor() as usize).clamp(columns.start, columns.end);
    let mut first = guess(-offset - 2.0);
    while first < columns.end && place(first) < 0.0 {
        first += 1;
    }
    let mut end = guess(length as f64 - offset - 2.0).max(first);
    while end < columns.end && place(end) < length as f64 {
        end += 1;
    }
    first..end
}

/// Moves across rows: row r comes from row r + `shift`.
struct Step<'a> {
    view: &'a View<'a>,
    window: &'a Window,
    shift: f64,
    resample: Resample,
    out: &'a mut Planes,
}

impl Kernel for Step<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { view, window, shift, resample, out } = self;
        let (count, left, last) = (window.columns.len(), window.columns.start, view.rows as isize - 1);
        for row in window.rows.clone() {
            let place = (row as f64 + 0.5) + shift;
            let inside = 0.0 <= place && place < view.rows as f64;
            let place = place - 0.5;
            let (before, fraction) = (place.floor() as isize, place - place.floor());
            let taps = Taps::at(resample, fraction);
            for (channel, &fill) in FILL.iter().enumerate() {
                let target = out.row_mut(channel, row - window.rows.start);
                if !inside {
                    target[..count].fill(fill);
                    continue;
                }
                let lines = [-1, 0, 1, 2].map(|step| {
                    let row = (before + step).clamp(0, last) as usize;
                    view.from(channel, row, left)
                });
                if fraction == 0.0 {
                    target[..count].copy_from_slice(&lines[1][..count]);
                } else {
                    taps.blend(s, lines, count, target, |_| fraction);
                }
            }
        }
    }
}
