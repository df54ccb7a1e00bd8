//! RandAugment (E. D. Cubuk et al., 2019) as the published code runs it: policy strings, the choice of operators, and
//! their arguments.

use std::str::FromStr;

use mugs_random::Draws;

use super::plan::{Operator, Resample};
use super::rules::Rules;
use super::sample::blocks;

/// Magnitudes run from 0 to this level.
const MAX_LEVEL: f64 = 10.0;
/// Probability that an operator that was drawn is applied.
const APPLIED: f64 = 0.5;

/// An operator that can be drawn, and its weight.
pub(super) type Candidate = (Kind, f64);

/// What a policy string asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Mean magnitude; levels are cut to 0 … 10.
    pub magnitude: f64,
    /// Operators drawn per crop.
    pub layers: usize,
    /// Standard deviation of the magnitude.
    pub magnitude_std: f64,
    /// Whether the set of operators is the one that grows with the magnitude.
    pub increasing: bool,
    /// Whether the operators are drawn by weight instead of uniformly.
    pub weighted: bool,
}

/// What is wrong with a policy string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Another kind of policy.
    #[error("a policy starts with `rand`, as `rand-m9-mstd0.5-inc1` does")]
    Kind,
    /// A part with an unknown key.
    #[error("the key `{key}` of part `{part}` is unknown; there are m, n, mstd, inc and w")]
    Key {
        /// The part.
        part: String,
        /// Its key.
        key: String,
    },
    /// A value that is not a number of its key's kind.
    #[error("part `{part}` needs {kind}")]
    Value {
        /// The part.
        part: String,
        /// What its value must be.
        kind: &'static str,
    },
    /// Weights that do not exist.
    #[error("there are no weights `w{0}`; the only ones are `w0`")]
    Weights(u32),
    /// More operators than there are.
    #[error("{asked} different operators are asked for, but only {present} can be drawn; lower n")]
    Layers {
        /// The number asked for.
        asked: usize,
        /// Operators with a weight above 0.
        present: usize,
    },
}

/// Parts are joined by `-`: text up to the first digit is the key, the rest the value. Parts without a digit mean
/// nothing. Of several `mstd` the first counts, of the other keys the last, as published.
impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let mut parts = text.split('-');
        if parts.next() != Some("rand") {
            return Err(PolicyError::Kind);
        }
        let mut policy =
            Policy { magnitude: MAX_LEVEL, layers: 2, magnitude_std: 0.0, increasing: false, weighted: false };
        let (mut std, mut weights) = (None, None);
        for part in parts {
            let Some(digit) = part.find(|c: char| c.is_ascii_digit()) else { continue };
            let (key, value) = part.split_at(digit);
            match key {
                "m" => policy.magnitude = f64::from(whole(part, value)?),
                "n" => policy.layers = whole(part, value)? as usize,
                "mstd" => {
                    let deviation = number(part, value)?;
                    std.get_or_insert(deviation);
                }
                // Whatever the value: `inc0` switches it on, too.
                "inc" => policy.increasing = true,
                "w" => weights = Some(whole(part, value)?),
                _ => return Err(PolicyError::Key { part: part.into(), key: key.into() }),
            }
        }
        match weights {
            Some(other @ 1..) => return Err(PolicyError::Weights(other)),
            zero => policy.weighted = zero.is_some(),
        }
        Ok(Policy { magnitude_std: std.unwrap_or(0.0), ..policy })
    }
}

fn whole(part: &str, value: &str) -> Result<u32, PolicyError> {
    value.parse().map_err(|_| PolicyError::Value { part: part.into(), kind: "a whole number" })
}

fn number(part: &str, value: &str) -> Result<f64, PolicyError> {
    let finite = value.parse().ok().filter(|number: &f64| number.is_finite());
    finite.ok_or_else(|| PolicyError::Value { part: part.into(), kind: "a number" })
}

impl Policy {
    /// The policy itself, if there are as many operators as it draws.
    pub(super) fn drawable(self) -> Result<Self, PolicyError> {
        let present = self.candidates().len();
        if self.layers > present { Err(PolicyError::Layers { asked: self.layers, present }) } else { Ok(self) }
    }

    /// The operators that can be drawn, with their weights.
    fn candidates(&self) -> Vec<Candidate> {
        let weight = |at: usize| if self.weighted { WEIGHTS[at] } else { 1.0 };
        let all = KINDS.iter().enumerate().map(|(at, &kind)| (kind, weight(at)));
        all.filter(|&(_, weight)| weight > 0.0).collect()
    }

