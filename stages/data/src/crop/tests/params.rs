//! The golden parameters: policy strings, arguments by level, and sizes from given draws.

use mugs_test_support::{golden, tally};
use serde_json::Value;

use super::super::plan::{CropBox, Operator, Resample};
use super::super::policy::{KINDS, Policy};
use super::super::sample::{centred_box, sides};

fn params(part: &str) -> Value {
    let text = std::fs::read_to_string(golden("augment/params.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[part].take()
}

fn cases(part: &str) -> Vec<Value> {
    serde_json::from_value(params(part)).unwrap()
}

fn float(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap()
}

fn whole(case: &Value, key: &str) -> usize {
    case[key].as_u64().unwrap() as usize
}

#[test]
fn policy_strings_mean_what_they_mean_to_the_reference() {
    let cases = cases("rand_augment_configs");
    for case in &cases {
        let text = case["config"].as_str().unwrap();
        let policy = text.parse::<Policy>();
        if case.get("error").is_some() {
            assert!(policy.is_err(), "`{text}` is {policy:?}");
            continue;
        }
        let expected = Policy {
            magnitude: float(case, "magnitude"),
            layers: whole(case, "num_layers"),
            magnitude_std: float(case, "magnitude_std"),
            increasing: case["increasing"].as_bool().unwrap(),
            weighted: case["weighted"].as_bool().unwrap(),
        };
        assert_eq!(policy, Ok(expected), "`{text}`");
        assert_eq!(expected.drawable().is_err(), case.get("apply_error").is_some(), "`{text}`");
    }
    tally("policies", cases.len(), "strings");
}

/// The only number among an operator's arguments.
pub fn argument(operator: &Operator) -> Option<f64> {
    let json = serde_json::to_value(operator).unwrap();
    json["args"].as_object().unwrap().values().find_map(Value::as_f64)
}

#[test]
fn levels_become_the_arguments_of_the_reference() {
    let table = params("level_to_arg");
    let levels: Vec<f64> = serde_json::from_value(table["levels"].clone()).unwrap();
    let mut ran = 0;
    for kind in KINDS {
        let name = format!("{kind:?}");
        for (increasing, name) in [(false, name.clone()), (true, name + "Increasing")] {
            let Some(expected) = table["args"].get(&name) else { continue };
            let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
            for (&level, &expected) in levels.iter().zip(&expected) {
                let operator = kind.operator(increasing, level, false, Resample::Bilinear);
                assert_eq!(argument(&operator), Some(expected), "{name} at level {level}");
                ran += 1;
            }
        }
    }
    // 18 operators: the other three of the table are in neither set.
    assert_eq!(ran, 18 * levels.len());
    tally("arguments by level", ran, "arguments");
}

#[test]
fn crop_sizes_follow_from_their_draws() {
    let cases = cases("rrc_size_from_draws");
    for case in &cases {
        let (width, height) = (whole(case, "width"), whole(case, "height"));
        let area = (width * height) as f64 * float(case, "area");
        let [w, h] = sides(area, float(case, "aspect"));
        assert_eq!([w, h], [whole(case, "crop_w"), whole(case, "crop_h")], "{case}");
        let accepted = 0 < w && w <= width && 0 < h && h <= height;
        assert_eq!(Some(accepted), case["accepted"].as_bool(), "{case}");
    }
    tally("crop sizes", cases.len(), "sizes");
}

#[test]
fn pictures_that_no_crop_fits_are_cut_in_their_middle() {
    let cases = cases("rrc_fallback");
    for case in &cases {
        let found = centred_box(whole(case, "width"), whole(case, "height"));
        let [top, left, height, width] = ["top", "left", "crop_h", "crop_w"].map(|key| whole(case, key));
        assert_eq!(found, CropBox { top, left, height, width }, "{case}");
    }
    tally("centred crops", cases.len(), "boxes");
}

#[test]
fn erased_sizes_follow_from_their_draws() {
    let cases = cases("erase_size_from_draws");
    for case in &cases {
        let size = whole(case, "size");
        let area = (size * size) as f64 * float(case, "area");
        let [h, w] = sides(area, libm::exp(float(case, "log_aspect")));
        assert_eq!([h, w], [whole(case, "h"), whole(case, "w")], "{case}");
        assert_eq!(Some(h < size && w < size), case["accepted"].as_bool(), "{case}");
    }
    tally("erased sizes", cases.len(), "sizes");
}
