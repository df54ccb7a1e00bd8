//! Every operator case of the golden set, parameter tables, and the evaluation of ImageNet pictures, to the bit.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod common;
mod on_vectors;

use std::collections::HashMap;

use common::{input, sha256, sha256_f32};
use mugs_image::Image;
use mugs_image::fast::{Blur, Maps};
use mugs_image::ops::{self, BoxBlur, Filter, Rect, Resample, tensor::Normaliser};
use mugs_simd::{Level, Vectors};
use mugs_test_support::{golden, skip, tally};
use on_vectors::Operator;
use serde_json::Value;

#[derive(serde::Deserialize)]
struct Case {
    id: String,
    image: String,
    op: String,
    params: Value,
    width: usize,
    height: usize,
    sha256: String,
}

/// Named parameters of a case.
struct Params<'a>(&'a Value);

impl Params<'_> {
    fn f64(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("{name} in {}", self.0))
    }

    fn int(&self, name: &str) -> i64 {
        self.0[name].as_i64().unwrap_or_else(|| panic!("{name} in {}", self.0))
    }

    fn size(&self, name: &str) -> usize {
        self.int(name).try_into().unwrap()
    }

    fn numbers<const N: usize>(&self, name: &str) -> [f64; N] {
        let list = self.0[name].as_array().unwrap();
        std::array::from_fn(|at| list[at].as_f64().unwrap())
    }

    fn filter(&self) -> Filter {
        if self.0["filter"] == "bicubic" { Filter::Bicubic } else { Filter::Bilinear }
    }

    fn resample(&self) -> Resample {
        if self.0["resample"] == "bicubic" { Resample::Bicubic } else { Resample::Bilinear }
    }

    fn area(&self) -> Rect {
        Rect { top: self.size("top"), left: self.size("left"), height: self.size("height"), width: self.size("width") }
    }
}

/// Runs an operator that returns a new picture; none if it is one that works in place.
fn moved(op: &str, image: &Image, p: &Params) -> Option<Image> {
    Some(match op {
        "resize" => ops::resize(image, p.size("width"), p.size("height"), p.filter()),
        "resize_box" => {
            let edges = p.numbers("box").map(|edge: f64| edge as f32);
            ops::resize_box(image, edges, p.size("width"), p.size("height"), p.filter())
        }
        "resized_crop" => ops::resized_crop(image, p.area(), p.size("out_width"), p.size("out_height"), p.filter()),
        "crop" => {
            let (top, left) = (p.int("top") as isize, p.int("left") as isize);
            ops::crop(image, top, left, p.size("height"), p.size("width"))
        }
        "center_crop" => ops::center_crop(image, p.size("height"), p.size("width")),
        "resize_short" => ops::resize_short(image, p.size("size"), p.filter()),
        "eval" => ops::evaluate(image, p.size("resize"), p.size("crop")),
        "smooth" => ops::smooth(image),
        "affine" => ops::affine(image, p.numbers("matrix"), p.resample()),
        "Rotate" => ops::rotate(image, p.f64("degrees"), p.resample()),
        "ShearX" => ops::shear_x(image, p.f64("factor"), p.resample()),
        "ShearY" => ops::shear_y(image, p.f64("factor"), p.resample()),
        "TranslateX" => ops::translate_x(image, p.f64("pixels"), p.resample()),
        "TranslateY" => ops::translate_y(image, p.f64("pixels"), p.resample()),
        "TranslateXRel" => ops::translate_x_rel(image, p.f64("pct"), p.resample()),
        "TranslateYRel" => ops::translate_y_rel(image, p.f64("pct"), p.resample()),
        _ => return None,
    })
}

/// Runs an operator that works in place.
fn changed(op: &str, image: &mut Image, p: &Params) {
    match op {
        "hflip" => ops::hflip(image),
        "vflip" => ops::vflip(image),
        "grayscale" => ops::grayscale(image),
        "brightness" | "Brightness" => ops::brightness(image, p.f64("factor")),
        "contrast" | "Contrast" => ops::contrast(image, p.f64("factor")),
        "saturation" | "Color" => ops::saturation(image, p.f64("factor")),
        "Sharpness" => ops::sharpness(image, p.f64("factor")),
        "hue" => ops::hue(image, p.f64("factor")),
        "gaussian_blur" => ops::gaussian_blur(image, p.f64("radius")),
        "solarize" => ops::solarize(image, p.int("threshold") as i32),
        "Solarize" => ops::solarize(image, p.int("thresh") as i32),
        "SolarizeAdd" => ops::solarize_add(image, p.int("add") as i32),
        "Posterize" => ops::posterize(image, p.int("bits") as u32),
        "AutoContrast" => ops::auto_contrast(image),
        "Equalize" => ops::equalize(image),
        "Invert" => ops::invert(image),
        _ => panic!("no operator {op}"),
    }
}

