//! Gaussian blur: three box filters each way, in 16-bit lanes.
//!
//! A box is a sum A of whole pixels and a fringe F of two; the weights of 24 fraction bits are split into halves of 12,
//! so that A and F, side by side, take two products of pairs: `(A hi + F hi' + ((A lo + F lo' + 2^23) >> 12)) >> 12` is
//! the specification's `(A w + F w' + 2^23) >> 24`.
//!
//! Boxes of one or three whole pixels (radius 2 and less, all that the recipe has) run along columns, the three filters
//! one behind the other in registers, on the turned picture first. Wider ones go through buffers, filter by filter.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::{LINE, Planes, View, Window};
use super::turn;
use crate::image::CHANNELS;
use crate::ops::BoxBlur;

/// Box filters each way.
const PASSES: usize = 3;
/// The widest box whose sums fit an i16.
const WIDEST: usize = 60;

/// Blurs; holds the buffers that it needs for it.
#[derive(Default)]
pub struct Blur {
    turned: Planes,
    /// A row with its margins, or a strip of columns, before and after a pass.
    lines: [Vec<u16>; 2],
}

impl Blur {
    /// Whether a blur of this radius can be done here: up to a box of 60 whole pixels on each side (radius 61).
    pub fn can(radius: f64) -> bool {
        BoxBlur::for_sigma(radius as f32).whole <= WIDEST
    }

    /// Blurs the first `channels` planes with a standard deviation of `radius` pixels, in place.
    ///
    /// # Panics
    /// The radius is larger than [`can`](Self::can) says.
    pub fn blur(&mut self, vectors: Vectors, planes: &mut Planes, channels: usize, radius: f64) {
        let filter = BoxBlur::for_sigma(radius as f32);
        assert!(filter.whole <= WIDEST, "a box of {} pixels on each side is too wide", filter.whole);
        // A box so narrow that its middle takes all the weight changes nothing; that weight would not fit its halves.
        if filter.radius != 0.0 && filter.weight < 1 << 24 {
            match filter.whole {
                0 => self.columns::<2>(vectors, planes, channels, filter),
                1 => self.columns::<4>(vectors, planes, channels, filter),
                _ => vectors.run(Both { lines: &mut self.lines, planes, channels, filter }),
            }
        }
    }

    /// The same along columns, of the turned picture and then of the picture; `HELD` is twice the fringe's distance.
    fn columns<const HELD: usize>(&mut self, vectors: Vectors, planes: &mut Planes, channels: usize, filter: BoxBlur) {
        let (rows, columns) = (planes.rows(), planes.columns());
        turn::turned(vectors, &View::whole(planes, false), &Window::whole(rows, columns), &mut self.turned);
        vectors.run(Columns::<HELD> { planes: &mut self.turned, channels, filter });
        turn::turned(vectors, &View::whole(&self.turned, false), &Window::whole(columns, rows), planes);
        vectors.run(Columns::<HELD> { planes, channels, filter });
    }
}

struct Both<'a> {
    lines: &'a mut [Vec<u16>; 2],
    planes: &'a mut Planes,
    channels: usize,
    filter: BoxBlur,
}

impl Kernel for Both<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { lines, planes, channels, filter } = self;
        let (rows, columns) = (planes.rows(), planes.columns());
        let margin = filter.whole + 1;
        // Margins on both sides, and room for the last vector.
        lines[0].resize(lines[0].len().max(columns + 2 * margin + LINE), 0);
        lines[1].resize(lines[1].len().max(columns + 2 * margin + LINE), 0);
        for channel in 0..channels.min(CHANNELS) {
            for row in 0..rows {
                across(s, lines, planes.row_mut(channel, row), columns, &filter);
            }
        }
        let lanes = S::BYTES / 2;
        lines[0].resize(lines[0].len().max((rows + 2 * margin) * lanes), 0);
        lines[1].resize(lines[1].len().max((rows + 2 * margin) * lanes), 0);
        let stride = planes.stride();
        for plane in planes.planes_mut().into_iter().take(channels) {
            for left in (0..columns).step_by(S::BYTES) {
                down(s, lines, &mut plane[left..], rows, stride, &filter);
            }
        }
    }
}

