//! Which input pixels make an output pixel of a resize, and with which weights.

/// The interpolation of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Triangle of half-width 1.
    Bilinear,
    /// Cubic convolution of half-width 2 with a = -0.5 (R. Keys: "Cubic convolution interpolation for digital image
    /// processing", 1981).
    Bicubic,
}

impl Filter {
    /// Half-width in input pixels, when enlarging.
    pub(crate) fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The weight at distance `x`, in the reference's order of operations.
    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// Fraction bits of a fixed-point weight: 8 bits of pixel, 2 bits of overshoot and these fill an i32.
pub(crate) const FRACTION_BITS: u32 = 22;

/// One half in fixed point, the start of every sum.
pub(crate) const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// A fixed-point sum as a pixel value.
pub(super) fn to_pixel(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

/// The weights of one axis of a resize, computed once for all rows or columns.
#[derive(Debug)]
pub(crate) struct Taps {
    /// For each output position: the first input position, and where its weights lie in `weights`.
    spans: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<i32>,
}

impl Taps {
    /// Weights for `output` positions over the box from `low` to `high` of an axis of `input` positions.
    ///
    /// When shrinking, the filter is widened by the scale (antialiasing). Weights outside the picture are cut off and
    /// the rest is normalised.
    pub(crate) fn new(filter: Filter, input: usize, low: f32, high: f32, output: usize) -> Self {
        let scale = f64::from(high - low) / output as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let inverse = 1.0 / filter_scale;
        let mut taps = Self { spans: Vec::with_capacity(output), weights: Vec::new() };
        let mut exact = Vec::new();
        for position in 0..output {
            let centre = f64::from(low) + (position as f64 + 0.5) * scale;
            // Casts truncate; below zero they saturate at 0, the picture's edge.
            let first = (centre - support + 0.5) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend((first..last).map(|at| filter.weight((at as f64 - centre + 0.5) * inverse)));
            let sum = exact.iter().fold(0.0, |sum, weight| sum + weight);
            let start = taps.weights.len();
            taps.weights.extend(exact.iter().map(|&weight| fixed(if sum == 0.0 { weight } else { weight / sum })));
            taps.spans.push((first, start..taps.weights.len()));
        }
        taps
    }

    /// The first input position and the weights of an output position.
    pub(crate) fn of(&self, position: usize) -> (usize, &[i32]) {
        let (first, range) = &self.spans[position];
        (*first, &self.weights[range.clone()])
    }

    /// The input positions that any output position reads.
    pub(crate) fn reach(&self) -> std::ops::Range<usize> {
        let first = self.spans.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let last = self.spans.iter().map(|(first, range)| first + range.len()).max().unwrap_or(0);
        first..last
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }
}

/// Fixed point, rounded half away from zero.
#[inline(always)]
pub(crate) fn fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << FRACTION_BITS);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_within_rounding() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (input, output) in [(500, 224), (10, 224), (3, 7), (1, 5), (600, 1)] {
                let taps = Taps::new(filter, input, 0.0, input as f32, output);
                for position in 0..output {
                    let (first, weights) = taps.of(position);
                    let sum: i32 = weights.iter().sum();
                    assert!((sum - (1 << FRACTION_BITS)).unsigned_abs() as usize <= weights.len());
                    assert!(first + weights.len() <= input);
                    // No sum of pixels times weights leaves an i32.
                    let widest: i64 = weights.iter().map(|weight| i64::from(weight.abs()) * 255).sum();
                    assert!(widest + i64::from(HALF) <= i64::from(i32::MAX));
                }
            }
        }
    }

    #[test]
    fn the_same_size_takes_each_pixel_itself() {
        let taps = Taps::new(Filter::Bicubic, 9, 0.0, 9.0, 9);
        for position in 0..9 {
            let (first, weights) = taps.of(position);
            for (at, weight) in weights.iter().enumerate() {
                assert_eq!(*weight, if first + at == position { 1 << FRACTION_BITS } else { 0 });
            }
        }
    }
}