/// A case as an operator of the vector path; none if it has none.
fn vectorised(op: &str, image: &Image, p: &Params) -> Option<Operator> {
    let factor = |name: &str| p.f64(name) as f32;
    let whole = || Rect { top: 0, left: 0, height: image.height, width: image.width };
    let square = |area: Rect, width: usize, height: usize| {
        (p.filter() == Filter::Bicubic && width == height).then_some(Operator::Crop(area, width))
    };
    let (width, height) = (image.width as f64, image.height as f64);
    let maps = |maps: Maps| Some(Operator::Maps(Box::new(maps)));
    let map = |matrix: [f64; 6]| Some(Operator::Map(matrix, p.resample()));
    match op {
        "resize" => square(whole(), p.size("width"), p.size("height")),
        "resized_crop" => square(p.area(), p.size("out_width"), p.size("out_height")),
        "grayscale" => Some(Operator::Grayscale),
        "brightness" | "Brightness" => Some(Operator::Brightness(factor("factor"))),
        "contrast" | "Contrast" => Some(Operator::Contrast(factor("factor"))),
        "saturation" | "Color" => Some(Operator::Saturation(factor("factor"))),
        "Sharpness" => Some(Operator::Sharpness(factor("factor"))),
        "hue" => Some(Operator::Hue(p.f64("factor"))),
        "gaussian_blur" => Blur::can(p.f64("radius")).then(|| Operator::Blur(p.f64("radius"))),
        "solarize" => maps(Maps::solarize(p.int("threshold") as i32)),
        "Solarize" => maps(Maps::solarize(p.int("thresh") as i32)),
        "SolarizeAdd" => maps(Maps::solarize_add(p.int("add") as i32)),
        "Posterize" => maps(Maps::posterize(p.int("bits") as u32)),
        "Invert" => maps(Maps::invert()),
        "AutoContrast" => Some(Operator::AutoContrast),
        "Equalize" => Some(Operator::Equalize),
        "affine" => map(p.numbers("matrix")),
        "Rotate" => on_vectors::rotation(image, p.f64("degrees"), p.resample()),
        "ShearX" => map([1.0, p.f64("factor"), 0.0, 0.0, 1.0, 0.0]),
        "ShearY" => map([1.0, 0.0, 0.0, p.f64("factor"), 1.0, 0.0]),
        "TranslateX" => map([1.0, 0.0, p.f64("pixels"), 0.0, 1.0, 0.0]),
        "TranslateY" => map([1.0, 0.0, 0.0, 0.0, 1.0, p.f64("pixels")]),
        "TranslateXRel" => map([1.0, 0.0, p.f64("pct") * width, 0.0, 1.0, 0.0]),
        "TranslateYRel" => map([1.0, 0.0, 0.0, 0.0, 1.0, p.f64("pct") * height]),
        _ => None,
    }
}

/// Every case that has a vector path, on every kind of vectors that there is.
#[test]
fn golden_operators_on_vectors() {
    let text = std::fs::read_to_string(golden("augment/ops.jsonl")).unwrap();
    let mut inputs: HashMap<String, Option<Image>> = HashMap::new();
    for level in Level::available() {
        let Some(vectors) = Vectors::of(level) else { continue };
        let (mut ran, mut wrong) = (0, Vec::new());
        for line in text.lines() {
            let case: Case = serde_json::from_str(line).unwrap();
            let source = inputs.entry(case.image.clone()).or_insert_with(|| input(&case.image));
            let Some(source) = source else { continue };
            let Some(operator) = vectorised(&case.op, source, &Params(&case.params)) else { continue };
            let out = on_vectors::run(vectors, source, &operator);
            ran += 1;
            if (out.width, out.height) != (case.width, case.height) || sha256(&out.pixels) != case.sha256 {
                wrong.push(format!("{} {} {} {}", case.id, case.image, case.op, case.params));
            }
        }
        assert!(wrong.is_empty(), "{} of {ran} differ on {level}:\n{}", wrong.len(), wrong.join("\n"));
        tally(&format!("operators-{level}"), ran, "cases");
    }
}

#[test]
fn golden_operators() {
    let text = std::fs::read_to_string(golden("augment/ops.jsonl")).unwrap();
    let mut inputs: HashMap<String, Option<Image>> = HashMap::new();
    let (mut ran, mut left_out, mut wrong) = (0, 0, Vec::new());
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let source = inputs.entry(case.image.clone()).or_insert_with(|| input(&case.image));
        let Some(source) = source else {
            left_out += 1;
            continue;
        };
        let params = Params(&case.params);
        let out = moved(&case.op, source, &params).unwrap_or_else(|| {
            let mut out = source.clone();
            changed(&case.op, &mut out, &params);
            out
        });
        ran += 1;
        if (out.width, out.height) != (case.width, case.height) || sha256(&out.pixels) != case.sha256 {
            wrong.push(format!("{} {} {} {}", case.id, case.image, case.op, case.params));
        }
    }
    assert!(wrong.is_empty(), "{} of {ran} differ:\n{}", wrong.len(), wrong.join("\n"));
    tally("operators", ran, "cases");
    if left_out > 0 {
        skip("operator-cases-on-imagenet", &format!("{left_out} cases need ../shared/data"));
    }
}