/// The weights, each half beside that of the fringe.
#[inline(always)]
fn weights<S: Simd>(s: S, filter: &BoxBlur) -> [S::I; 2] {
    let half = |bits: u32| {
        let part = |weight: u32| (weight >> bits & 0xFFF) as i32;
        s.splat32(part(filter.weight) | part(filter.edge_weight) << 16)
    };
    [half(0), half(12)]
}

/// One output of every lane.
#[inline(always)]
fn weigh<S: Simd>(s: S, inside: S::I, fringe: S::I, [low, high]: [S::I; 2]) -> S::I {
    let half = s.splat32(1 << 23);
    let (first, second) = (s.lo16(inside, fringe), s.hi16(inside, fringe));
    let carried = [s.sra32(s.dot16(half, first, low), 12), s.sra32(s.dot16(half, second, low), 12)];
    s.pack32_i16(s.sra32(s.dot16(carried[0], first, high), 12), s.sra32(s.dot16(carried[1], second, high), 12))
}

/// Blurs columns by a narrow box.
struct Columns<'a, const HELD: usize> {
    planes: &'a mut Planes,
    channels: usize,
    filter: BoxBlur,
}

impl<const HELD: usize> Kernel for Columns<'_, HELD> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { planes, channels, filter } = self;
        let (rows, columns, stride) = (planes.rows(), planes.columns(), planes.stride());
        let weights = weights(s, &filter);
        for plane in planes.planes_mut().into_iter().take(channels) {
            for left in (0..columns).step_by(S::BYTES / 2) {
                column::<S, HELD>(s, &mut plane[left..], rows, stride, weights);
            }
        }
    }
}

/// What one filter has seen last, the newest at the end.
#[derive(Clone, Copy)]
struct Seen<S: Simd, const HELD: usize>([S::I; HELD]);

impl<S: Simd, const HELD: usize> Seen<S, HELD> {
    /// Takes the next value and gives the output in the middle of what is then seen.
    #[inline(always)]
    fn next(&mut self, s: S, value: S::I, weights: [S::I; 2]) -> S::I {
        let fringe = s.add16(self.0[0], value);
        let mut inside = self.0[1];
        for &seen in &self.0[2..] {
            inside = s.add16(inside, seen);
        }
        self.take(value);
        weigh(s, inside, fringe, weights)
    }

    /// Takes the next value.
    #[inline(always)]
    fn take(&mut self, value: S::I) {
        for at in 1..HELD {
            self.0[at - 1] = self.0[at];
        }
        self.0[HELD - 1] = value;
    }
}

/// Three filters along half a vector's columns. Each filter repeats the first and the last row that it gets, and is
/// half of `HELD` rows behind the one before.
#[inline(always)]
fn column<S: Simd, const HELD: usize>(s: S, plane: &mut [u8], rows: usize, stride: usize, weights: [S::I; 2]) {
    let behind = HELD / 2;
    let mut seen = [Seen::<S, HELD>([s.zero(); HELD]); PASSES];
    for tick in 0..rows + PASSES * behind {
        let mut value = if tick < rows { s.load_widened16(&plane[tick * stride..]) } else { seen[0].0[HELD - 1] };
        let mut row = tick;
        for pass in 0..PASSES {
            if row == 0 {
                seen[pass] = Seen([value; HELD]);
            } else if row < behind {
                seen[pass].take(value);
            }
            if row < behind {
                break;
            }
            row -= behind;
            let found = seen[pass].next(s, value, weights);
            // Behind the last row the next filter sees that row again.
            value = if row < rows || pass + 1 == PASSES { found } else { seen[pass + 1].0[HELD - 1] };
            if pass + 1 == PASSES {
                s.store_narrowed16(value, &mut plane[row * stride..]);
            }
        }
    }
}

