//! The turns of the recipe that a re-implementation gets wrong unnoticed, in one place: each is a function that the
//! statistical tests exchange, to show that they would have noticed.

use super::policy::{Candidate, Policy};

/// How draws are turned into decisions. There is one set of rules, [`Rules::PUBLISHED`], outside of tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether a crop is strong, from a uniform draw on [0, 1) and `prob`, the probability of weak.
    pub strong: fn(f64, f64) -> bool,
    /// Whether a signed argument is negative, from a uniform draw on [0, 1).
    pub negative: fn(f64) -> bool,
    /// The aspect ratio of a crop, from a uniform draw on [0, 1) and the least and largest ratio.
    pub aspect: fn(f32, [f32; 2]) -> f32,
    /// Takes the item at an index from the operators that can still be drawn.
    pub take: fn(&mut Vec<Candidate>, usize) -> Candidate,
    /// The level, not yet cut to its range, from a standard normal.
    pub level: fn(&Policy, f64) -> f64,
}

impl Rules {
    /// The rules of the published code.
    pub const PUBLISHED: Rules = Rules {
        strong: |u, prob| u >= prob,
        negative: |u| u < 0.5,
        aspect: log_uniform,
        take: Vec::remove,
        level: |policy, normal| policy.magnitude + policy.magnitude_std * normal,
    };
}

/// Uniform in the logarithm, so that a ratio is as likely as its inverse.
fn log_uniform(u: f32, [least, most]: [f32; 2]) -> f32 {
    let (low, high) = (libm::logf(least), libm::logf(most));
    libm::expf(low + (high - low) * u)
}