fn parameters() -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden("augment/params.json")).unwrap()).unwrap()
}

#[test]
fn golden_rotation_matrices() {
    let all = parameters();
    let cases = all["rotate_matrix"].as_array().unwrap();
    for case in cases {
        let p = Params(case);
        if case["matrix"].is_null() {
            // An exact turn: four of them are none, and no pixel is filled.
            let (width, height) = (p.size("width"), p.size("height"));
            let image =
                Image::new(width, height, (0..width * height * 3).map(|at| (at % 251) as u8).collect()).unwrap();
            let turn = |image: Image| ops::rotate(&image, p.f64("degrees"), Resample::Bilinear);
            assert_eq!(turn(turn(turn(turn(image.clone())))), image, "{case}");
            continue;
        }
        let matrix = ops::rotation(p.size("width"), p.size("height"), p.f64("degrees"));
        assert_eq!(matrix, p.numbers::<6>("matrix"), "{case}");
    }
    tally("rotation-matrices", cases.len(), "cases");
}

#[test]
fn golden_blur_boxes() {
    let all = parameters();
    let cases = all["gaussian_box"].as_array().unwrap();
    for case in cases {
        let p = Params(case);
        let blur = BoxBlur::for_sigma(p.f64("sigma") as f32);
        assert_eq!(f64::from(blur.radius), p.f64("box_radius_f32"), "{case}");
        let numbers = (blur.whole as i64, i64::from(blur.weight), i64::from(blur.edge_weight));
        assert_eq!(numbers, (p.int("r"), p.int("ww"), p.int("fw")), "{case}");
    }
    tally("blur-boxes", cases.len(), "cases");
}

/// Sizes by the table; the offsets show in where the crop's pixels come from.
#[test]
fn golden_evaluation_geometry() {
    let all = parameters();
    let cases = all["eval_geometry"].as_array().unwrap();
    for case in cases {
        let p = Params(case);
        let (width, height) = ops::short_side_size(p.size("width"), p.size("height"), 256);
        assert_eq!((width, height), (p.size("resized_width"), p.size("resized_height")), "{case}");
        let place = |x: usize, y: usize| [(x % 251) as u8, (y % 241) as u8, (x / 251 + y / 241 * 16) as u8];
        let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| place(x, y))).collect();
        let cut = ops::center_crop(&Image::new(width, height, pixels).unwrap(), 224, 224);
        assert_eq!(cut.pixel(0, 0), place(p.size("crop_left"), p.size("crop_top")), "{case}");
    }
    tally("evaluation-geometry", cases.len(), "cases");
}

#[derive(serde::Deserialize)]
struct Integration {
    images: Vec<Evaluated>,
}

#[derive(serde::Deserialize)]
struct Evaluated {
    image: String,
    width: usize,
    height: usize,
    sha256: String,
    resized_width: usize,
    resized_height: usize,
    resized_sha256: String,
    eval_sha256: String,
    eval_f32_sha256: String,
    eval_sum: f64,
    eval_sum_sq: f64,
}

#[test]
fn golden_integration() {
    let text = std::fs::read_to_string(golden("augment/integration.json")).unwrap();
    let cases: Integration = serde_json::from_str(&text).unwrap();
    let mut ran = 0;
    for case in &cases.images {
        let Some(image) = input(&case.image) else { continue };
        assert_eq!((image.width, image.height), (case.width, case.height), "{}", case.image);
        assert_eq!(sha256(&image.pixels), case.sha256, "decoded {}", case.image);
        let resized = ops::resize_short(&image, 256, Filter::Bicubic);
        assert_eq!((resized.width, resized.height), (case.resized_width, case.resized_height), "{}", case.image);
        assert_eq!(sha256(&resized.pixels), case.resized_sha256, "resized {}", case.image);
        let cut = ops::evaluate(&image, 256, 224);
        assert_eq!(sha256(&cut.pixels), case.eval_sha256, "cut {}", case.image);
        let tensor = Normaliser::default().tensor(&cut.pixels);
        assert_eq!(sha256_f32(&tensor), case.eval_f32_sha256, "tensor of {}", case.image);
        common::assert_sums(&tensor, case.eval_sum, case.eval_sum_sq, &case.image);
        ran += 1;
    }
    if ran > 0 {
        tally("integration", ran, "pictures");
    }
    if ran < cases.images.len() {
        skip("integration", &format!("{} pictures need ../shared/data", cases.images.len() - ran));
    }
}