/// Three passes along a row.
#[inline(always)]
fn across<S: Simd>(s: S, lines: &mut [Vec<u16>; 2], row: &mut [u8], columns: usize, filter: &BoxBlur) {
    let (reach, margin, lanes) = (filter.whole, filter.whole + 1, S::BYTES / 2);
    let weights = weights(s, filter);
    let [from, to] = lines;
    for (lane, &value) in from[margin..margin + columns].iter_mut().zip(&*row) {
        *lane = value.into();
    }
    for _ in 0..PASSES {
        let (first, last) = (from[margin], from[margin + columns - 1]);
        from[..margin].fill(first);
        from[margin + columns..2 * margin + columns].fill(last);
        for at in (0..columns).step_by(lanes) {
            // Lane `at` stands at `at + margin`; its box begins `reach` before, the fringe one further.
            let fringe = s.add16(s.load16(&from[at..]), s.load16(&from[at + 2 * margin..]));
            let mut inside = s.load16(&from[at + 1..]);
            for step in 1..=2 * reach {
                inside = s.add16(inside, s.load16(&from[at + 1 + step..]));
            }
            s.store16(weigh(s, inside, fringe, weights), &mut to[at + margin..]);
        }
        std::mem::swap(from, to);
    }
    for (value, &lane) in row[..columns].iter_mut().zip(&from[margin..]) {
        *value = lane as u8;
    }
}

/// The upper or lower half of the bytes of each 128 bits, widened.
#[inline(always)]
fn half<S: Simd>(s: S, upper: bool, bytes: S::I) -> S::I {
    if upper { s.hi8(bytes, s.zero()) } else { s.lo8(bytes, s.zero()) }
}

/// Three passes along a vector of columns, `BYTES` wide.
#[inline(always)]
fn down<S: Simd>(s: S, lines: &mut [Vec<u16>; 2], plane: &mut [u8], rows: usize, stride: usize, filter: &BoxBlur) {
    let [from, to] = lines;
    let lanes = S::BYTES / 2;
    let margin = filter.whole + 1;
    let weights = weights(s, filter);
    for upper in [false, true] {
        for row in 0..rows {
            let bytes = s.load(&plane[row * stride..]);
            s.store16(half(s, upper, bytes), &mut from[(row + margin) * lanes..]);
        }
        for _ in 0..PASSES {
            pass_down(s, from, to, rows, filter, weights);
            std::mem::swap(from, to);
        }
        // The other half of the bytes stays as it is.
        for row in 0..rows {
            let at = row * stride;
            let bytes = s.load(&plane[at..]);
            let new = s.load16(&from[(row + margin) * lanes..]);
            let old = half(s, !upper, bytes);
            let packed = if upper { s.pack16_u8(old, new) } else { s.pack16_u8(new, old) };
            s.store(packed, &mut plane[at..]);
        }
    }
}

/// One pass along a vector of columns of 16-bit lanes.
#[inline(always)]
fn pass_down<S: Simd>(s: S, from: &mut [u16], to: &mut [u16], rows: usize, filter: &BoxBlur, weights: [S::I; 2]) {
    let (reach, margin, lanes) = (filter.whole, filter.whole + 1, S::BYTES / 2);
    let first = s.load16(&from[margin * lanes..]);
    let last = s.load16(&from[(margin + rows - 1) * lanes..]);
    for step in 0..margin {
        s.store16(first, &mut from[step * lanes..]);
        s.store16(last, &mut from[(margin + rows + step) * lanes..]);
    }
    for row in 0..rows {
        let fringe = s.add16(s.load16(&from[row * lanes..]), s.load16(&from[(row + 2 * margin) * lanes..]));
        let mut inside = s.load16(&from[(row + 1) * lanes..]);
        for step in 1..=2 * reach {
            inside = s.add16(inside, s.load16(&from[(row + 1 + step) * lanes..]));
        }
        s.store16(weigh(s, inside, fringe, weights), &mut to[(row + margin) * lanes..]);
    }
}
