//! The samplers that the recipes are made of, and the addresses of their draws.
//!
//! Everything drawn for a picture lies in lanes of its (epoch, position), and every draw has its own block there, so
//! that no draw depends on how many came before it:
//!
//! | lane | block | draw |
//! |---|---|---|
//! | c, the crop's number | 16 a, a = 0 … 9 | attempt a of the crop's box: area (f32), aspect (f32) |
//! | | 16 a + 1, 16 a + 2 | its top; its left |
//! | | 160 | strong or weak (f64; local crops only), flip (f64) |
//! | | 161 | whether jitter (f64), whether gray (f64) |
//! | | 162 | whether blur (f64), whether solarize (f64) |
//! | | 163 | blur radius (f64) |
//! | | 164 | factors of brightness, contrast, saturation, hue (f32 each) |
//! | | 176 | order of the jitter's steps |
//! | | 192 + k | the kind of operator k of RandAugment, k = 0 … 14 |
//! | | 256 + 16 k | operator k: whether it is applied (f64), its sign (f64) |
//! | | 256 + 16 k + 1, + 2 | its level (normal, f64); how it reads between pixels (f64) |
//! | 0x8000 + c | 16 a, a = 0 … 9 | attempt a of the erased rectangle: area (f64), aspect (f64) |
//! | | 16 a + 1, 16 a + 2 | its top; its left |
//! | | 160 | whether a rectangle is erased (f64) |
//! | | from 256 | the noise, see [`Noise`] |
//! | 0xffff | 0 | whether the student's two large crops are strong (f64) |

use mugs_random::{Draws, shuffle};

use super::plan::{CropBox, Erase, JitterStep, Noise};
use super::rules::Rules;

/// Blocks of a lane, see the table of this module.
pub(super) mod blocks {
    /// Blocks between two attempts or operators.
    pub const STRIDE: u32 = 16;
    pub const FLIP: u32 = 160;
    pub const COLOUR: u32 = 161;
    pub const EFFECTS: u32 = 162;
    pub const RADIUS: u32 = 163;
    pub const FACTORS: u32 = 164;
    pub const ORDER: u32 = 176;
    pub const CHOICE: u32 = 192;
    pub const OPERATORS: u32 = 256;
    pub const ERASED: u32 = 160;
}

/// Attempts to fit a box or rectangle before giving up.
pub(super) const ATTEMPTS: u32 = 10;
/// Width by height of a crop, at least and at most.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// Part of a crop's area that a rectangle erases.
const ERASED_AREA: [f64; 2] = [0.02, 1.0 / 3.0];
/// Height by width of an erased rectangle, at least; at most its inverse.
const ERASED_RATIO: f64 = 0.3;

/// Draws a crop's box: a part of the picture's area and an aspect ratio, until they fit.
pub(super) fn crop_box(lane: &mut Draws, [width, height]: [usize; 2], scale: [f64; 2], rules: &Rules) -> CropBox {
    let fits = (0..ATTEMPTS).find_map(|attempt| crop_attempt(lane, attempt, [width, height], scale, rules));
    fits.unwrap_or_else(|| centred_box(width, height))
}

/// One attempt at a box; none if it does not fit.
pub(super) fn crop_attempt(
    lane: &mut Draws,
    attempt: u32,
    [width, height]: [usize; 2],
    scale: [f64; 2],
    rules: &Rules,
) -> Option<CropBox> {
    let block = blocks::STRIDE * attempt;
    lane.seek(block);
    let part = lane.range_f32(scale[0] as f32, scale[1] as f32);
    let aspect = (rules.aspect)(lane.uniform_f32(), RATIO.map(|ratio| ratio as f32));
    let area = width as f64 * height as f64 * f64::from(part);
    let [w, h] = sides(area, f64::from(aspect));
    let fits = 0 < w && w <= width && 0 < h && h <= height;
    fits.then(|| CropBox {
        top: offset(lane, block + 1, height - h),
        left: offset(lane, block + 2, width - w),
        height: h,
        width: w,
    })
}

/// The two sides of a rectangle, from its area and the ratio of the first side to the second, rounded to even.
pub(super) fn sides(area: f64, ratio: f64) -> [usize; 2] {
    [area * ratio, area / ratio].map(|square| square.sqrt().round_ties_even() as usize)
}

/// Uniform on 0 … room.
fn offset(lane: &mut Draws, block: u32, room: usize) -> usize {
    lane.seek(block);
    lane.below(room as u64 + 1) as usize
}

/// The largest centred box of an allowed aspect ratio.
pub(super) fn centred_box(width: usize, height: usize) -> CropBox {
    let ratio = width as f64 / height as f64;
    let (w, h) = if ratio < RATIO[0] {
        (width, (width as f64 / RATIO[0]).round_ties_even() as usize)
    } else if ratio > RATIO[1] {
        ((height as f64 * RATIO[1]).round_ties_even() as usize, height)
    } else {
        (width, height)
    };
    CropBox { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

/// Draws the colour jitter: all four steps, in any order.
pub(super) fn jitter(lane: &mut Draws) -> [JitterStep; 4] {
    lane.seek(blocks::FACTORS);
    let mut steps = [
        JitterStep::Brightness(lane.range_f32(0.6, 1.4)),
        JitterStep::Contrast(lane.range_f32(0.6, 1.4)),
        JitterStep::Saturation(lane.range_f32(0.8, 1.2)),
        JitterStep::Hue(lane.range_f32(-0.1, 0.1)),
    ];
    lane.seek(blocks::ORDER);
    shuffle(&mut steps, lane);
    steps
}

/// Draws the radius of the blur in pixels.
pub(super) fn blur_radius(lane: &mut Draws) -> f64 {
    lane.seek(blocks::RADIUS);
    lane.range_f64(0.1, 2.0)
}

/// Draws what is erased of a crop with probability `probability`; nothing if no rectangle fits.
pub(super) fn erase(lane: &mut Draws, probability: f64, size: usize, noise: Noise) -> Option<Erase> {
    lane.seek(blocks::ERASED);
    if !lane.chance(probability) {
        return None;
    }
    let fitting = (0..ATTEMPTS).find_map(|attempt| erase_attempt(lane, attempt, size, noise));
    // On tiny crops a rectangle can fit and be empty.
    fitting.filter(|erase| erase.height > 0 && erase.width > 0)
}

fn erase_attempt(lane: &mut Draws, attempt: u32, size: usize, noise: Noise) -> Option<Erase> {
    let block = blocks::STRIDE * attempt;
    lane.seek(block);
    let area = (size * size) as f64 * lane.range_f64(ERASED_AREA[0], ERASED_AREA[1]);
    let bound = libm::log(ERASED_RATIO);
    let aspect = libm::exp(lane.range_f64(bound, -bound));
    let [height, width] = sides(area, aspect);
    let fits = height < size && width < size;
    fits.then(|| Erase {
        top: offset(lane, block + 1, size - height),
        left: offset(lane, block + 2, size - width),
        height,
        width,
        noise,
    })
}
