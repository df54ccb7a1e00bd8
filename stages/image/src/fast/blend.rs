//! Interpolation between lines of bytes, truncated as f64 arithmetic would have it.
//!
//! Computed in f32 with fused steps, the value is off by less than [`Taps::slack`]. Where the value less and plus that
//! much are truncated alike, this is the result; the few others are computed again as specified, in f64. Neighbours
//! that are all equal give just that value and never count as doubtful.

use mugs_simd::Simd;

use super::planes::LINE;
use super::resize::load;
use crate::ops::Resample;
use crate::ops::affine::{cubic, line};

/// How four neighbours in a line are weighed at a fraction between the second and the third.
#[derive(Clone, Copy)]
pub(super) struct Taps {
    resample: Resample,
    weights: [f32; 4],
}

impl Taps {
    /// At a fraction `t`, 0 to 1.
    pub fn at(resample: Resample, t: f64) -> Self {
        let weights = match resample {
            Resample::Bilinear => [0.0, 1.0 - t, t, 0.0],
            // The cubic of `ops::affine` by its values: a = -1.
            Resample::Bicubic => {
                [t * (-1.0 + t * (2.0 - t)), 1.0 + t * t * (-2.0 + t), t * (1.0 + t * (1.0 - t)), t * t * (-1.0 + t)]
            }
        };
        Self { resample, weights: weights.map(|weight| weight as f32) }
    }

    /// More than the value can be off: four products with weights rounded to 2^-25 of themselves and sums below 512,
    /// rounded four times, make less than 2^-13.
    fn slack(self) -> f32 {
        match self.resample {
            Resample::Bilinear => 1.0 / 4096.0,
            Resample::Bicubic => 1.0 / 1024.0,
        }
    }

    /// Blends the first `count` bytes of the lines into `out`, which has room for whole vectors; `fraction` gives the
    /// exact fraction at a place, for the doubtful ones.
    #[inline(always)]
    pub fn blend<S: Simd>(
        self,
        s: S,
        lines: [&[u8]; 4],
        count: usize,
        out: &mut [u8],
        fraction: impl Fn(usize) -> f64,
    ) {
        for at in (0..count).step_by(S::BYTES) {
            let values = [load(s, lines[0], at), load(s, lines[1], at), load(s, lines[2], at), load(s, lines[3], at)];
            let (found, doubtful) = match self.resample {
                Resample::Bilinear => self.bilinear(s, values[1], values[2]),
                Resample::Bicubic => self.bicubic(s, values),
            };
            if out.len() - at >= S::BYTES {
                s.store(found, &mut out[at..]);
            } else {
                let mut bytes = [0; LINE];
                s.store(found, &mut bytes);
                let rest = &mut out[at..];
                rest.copy_from_slice(&bytes[..rest.len()]);
            }
            let mut doubtful = doubtful;
            while doubtful != 0 {
                let place = at + doubtful.trailing_zeros() as usize;
                doubtful &= doubtful - 1;
                if place < count {
                    out[place] = self.exactly(lines.map(|line| line[place]), fraction(place));
                }
            }
        }
    }

    #[inline(always)]
    fn bilinear<S: Simd>(self, s: S, from: S::I, to: S::I) -> (S::I, u64) {
        let (t, slack) = (s.splat_f32(self.weights[2]), s.splat_f32(self.slack()));
        let flat = s.eq8(from, to);
        let (from, to) = (s.widen(from), s.widen(to));
        let (mut least, mut most) = (from, from);
        for part in 0..4 {
            let step = s.to_f32(s.sub32(to[part], from[part]));
            let value = s.fma(step, t, s.to_f32(from[part]));
            least[part] = s.trunc(s.sub_f32(value, slack));
            most[part] = s.trunc(s.add_f32(value, slack));
        }
        Self::settle(s, s.narrow(least), s.narrow(most), flat)
    }

    #[inline(always)]
    fn bicubic<S: Simd>(self, s: S, values: [S::I; 4]) -> (S::I, u64) {
        let [a, b, c, d] = values;
        let flat = s.and(s.and(s.eq8(a, b), s.eq8(b, c)), s.eq8(c, d));
        let slack = s.splat_f32(self.slack());
        let [one, two, three, four] = self.weights;
        let weights = [s.splat_f32(one), s.splat_f32(two), s.splat_f32(three), s.splat_f32(four)];
        let values = [s.widen(a), s.widen(b), s.widen(c), s.widen(d)];
        let (mut least, mut most) = (values[0], values[0]);
        for part in 0..4 {
            let mut value = s.mul_f32(s.to_f32(values[1][part]), weights[1]);
            for tap in [2, 0, 3] {
                value = s.fma(s.to_f32(values[tap][part]), weights[tap], value);
            }
            least[part] = s.trunc(s.sub_f32(value, slack));
            most[part] = s.trunc(s.add_f32(value, slack));
        }
        Self::settle(s, s.narrow(least), s.narrow(most), flat)
    }

    /// The bytes, and a bit for each that is doubtful.
    #[inline(always)]
    fn settle<S: Simd>(s: S, least: S::I, most: S::I, flat: S::I) -> (S::I, u64) {
        let sure = s.or(s.eq8(least, most), flat);
        let all = u64::MAX >> (64 - S::BYTES);
        (most, !s.bits8(sure) & all)
    }

    /// As specified, in f64; the cast clamps and truncates.
    pub fn exactly(self, values: [u8; 4], fraction: f64) -> u8 {
        let values = values.map(f64::from);
        match self.resample {
            Resample::Bilinear => line(values[1], values[2], fraction) as u8,
            Resample::Bicubic => cubic(values, fraction) as u8,
        }
    }
}
