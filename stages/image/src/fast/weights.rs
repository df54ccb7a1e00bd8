//! The weights of one axis of a resize, ready for products of pairs of i16.
//!
//! A weight K of 22 fraction bits, from -2^22 to 2^22, is `65536 * high + low`, `high` the nearest: from -64 to 64, a
//! signed byte, and `low` an i16 no larger than K in magnitude.

use mugs_simd::{Kernel, Simd, Vectors};

use crate::ops::Filter;
use crate::ops::taps::{FRACTION_BITS, fixed};

/// Bits of the lower part of a weight.
pub(super) const LOW_BITS: i32 = 16;

/// Weights of two neighbouring input positions, the first position's in the lower half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pair {
    /// Two signed bytes, twice.
    pub high: i32,
    /// Two i16.
    pub low: i32,
}

impl Pair {
    /// The weights of two positions.
    fn new(one: i32, two: i32) -> Self {
        const HALF: i32 = 1 << (LOW_BITS - 1);
        let high = |weight: i32| (weight + HALF) >> LOW_BITS;
        let bytes = (high(one) & 0xFF) | (high(two) & 0xFF) << 8;
        Self { high: bytes | bytes << 16, low: (one & 0xFFFF) | two << 16 }
    }
}

/// The weights for every output position of an axis. An odd number of them is filled up with a zero.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// First input position of each output position, and how many pairs it has.
    places: Vec<(usize, usize)>,
    /// Pairs of each output position, in equally much room for all.
    pairs: Vec<Pair>,
    room: usize,
    scratch: Scratch,
}

/// What the weights are computed in.
#[derive(Debug, Default)]
struct Scratch {
    centre: Vec<f64>,
    first: Vec<f64>,
    end: Vec<f64>,
    sum: Vec<f64>,
    /// Weights of tap 0 of all positions, then of tap 1 …
    exact: Vec<f64>,
    fixed: Vec<i32>,
}

impl Weights {
    /// Computes the weights of bicubic reduction or enlargement of `input` positions to `output` (each at least 1).
    pub fn compute(&mut self, vectors: Vectors, input: usize, output: usize) {
        vectors.run(Compute { weights: self, input, output });
    }

    /// The first input position and the weights of an output position.
    #[inline(always)]
    pub fn of(&self, position: usize) -> (usize, &[Pair]) {
        let ((first, count), at) = (self.places[position], position * self.room);
        (first, &self.pairs[at..at + count])
    }

    /// Output positions.
    pub fn len(&self) -> usize {
        self.places.len()
    }
}

/// As `ops::taps`, the same operations in the same order, but tap by tap for all positions at once.
struct Compute<'a> {
    weights: &'a mut Weights,
    input: usize,
    output: usize,
}

impl Kernel for Compute<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { weights, input, output } = self;
        // A box edge is an f32 in the specification.
        let scale = f64::from(input as f32) / output as f64;
        let filter_scale = scale.max(1.0);
        let support = Filter::Bicubic.support() * filter_scale;
        let inverse = 1.0 / filter_scale;
        let taps = (2.0 * support) as usize + 2;
        let Scratch { centre, first, end, sum, exact, fixed: numbers } = &mut weights.scratch;
        for list in [&mut *centre, first, end, sum] {
            list.clear();
            list.resize(output, 0.0);
        }
        exact.clear();
        exact.resize(taps * output, 0.0);
        numbers.clear();
        numbers.resize(taps * output, 0);
        for position in 0..output {
            let at = 0.0 + (position as f64 + 0.5) * scale;
            centre[position] = at;
            first[position] = (at - support + 0.5).max(0.0).trunc();
            end[position] = (at + support + 0.5).trunc().min(input as f64);
        }
        for (tap, exact) in exact.chunks_exact_mut(output).enumerate() {
            let places = centre.iter().zip(&*first).zip(&*end);
            for ((weight, sum), ((centre, first), end)) in exact.iter_mut().zip(sum.iter_mut()).zip(places) {
                let at = first + tap as f64;
                let found = bicubic((at - centre + 0.5) * inverse);
                *weight = if at < *end { found } else { 0.0 };
                *sum += *weight;
            }
        }
        for (exact, numbers) in exact.chunks_exact(output).zip(numbers.chunks_exact_mut(output)) {
            for ((number, weight), sum) in numbers.iter_mut().zip(exact).zip(&*sum) {
                *number = fixed(if *sum == 0.0 { *weight } else { weight / sum });
            }
        }
        pair_up(weights, taps, output);
    }
}

/// The filter without branches on the distance.
#[inline(always)]
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    let near = ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = (((x - 5.0) * x + 8.0) * x - 4.0) * A;
    let far = if x < 2.0 { far } else { 0.0 };
    if x < 1.0 { near } else { far }
}

#[inline(always)]
fn pair_up(weights: &mut Weights, taps: usize, output: usize) {
    let Weights { places, pairs, room, scratch } = weights;
    let ends = scratch.first.iter().zip(&scratch.end);
    places.clear();
    places.extend(ends.map(|(first, end)| (*first as usize, ((end - first) as usize).min(taps).div_ceil(2))));
    *room = places.iter().map(|(_, count)| *count).max().unwrap_or(1);
    pairs.clear();
    pairs.resize(output * *room, Pair::default());
    for pair in 0..*room {
        for position in 0..output {
            let tap = |tap: usize| scratch.fixed.get(tap * output + position).copied().unwrap_or(0);
            let (one, two) = (tap(2 * pair), tap(2 * pair + 1));
            pairs[position * *room + pair] = Pair::new(one, two);
        }
    }
}

const _: () = assert!(FRACTION_BITS == 22);

#[cfg(test)]
mod tests {
    use mugs_simd::Level;

    use super::*;
    use crate::ops::taps::Taps;

    #[test]
    fn weights_are_those_of_the_specification() {
        for vectors in Level::available().filter_map(Vectors::of) {
            let mut weights = Weights::default();
            for (input, output) in
                [(1, 1), (1, 9), (2, 7), (500, 224), (37, 96), (224, 224), (96, 97), (1999, 3), (7, 64)]
                    .into_iter()
                    .chain((1..400).map(|input| (input, 96)))
            {
                weights.compute(vectors, input, output);
                let taps = Taps::new(Filter::Bicubic, input, 0.0, input as f32, output);
                for position in 0..output {
                    let (first, wanted) = taps.of(position);
                    let (begins, pairs) = weights.of(position);
                    let mut found: Vec<i32> = pairs
                        .iter()
                        .flat_map(|pair| {
                            assert_eq!(pair.high as i16, (pair.high >> 16) as i16);
                            let ([one, two, ..], low) = (pair.high.to_le_bytes(), pair.low);
                            let whole = |high: u8, low: i32| (i32::from(high as i8) << LOW_BITS) + low;
                            [whole(one, i32::from(low as i16)), whole(two, low >> 16)]
                        })
                        .collect();
                    assert!(found[wanted.len()..].iter().all(|weight| *weight == 0));
                    found.truncate(wanted.len());
                    assert_eq!((begins, &found[..]), (first, wanted), "{input} to {output}, position {position}");
                }
            }
        }
    }
}
