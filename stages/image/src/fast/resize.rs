//! Crop, bicubic resize and flip in two equal passes.
//!
//! Both passes add up whole rows, which needs no shuffling: the first on the turned picture (its rows are the picture's
//! columns, so this is the horizontal pass), the second on what the first made, turned back.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::{LINE, Planes, View, Window};
use super::turn;
use super::weights::{LOW_BITS, Pair, Weights};
use crate::image::CHANNELS;
use crate::ops::taps::{FRACTION_BITS, HALF};

/// Resizes crops; holds the buffers that it needs for it.
#[derive(Default)]
pub struct Resizer {
    across: Weights,
    down: Weights,
    /// After the horizontal pass: rows are output columns.
    narrowed: Planes,
    /// The same, turned: rows are input rows.
    standing: Planes,
}

impl Resizer {
    /// Resizes a window of a turned picture (rows are the picture's columns) to `size` x `size`, bicubic, and mirrors the
    /// result left to right if asked. The rows of `out` are the crop's rows.
    ///
    /// # Panics
    /// The window is empty or leaves what the view holds.
    pub fn crop(
        &mut self,
        vectors: Vectors,
        view: &View<'_>,
        window: &Window,
        size: usize,
        mirrored: bool,
        out: &mut Planes,
    ) {
        let (width, height) = (window.rows.len(), window.columns.len());
        if width == size {
            self.narrowed.reshape(size, height);
            copy_rows(view, window, mirrored, &mut self.narrowed);
        } else {
            self.across.compute(vectors, width, size);
            self.narrowed.reshape(size, height);
            vectors.run(Pass { view, window, weights: &self.across, reversed: mirrored, out: &mut self.narrowed });
        }
        let narrowed = View::whole(&self.narrowed, false);
        if height == size {
            turn::turned(&narrowed, &Window::whole(size, height), out);
            return;
        }
        turn::turned(&narrowed, &Window::whole(size, height), &mut self.standing);
        self.down.compute(vectors, height, size);
        out.reshape(size, size);
        let (view, window) = (View::whole(&self.standing, false), Window::whole(height, size));
        vectors.run(Pass { view: &view, window: &window, weights: &self.down, reversed: false, out });
    }
}

fn copy_rows(view: &View<'_>, window: &Window, reversed: bool, out: &mut Planes) {
    let columns = window.columns.len();
    for channel in 0..CHANNELS {
        for row in 0..window.rows.len() {
            let target = if reversed { window.rows.len() - 1 - row } else { row };
            let source = view.from(channel, window.rows.start + row, window.columns.start);
            out.row_mut(channel, target)[..columns].copy_from_slice(&source[..columns]);
        }
    }
}

/// Makes fewer or more rows of a window's rows.
struct Pass<'a> {
    view: &'a View<'a>,
    window: &'a Window,
    weights: &'a Weights,
    /// Whether the first output row is put last.
    reversed: bool,
    out: &'a mut Planes,
}

impl Kernel for Pass<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { view, window, weights, reversed, out } = self;
        let columns = window.columns.len();
        let last = window.rows.end - 1;
        // Rows go up or down in memory.
        let stride = view.planes.stride() as isize * if view.reversed { -1 } else { 1 };
        let stride_out = out.stride();
        for (channel, target) in out.planes_mut().into_iter().enumerate() {
            let plane = view.planes.plane(channel);
            for position in 0..weights.len() {
                let (first, pairs) = weights.of(position);
                let first = window.rows.start + first;
                let row = if reversed { weights.len() - 1 - position } else { position };
                let target = &mut target[row * stride_out..(row + 1) * stride_out];
                let start = view.offset(first, window.columns.start);
                // Rows there are; weights behind them are zero.
                let rows = last + 1 - first;
                for x in (0..columns).step_by(S::BYTES) {
                    let sums = add_up(s, plane, start + x, stride, rows, pairs);
                    s.store(sums, &mut target[x..]);
                }
            }
        }
    }
}

/// The weighted sum of rows for a vector of columns.
#[inline(always)]
fn add_up<S: Simd>(s: S, plane: &[u8], start: usize, stride: isize, rows: usize, pairs: &[Pair]) -> S::I {
    let zero = s.zero();
    let mut high = [zero; 4];
    let mut low = [s.splat32(HALF); 4];
    // Pairs of rows that are both there; behind them weights are zero, but for the last row of an odd number.
    let (both, rest) = pairs.split_at(pairs.len().min(rows / 2));
    let mut at = start;
    for pair in both {
        let next = at.wrapping_add_signed(stride);
        add_pair(s, s.load(&plane[at..]), s.load(&plane[next..]), pair, &mut high, &mut low);
        at = next.wrapping_add_signed(stride);
    }
    if let (Some(pair), 1) = (rest.first(), rows % 2) {
        add_pair(s, s.load(&plane[at..]), zero, pair, &mut high, &mut low);
    }
    for part in 0..4 {
        low[part] = s.sra32(s.add32(s.sll32(high[part], LOW_BITS), low[part]), FRACTION_BITS as i32);
    }
    s.narrow(low)
}

/// Adds the products of two rows with their weights.
#[inline(always)]
fn add_pair<S: Simd>(s: S, one: S::I, two: S::I, pair: &Pair, high: &mut [S::I; 4], low: &mut [S::I; 4]) {
    let values = s.pairs(one, two);
    let (weight_high, weight_low) = (s.splat32(pair.high), s.splat32(pair.low));
    for part in 0..4 {
        high[part] = s.dot16(high[part], values[part], weight_high);
        low[part] = s.dot16(low[part], values[part], weight_low);
    }
}

/// A vector at a place of a plane; behind the plane's end are zeros.
#[inline(always)]
pub(super) fn load<S: Simd>(s: S, plane: &[u8], at: usize) -> S::I {
    let bytes = &plane[at..];
    if bytes.len() >= S::BYTES {
        return s.load(bytes);
    }
    let mut padded = [0; LINE];
    padded[..bytes.len()].copy_from_slice(bytes);
    s.load(&padded)
}
