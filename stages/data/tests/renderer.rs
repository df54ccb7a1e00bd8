//! Crops rendered on vectors and windows against the reference that changes whole pictures, on every path there is.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use mugs_data::crop::{
    CropBox, CropConfig, CropPlan, JitterStep, Operator, PicturePlan, Planner, Renderer, Resample, StrongCrop, render,
};
use mugs_image::Image;
use mugs_simd::Level;

/// A picture with noise, edges and flat areas.
fn picture(width: usize, height: usize) -> Image {
    let mut state = 0x2545_F491_u32;
    let pixels = (0..width * height * 3).map(|at| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let (x, y) = (at / 3 % width, at / 3 / width);
        let area = (x / 11 * 70 + y / 9 * 50 + at % 3 * 30) as u8 / 2 + 40;
        if (x / 11 + y / 9) % 3 == 0 { area } else { area.wrapping_add((state >> 27) as u8) }
    });
    Image::new(width, height, pixels.collect()).unwrap()
}

/// Each operator, geometric ones with both kinds of interpolation.
fn operators() -> Vec<Operator> {
    let (near, wide) = (Resample::Bilinear, Resample::Bicubic);
    vec![
        Operator::AutoContrast {},
        Operator::Equalize {},
        Operator::Invert {},
        Operator::Rotate { degrees: 26.4, resample: near },
        Operator::Rotate { degrees: -11.7, resample: wide },
        Operator::Rotate { degrees: 180.0, resample: wide },
        Operator::Posterize { bits: 3 },
        Operator::Solarize { thresh: 120 },
        Operator::SolarizeAdd { add: 77 },
        Operator::Color { factor: 0.19 },
        Operator::Contrast { factor: 1.81 },
        Operator::Brightness { factor: 0.6 },
        Operator::Sharpness { factor: 1.81 },
        Operator::ShearX { factor: 0.27, resample: near },
        Operator::ShearX { factor: -0.3, resample: wide },
        Operator::ShearY { factor: -0.22, resample: near },
        Operator::ShearY { factor: 0.3, resample: wide },
        Operator::TranslateXRel { pct: 0.41, resample: near },
        Operator::TranslateXRel { pct: -0.33, resample: wide },
        Operator::TranslateYRel { pct: 0.25, resample: near },
        Operator::TranslateYRel { pct: -0.45, resample: wide },
    ]
}

/// Boxes in the corners, along the edges, in the middle, one pixel wide, and all of the picture.
fn boxes(width: usize, height: usize) -> Vec<CropBox> {
    let (w, h) = (width / 3, height / 2);
    let place = |top, left, height, width| CropBox { top, left, height, width };
    vec![
        place(0, 0, h, w),
        place(0, width - w, h, w),
        place(height - h, 0, h, w),
        place(height - h, width - w, h, w),
        place(height / 4, width / 4, h, w),
        place(0, width / 2, height, 1),
        place(height / 3, 0, 1, width),
        place(0, 0, height, width),
    ]
}

fn strong(flip: bool, ops: Vec<Operator>, crop: CropBox, size: usize) -> StrongCrop {
    StrongCrop { flip, ops, jitter: None, gray: false, crop, size, erase: None }
}

/// Renders plans of one picture on every path and compares each crop with the reference.
fn check(picture: &Image, plans: Vec<CropPlan>) {
    let plan = PicturePlan { weak: false, crops: plans };
    let wanted: Vec<Vec<u8>> = plan.crops.iter().map(|crop| render(picture, crop).planes()).collect();
    for level in Level::available() {
        let mut out = vec![0; plan.bytes()];
        Renderer::new(level).render(picture, &plan, &mut out);
        let mut rest = &out[..];
        for (crop, wanted) in plan.crops.iter().zip(&wanted) {
            let (found, behind) = rest.split_at(crop.bytes());
            assert!(found == wanted, "{level}: {}x{} {crop:?}", picture.width, picture.height);
            rest = behind;
        }
    }
}

#[test]
fn every_ordered_pair_of_operators() {
    for (width, height) in [(67, 45), (40, 71), (48, 48)] {
        let picture = picture(width, height);
        let boxes = boxes(width, height);
        let mut plans = Vec::new();
        let all = operators();
        for (one, first) in all.iter().enumerate() {
            for (two, second) in all.iter().enumerate() {
                // Each pair meets every box in the course of the sizes and flips.
                for (number, &crop) in boxes.iter().enumerate() {
                    let flip = (one + two + number) % 2 == 0;
                    plans.push(CropPlan::Strong(strong(flip, vec![*first, *second], crop, 16 + number)));
                }
            }
            plans.push(CropPlan::Strong(strong(one % 2 == 0, vec![*first], boxes[one % boxes.len()], 33)));
        }
        check(&picture, plans);
    }
}

#[test]
fn chains_of_three_and_colours_behind_them() {
    let picture = picture(61, 44);
    let boxes = boxes(61, 44);
    let all = operators();
    let jitter =
        [JitterStep::Saturation(0.9), JitterStep::Contrast(1.3), JitterStep::Hue(0.07), JitterStep::Brightness(0.8)];
    let mut plans = Vec::new();
    for number in 0..600_usize {
        let pick = |times: usize| all[(number * times + number / 7) % all.len()];
        let crop = boxes[number % boxes.len()];
        plans.push(CropPlan::Strong(StrongCrop {
            jitter: (number % 3 == 0).then_some(jitter),
            gray: number % 5 == 0,
            ..strong(number % 2 == 0, vec![pick(1), pick(5), pick(11)], crop, 24)
        }));
    }
    check(&picture, plans);
}

#[test]
fn pictures_of_one_pixel_a_side() {
    for (width, height) in [(1, 1), (1, 30), (30, 1), (2, 2), (17, 2)] {
        let picture = picture(width, height);
        let crop = CropBox { top: 0, left: 0, height, width };
        let single = operators().into_iter().map(|operator| vec![operator]);
        let pairs = operators().into_iter().zip(operators().into_iter().skip(4)).map(|(one, two)| vec![one, two]);
        let plans = single.chain(pairs).map(|ops| CropPlan::Strong(strong(true, ops, crop, 7)));
        check(&picture, plans.collect());
    }
}

/// Whole plans as training draws them, with and without colours behind RandAugment.
#[test]
fn plans_of_the_recipe() {
    for (color_aug, policy) in [(false, "rand-m9-mstd0.5-inc1"), (true, "rand-m10-n4-mstd1")] {
        let timm_auto_augment_par = policy.into();
        let config = CropConfig { color_aug, timm_auto_augment_par, ..CropConfig::default() };
        let planner = Planner::new(3, &config).unwrap();
        for position in 0..6 {
            let picture = picture(90 + 41 * position as usize, 200 - 19 * position as usize);
            check(&picture, planner.plan(1, position, picture.width, picture.height).crops);
        }
    }
}

/// A blur wider than the vectors' sums allow takes the reference's way.
#[test]
fn very_wide_blurs() {
    let picture = picture(50, 40);
    let weak = |blur: f64| {
        let json = format!(r#"{{"kind": "weak", "crop": [0, 0, 40, 50], "size": 32, "flip": true, "blur": {blur}}}"#);
        serde_json::from_str::<CropPlan>(&json).unwrap()
    };
    check(&picture, vec![weak(3.0), weak(30.0), weak(500.0)]);
}
