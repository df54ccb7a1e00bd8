//! Crop, bicubic resize and flip in two equal passes.
//!
//! Both passes add up whole rows, which needs no shuffling: the first on the turned picture (its rows are the picture's
//! columns, so this is the horizontal pass), the second on what the first made, turned back.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::{LINE, Planes, View, Window};
use super::turn;
use super::weights::{Pair, Weights};
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
            turn::turned(vectors, &narrowed, &Window::whole(size, height), out);
            return;
        }
        turn::turned(vectors, &narrowed, &Window::whole(size, height), &mut self.standing);
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
        let stride = view.stride();
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

/// Sums of products for a vector of columns; the whole sum is `65536 * high + low`, modulo 2^32.
#[derive(Clone, Copy)]
struct Sums<S: Simd> {
    /// In 16-bit lanes, modulo 2^16: what is lost above weighs 2^32 and more.
    high: [S::I; 2],
    /// In 32-bit lanes, the half for rounding included: below 2^31, as the weights' magnitudes sum up to less than 2.
    low: [S::I; 4],
}

/// The weighted sum of rows for a vector of columns.
#[inline(always)]
fn add_up<S: Simd>(s: S, plane: &[u8], start: usize, stride: isize, rows: usize, pairs: &[Pair]) -> S::I {
    let zero = s.zero();
    let mut sums: Sums<S> = Sums { high: [zero; 2], low: [s.splat32(HALF); 4] };
    // Pairs of rows that are both there; behind them weights are zero, but for the last row of an odd number.
    let (both, rest) = pairs.split_at(pairs.len().min(rows / 2));
    let mut at = start as isize;
    let behind = at + 2 * both.len() as isize * stride;
    let inside = |at: isize| at >= 0 && at as usize + S::BYTES <= plane.len();
    assert!(both.is_empty() || inside(at) && inside(behind - stride), "rows leave the plane");
    for pair in both {
        let next = at + stride;
        // SAFETY: the vectors of the first row and of the last are inside the plane, so all between them are.
        let (one, two) = unsafe {
            (
                plane.get_unchecked(at as usize..at as usize + S::BYTES),
                plane.get_unchecked(next as usize..next as usize + S::BYTES),
            )
        };
        add_pair(s, s.load(one), s.load(two), pair, &mut sums);
        at = next + stride;
    }
    if let (Some(pair), 1) = (rest.first(), rows % 2) {
        add_pair(s, s.load(&plane[at as usize..]), zero, pair, &mut sums);
    }
    let Sums { high: [first, second], low } = sums;
    let high = [s.lo16(zero, first), s.hi16(zero, first), s.lo16(zero, second), s.hi16(zero, second)];
    let mut out = low;
    for part in 0..4 {
        out[part] = s.sra32(s.add32(high[part], low[part]), FRACTION_BITS as i32);
    }
    s.narrow(out)
}

/// Adds the products of two rows with their weights.
#[inline(always)]
fn add_pair<S: Simd>(s: S, one: S::I, two: S::I, pair: &Pair, sums: &mut Sums<S>) {
    let zero = s.zero();
    let (high, low) = (s.splat32(pair.high), s.splat32(pair.low));
    for (part, bytes) in [s.lo8(one, two), s.hi8(one, two)].into_iter().enumerate() {
        // Two products of at most 64 * 255 fit an i16.
        sums.high[part] = s.add16(sums.high[part], s.dot8(bytes, high));
        sums.low[2 * part] = s.dot16(sums.low[2 * part], s.lo8(bytes, zero), low);
        sums.low[2 * part + 1] = s.dot16(sums.low[2 * part + 1], s.hi8(bytes, zero), low);
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
