//! Plans to pixels: executes a crop's plan on a decoded picture, to the bit.
//!
//! Each operator runs on the whole picture in the published order. This is the reference that [`Renderer`](super::Renderer)
//! is tested against, and what it falls back on where the processor has no vectors.

use std::borrow::Cow;

use mugs_image::Image;
use mugs_image::ops::{self, Filter, Rect};

use super::plan::{CropBox, CropPlan, JitterStep, Operator, Resample, StrongCrop, WeakCrop};

/// The threshold from which the weak recipe's solarize inverts.
pub(super) const SOLARIZE_THRESHOLD: i32 = 128;

/// Called after each step of a plan with the step's published name and what the picture has become.
type Watch<'w> = &'w mut dyn FnMut(&'static str, &Image);

/// Renders one crop of a picture: a square of the plan's size. What the plan erases is left for
/// [`Floats`](super::Floats).
pub fn render(picture: &Image, plan: &CropPlan) -> Image {
    render_watched(picture, plan, &mut |_, _| ())
}

/// As [`render`], and shows `watch` what every step makes, by the names of the golden chains.
pub fn render_watched(picture: &Image, plan: &CropPlan, watch: Watch<'_>) -> Image {
    match plan {
        CropPlan::Weak(weak) => render_weak(picture, weak, watch),
        CropPlan::Strong(strong) => render_strong(picture, strong, watch),
    }
}

/// Crop first: everything else is done on the small square.
fn render_weak(picture: &Image, plan: &WeakCrop, watch: Watch<'_>) -> Image {
    let mut crop = resized_crop(picture, plan.crop, plan.size, watch);
    if plan.flip {
        ops::hflip(&mut crop);
        watch("hflip", &crop);
    }
    recolour(&mut crop, plan.jitter.as_ref(), plan.gray, watch);
    if let Some(radius) = plan.blur {
        ops::gaussian_blur(&mut crop, radius);
        watch("gaussian_blur", &crop);
    }
    if plan.solarize {
        ops::solarize(&mut crop, SOLARIZE_THRESHOLD);
        watch("solarize", &crop);
    }
    crop
}

/// Crop last: flip, operators and colours change the whole picture.
fn render_strong(picture: &Image, plan: &StrongCrop, watch: Watch<'_>) -> Image {
    let unchanged = !plan.flip && plan.ops.is_empty() && plan.jitter.is_none() && !plan.gray;
    if unchanged {
        return resized_crop(picture, plan.crop, plan.size, watch);
    }
    let mut whole = Cow::Borrowed(picture);
    if plan.flip {
        ops::hflip(whole.to_mut());
        watch("hflip", &whole);
    }
    for operator in &plan.ops {
        apply(&mut whole, operator);
        watch(operator.name(), &whole);
    }
    if plan.jitter.is_some() || plan.gray {
        recolour(whole.to_mut(), plan.jitter.as_ref(), plan.gray, watch);
    }
    resized_crop(&whole, plan.crop, plan.size, watch)
}

fn resized_crop(picture: &Image, part: CropBox, size: usize, watch: Watch<'_>) -> Image {
    let CropBox { top, left, height, width } = part;
    let crop = ops::resized_crop(picture, Rect { top, left, height, width }, size, size, Filter::Bicubic);
    watch("resized_crop", &crop);
    crop
}

/// Colour jitter, then gray.
fn recolour(image: &mut Image, jitter: Option<&[JitterStep; 4]>, gray: bool, watch: Watch<'_>) {
    for step in jitter.into_iter().flatten() {
        let name = match *step {
            JitterStep::Brightness(factor) => {
                ops::brightness(image, factor.into());
                "brightness"
            }
            JitterStep::Contrast(factor) => {
                ops::contrast(image, factor.into());
                "contrast"
            }
            JitterStep::Saturation(factor) => {
                ops::saturation(image, factor.into());
                "saturation"
            }
            JitterStep::Hue(factor) => {
                ops::hue(image, factor.into());
                "hue"
            }
        };
        watch(name, image);
    }
    if gray {
        ops::grayscale(image);
        watch("grayscale", image);
    }
}

/// Applies one operator of RandAugment to the whole picture.
fn apply(image: &mut Cow<'_, Image>, operator: &Operator) {
    match *operator {
        Operator::AutoContrast {} => ops::auto_contrast(image.to_mut()),
        Operator::Equalize {} => ops::equalize(image.to_mut()),
        Operator::Invert {} => ops::invert(image.to_mut()),
        Operator::Posterize { bits } => ops::posterize(image.to_mut(), bits.into()),
        Operator::Solarize { thresh } => ops::solarize(image.to_mut(), thresh.into()),
        Operator::SolarizeAdd { add } => ops::solarize_add(image.to_mut(), add.into()),
        Operator::Color { factor } => ops::saturation(image.to_mut(), factor),
        Operator::Contrast { factor } => ops::contrast(image.to_mut(), factor),
        Operator::Brightness { factor } => ops::brightness(image.to_mut(), factor),
        Operator::Sharpness { factor } => ops::sharpness(image.to_mut(), factor),
        Operator::Rotate { degrees, resample } => {
            *image = Cow::Owned(ops::rotate(image, degrees, resample.into()));
        }
        Operator::ShearX { factor, resample } => *image = Cow::Owned(ops::shear_x(image, factor, resample.into())),
        Operator::ShearY { factor, resample } => *image = Cow::Owned(ops::shear_y(image, factor, resample.into())),
        Operator::TranslateXRel { pct, resample } => {
            *image = Cow::Owned(ops::translate_x_rel(image, pct, resample.into()));
        }
        Operator::TranslateYRel { pct, resample } => {
            *image = Cow::Owned(ops::translate_y_rel(image, pct, resample.into()));
        }
    }
}

impl Operator {
    /// The published name.
    pub fn name(&self) -> &'static str {
        match self {
            Operator::AutoContrast {} => "AutoContrast",
            Operator::Equalize {} => "Equalize",
            Operator::Invert {} => "Invert",
            Operator::Rotate { .. } => "Rotate",
            Operator::Posterize { .. } => "Posterize",
            Operator::Solarize { .. } => "Solarize",
            Operator::SolarizeAdd { .. } => "SolarizeAdd",
            Operator::Color { .. } => "Color",
            Operator::Contrast { .. } => "Contrast",
            Operator::Brightness { .. } => "Brightness",
            Operator::Sharpness { .. } => "Sharpness",
            Operator::ShearX { .. } => "ShearX",
            Operator::ShearY { .. } => "ShearY",
            Operator::TranslateXRel { .. } => "TranslateXRel",
            Operator::TranslateYRel { .. } => "TranslateYRel",
        }
    }
}