    /// Draws a crop's operators: different ones, each by its weight among those that are left.
    pub(super) fn choose(&self, lane: &mut Draws, rules: &Rules) -> Vec<Kind> {
        let mut left = self.candidates();
        let choice = (0..self.layers).map(|layer| {
            lane.seek(blocks::CHOICE + layer as u32);
            let at = if self.weighted {
                by_weight(&left, lane.uniform_f64())
            } else {
                lane.below(left.len() as u64) as usize
            };
            (rules.take)(&mut left, at).0
        });
        choice.collect()
    }

    /// Draws the operators that are applied to a crop, with their arguments, from the crop's lane.
    pub(super) fn draw(&self, lane: &mut Draws, rules: &Rules) -> Vec<Operator> {
        let mut operators = Vec::with_capacity(self.layers);
        for (layer, kind) in self.choose(lane, rules).into_iter().enumerate() {
            let block = blocks::OPERATORS + blocks::STRIDE * layer as u32;
            lane.seek(block);
            if !lane.chance(APPLIED) {
                continue;
            }
            let negative = (rules.negative)(lane.uniform_f64());
            lane.seek(block + 1);
            let level = (rules.level)(self, lane.normal_f64()).clamp(0.0, MAX_LEVEL);
            lane.seek(block + 2);
            let resample = if lane.chance(0.5) { Resample::Bilinear } else { Resample::Bicubic };
            operators.push(kind.operator(self.increasing, level, negative, resample));
        }
        operators
    }
}

/// The item at the part `u` (0 to 1) of the whole weight.
fn by_weight(items: &[Candidate], u: f64) -> usize {
    let mut rest = u * items.iter().map(|(_, weight)| weight).sum::<f64>();
    let found = items.iter().position(|(_, weight)| {
        rest -= weight;
        rest < 0.0
    });
    // Rounding can leave nothing behind the last one.
    found.unwrap_or(items.len().saturating_sub(1))
}

/// An operator of the two sets, which differ in the arguments of six of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
}

/// The operators in the published order.
pub(super) const KINDS: [Kind; 15] = [
    Kind::AutoContrast,
    Kind::Equalize,
    Kind::Invert,
    Kind::Rotate,
    Kind::Posterize,
    Kind::Solarize,
    Kind::SolarizeAdd,
    Kind::Color,
    Kind::Contrast,
    Kind::Brightness,
    Kind::Sharpness,
    Kind::ShearX,
    Kind::ShearY,
    Kind::TranslateXRel,
    Kind::TranslateYRel,
];

/// The weights `w0`, by position in [`KINDS`].
const WEIGHTS: [f64; 15] = [0.025, 0.005, 0.0, 0.3, 0.0, 0.005, 0.005, 0.025, 0.005, 0.005, 0.025, 0.2, 0.2, 0.1, 0.1];

impl Kind {
    /// The operator at a level of 0 to 10. Whole arguments are cut, not rounded.
    pub(super) fn operator(self, increasing: bool, level: f64, negative: bool, resample: Resample) -> Operator {
        let part = level / MAX_LEVEL;
        let signed = |value: f64| if negative { -value } else { value };
        let factor = if increasing { 1.0 + signed(part * 0.9) } else { part * 1.8 + 0.1 };
        let (bits, thresh) = ((part * 4.0) as u8, (part * 256.0) as u16);
        match self {
            Kind::AutoContrast => Operator::AutoContrast {},
            Kind::Equalize => Operator::Equalize {},
            Kind::Invert => Operator::Invert {},
            Kind::Rotate => Operator::Rotate { degrees: signed(part * 30.0), resample },
            Kind::Posterize => Operator::Posterize { bits: if increasing { 4 - bits } else { bits } },
            Kind::Solarize => Operator::Solarize { thresh: if increasing { 256 - thresh } else { thresh } },
            Kind::SolarizeAdd => Operator::SolarizeAdd { add: (part * 110.0) as u8 },
            Kind::Color => Operator::Color { factor },
            Kind::Contrast => Operator::Contrast { factor },
            Kind::Brightness => Operator::Brightness { factor },
            Kind::Sharpness => Operator::Sharpness { factor },
            Kind::ShearX => Operator::ShearX { factor: signed(part * 0.3), resample },
            Kind::ShearY => Operator::ShearY { factor: signed(part * 0.3), resample },
            Kind::TranslateXRel => Operator::TranslateXRel { pct: signed(part * 0.45), resample },
            Kind::TranslateYRel => Operator::TranslateYRel { pct: signed(part * 0.45), resample },
        }
    }
}
