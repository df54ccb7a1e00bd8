//! What a planner draws and a renderer executes: every random parameter of a picture's crops.
//!
//! Plans are plain data. Their JSON form reads the golden chains (`tests/golden/augment/chains.jsonl`), where
//! operators and jitter steps are pairs of a name and its arguments.

use mugs_random::{Address, Draws};
use serde::{Deserialize, Serialize};

/// All crops of one picture at one place of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PicturePlan {
    /// Whether the student's two large crops are weak: such pictures enter the student's memory.
    pub weak: bool,
    /// The crops in the order in which the model takes them: the teacher's two (t1, t2), the student's two large ones
    /// (s1, s2), then the local ones.
    pub crops: Vec<CropPlan>,
}

impl PicturePlan {
    /// Bytes of the finished crops together.
    pub fn bytes(&self) -> usize {
        self.crops.iter().map(CropPlan::bytes).sum()
    }
}

/// One crop, from the decoded picture to the finished square of bytes (and, for strong ones, what is erased after).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum CropPlan {
    /// A weak crop.
    Weak(WeakCrop),
    /// A strong crop.
    Strong(StrongCrop),
}

impl CropPlan {
    /// Side of the finished crop in pixels.
    pub fn size(&self) -> usize {
        match self {
            CropPlan::Weak(weak) => weak.size,
            CropPlan::Strong(strong) => strong.size,
        }
    }

    /// Bytes of the finished crop: three planes.
    pub fn bytes(&self) -> usize {
        3 * self.size() * self.size()
    }

    /// What is erased after normalisation's inputs are made, if anything.
    pub fn erase(&self) -> Option<Erase> {
        match self {
            CropPlan::Weak(_) => None,
            CropPlan::Strong(strong) => strong.erase,
        }
    }
}

/// A weak crop: resized crop → flip → jitter → gray → blur → solarize, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeakCrop {
    /// The part of the picture.
    pub crop: CropBox,
    /// Side of the finished crop in pixels; the resize to it is bicubic.
    pub size: usize,
    /// Whether the crop is mirrored, left to right.
    pub flip: bool,
    /// The colour jitter's steps in their order, or none.
    #[serde(default)]
    pub jitter: Option<[JitterStep; 4]>,
    /// Whether the colours are taken away (three equal channels of luma).
    #[serde(default)]
    pub gray: bool,
    /// Radius of the Gaussian blur in pixels of the finished crop, or none.
    #[serde(default)]
    pub blur: Option<f64>,
    /// Whether bytes of 128 and above are inverted.
    #[serde(default)]
    pub solarize: bool,
}

/// A strong crop: flip of the whole picture → operators on the whole picture → jitter → gray → resized crop → erasing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StrongCrop {
    /// Whether the picture is mirrored, left to right.
    pub flip: bool,
    /// The operators that are applied, in their order (those that were drawn and skipped are left out).
    pub ops: Vec<Operator>,
    /// The colour jitter's steps in their order, or none (always none without `color_aug`).
    #[serde(default)]
    pub jitter: Option<[JitterStep; 4]>,
    /// Whether the colours are taken away (never without `color_aug`).
    #[serde(default)]
    pub gray: bool,
    /// The part of the picture, after flip and operators.
    pub crop: CropBox,
    /// Side of the finished crop in pixels; the resize to it is bicubic.
    pub size: usize,
    /// The rectangle of the finished crop that noise replaces, or none.
    #[serde(default)]
    pub erase: Option<Erase>,
}

