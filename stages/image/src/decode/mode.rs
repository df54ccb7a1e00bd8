//! How JPEGs are decoded: exactly, or large ones at a fraction of their size.

/// The fractions that libjpeg-turbo's inverse transform gives at less cost than the whole, as their denominators, the
/// smallest picture first.
const REDUCTIONS: [usize; 3] = [8, 4, 2];

/// How JPEGs are decoded. Other formats know one way only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JpegMode {
    /// At their size, to the reference's bytes.
    #[default]
    Exact,
    /// Large ones at 1/2, 1/4 or 1/8 of their size: the smallest whose shorter side has at least `least_side` pixels.
    /// Those that are smaller than twice that are decoded exactly.
    ///
    /// The pixels are not those of the exact picture made smaller by any of this crate's filters: the inverse
    /// transform leaves out the high frequencies of each block. libjpeg-turbo's fast upsampling and fast transform are
    /// not used: measured at these fractions, and for small pictures, they save nothing.
    Fast {
        /// The least shorter side of a picture that was made smaller, in pixels, 1 or more.
        least_side: usize,
    },
}

impl JpegMode {
    /// The denominator of the fraction at which a JPEG of this size is decoded: 1, 2, 4 or 8. Sides are rounded up.
    pub fn reduction(self, width: usize, height: usize) -> usize {
        let Self::Fast { least_side } = self else { return 1 };
        let shorter = width.min(height);
        REDUCTIONS.into_iter().find(|by| shorter.div_ceil(*by) >= least_side.max(1)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_is_large_enough_is_taken() {
        let fast = JpegMode::Fast { least_side: 448 };
        let sides = [447, 448, 894, 895, 896, 1788, 1789, 3576, 3577, 65500];
        assert_eq!(sides.map(|side| fast.reduction(side, 65500)), [1, 1, 1, 2, 2, 2, 4, 4, 8, 8]);
        assert_eq!(fast.reduction(65500, 895), 2, "the shorter side counts");
        assert_eq!(JpegMode::Exact.reduction(65500, 65500), 1);
    }
}