impl From<Resample> for ops::Resample {
    fn from(resample: Resample) -> Self {
        match resample {
            Resample::Bilinear => Self::Bilinear,
            Resample::Bicubic => Self::Bicubic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose every pixel differs from its neighbours.
    fn picture(width: usize, height: usize) -> Image {
        Image::new(width, height, (0..width * height * 3).map(|at| (at * 37 % 256) as u8).collect()).unwrap()
    }

    fn strong(flip: bool, operators: Vec<Operator>) -> StrongCrop {
        let crop = CropBox { top: 2, left: 1, height: 8, width: 8 };
        StrongCrop { flip, ops: operators, jitter: None, gray: false, crop, size: 8, erase: None }
    }

    #[test]
    fn a_strong_crop_is_cut_from_the_flipped_picture() {
        let source = picture(20, 12);
        let crop = render(&source, &CropPlan::Strong(strong(true, vec![])));
        assert_eq!(crop.pixel(0, 0), source.pixel(18, 2));
        let crop = render(&source, &CropPlan::Strong(strong(false, vec![Operator::Invert {}])));
        assert_eq!(crop.pixel(3, 1), source.pixel(4, 3).map(|value| 255 - value));
    }

    #[test]
    fn operators_run_in_the_order_of_the_plan() {
        let source = picture(20, 12);
        let names = |operators: Vec<Operator>| {
            let mut seen = Vec::new();
            let plan = CropPlan::Strong(strong(true, operators));
            render_watched(&source, &plan, &mut |name, image| seen.push((name, image.width)));
            seen
        };
        let (solarize, invert) = (Operator::Solarize { thresh: 77 }, Operator::Invert {});
        assert_eq!(
            names(vec![solarize, invert]),
            [("hflip", 20), ("Solarize", 20), ("Invert", 20), ("resized_crop", 8)]
        );
        assert_eq!(names(vec![invert, solarize])[1..3], [("Invert", 20), ("Solarize", 20)]);
    }
}