/// A part of a picture, in its pixels; `[top, left, height, width]` in JSON. Never empty, never outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[usize; 4]", into = "[usize; 4]")]
pub struct CropBox {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl From<[usize; 4]> for CropBox {
    fn from([top, left, height, width]: [usize; 4]) -> CropBox {
        CropBox { top, left, height, width }
    }
}

impl From<CropBox> for [usize; 4] {
    fn from(part: CropBox) -> [usize; 4] {
        [part.top, part.left, part.height, part.width]
    }
}

/// A step of the colour jitter with its factor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "factor", rename_all = "lowercase")]
pub enum JitterStep {
    /// 0.6 to 1.4; 1 changes nothing.
    Brightness(f32),
    /// 0.6 to 1.4; 1 changes nothing.
    Contrast(f32),
    /// 0.8 to 1.2; 1 changes nothing.
    Saturation(f32),
    /// -0.1 to 0.1 of a full turn.
    Hue(f32),
}

/// An operator of RandAugment on the whole picture. The `…Increasing` kinds of a policy differ from the plain ones in
/// their arguments only. (The braces of the first three let all variants read alike.)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "args")]
#[expect(missing_docs, reason = "the fields are the published arguments, described at their variants")]
pub enum Operator {
    /// Stretches each channel to 0 … 255.
    AutoContrast {},
    /// Evens out each channel's histogram.
    Equalize {},
    /// Inverts every byte.
    Invert {},
    /// Turns counter-clockwise about the centre, by `degrees`.
    Rotate { degrees: f64, resample: Resample },
    /// Keeps the upper `bits` bits of each byte, 0 to 8.
    Posterize { bits: u8 },
    /// Inverts bytes of `thresh` and above, 0 to 256.
    Solarize { thresh: u16 },
    /// Adds `add` to bytes below 128, 0 to 110.
    SolarizeAdd { add: u8 },
    /// Blends from gray (factor 0) over the picture (1) beyond.
    Color { factor: f64 },
    /// Blends from mean gray (factor 0) over the picture (1) beyond.
    Contrast { factor: f64 },
    /// Blends from black (factor 0) over the picture (1) beyond.
    Brightness { factor: f64 },
    /// Blends from smoothed (factor 0) over the picture (1) beyond.
    Sharpness { factor: f64 },
    /// Shears by `factor` columns per row.
    ShearX { factor: f64, resample: Resample },
    /// Shears by `factor` rows per column.
    ShearY { factor: f64, resample: Resample },
    /// Moves to the left by the fraction `pct` of the width.
    TranslateXRel { pct: f64, resample: Resample },
    /// Moves up by the fraction `pct` of the height.
    TranslateYRel { pct: f64, resample: Resample },
}

/// How a geometric operator reads between pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// From 2 x 2 pixels.
    Bilinear,
    /// From 4 x 4 pixels.
    Bicubic,
}

/// A rectangle of a finished crop that noise replaces in all three channels, strictly smaller than the crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erase {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Where the noise comes from.
    #[serde(default)]
    pub noise: Noise,
}

/// The address of a rectangle's noise: small enough to travel with a batch in place of the noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noise {
    /// The run's seed.
    pub seed: u64,
    /// The epoch.
    pub epoch: u32,
    /// The position in the epoch.
    pub position: u64,
    /// The lane of the crop's erasing.
    pub lane: u16,
}

impl Noise {
    /// The block of the lane at which the noise starts, behind the draws of the rectangle.
    pub const FIRST_BLOCK: u32 = 256;

    /// Independent standard normals for a patch, channel by channel and row by row (`3 * height * width` values).
    pub fn fill(self, patch: &mut [f32]) {
        let Noise { seed, epoch, position, lane } = self;
        let mut draws = Draws::at(seed, Address { epoch, position, lane });
        draws.seek(Noise::FIRST_BLOCK);
        draws.fill_normal_f32(patch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_chains_are_plans() {
        let text = std::fs::read_to_string(mugs_test_support::golden("augment/chains.jsonl")).unwrap();
        for line in text.lines() {
            let plan: CropPlan = serde_json::from_str(line).unwrap();
            let written = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<CropPlan>(&written).unwrap(), plan);
        }
        let strong: CropPlan = serde_json::from_str(text.lines().nth(52).unwrap()).unwrap();
        let ops = vec![
            Operator::Rotate { degrees: -26.354192031623576, resample: Resample::Bicubic },
            Operator::ShearY { factor: 0.27269073638584596, resample: Resample::Bicubic },
        ];
        let expected = StrongCrop {
            flip: false,
            ops,
            jitter: None,
            gray: false,
            crop: CropBox { top: 23, left: 59, height: 268, width: 337 },
            size: 224,
            erase: Some(Erase { top: 132, left: 135, height: 59, width: 31, noise: Noise::default() }),
        };
        assert_eq!(strong, CropPlan::Strong(expected));
    }

    #[test]
    fn noise_of_different_addresses_differs() {
        let noise = Noise { seed: 1, epoch: 2, position: 3, lane: 4 };
        let mut patches = [[0.0; 12]; 3];
        for (patch, noise) in patches.iter_mut().zip([noise, noise, Noise { lane: 5, ..noise }]) {
            noise.fill(patch);
        }
        assert_eq!(patches[0], patches[1]);
        assert_ne!(patches[0], patches[2]);
    }
}
