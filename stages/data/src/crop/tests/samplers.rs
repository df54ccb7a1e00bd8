//! Statistics of the single samplers, each against the reference's.

use std::collections::BTreeMap;

use mugs_random::{Address, Draws};
use serde::Deserialize;
use serde_json::Value;

use super::super::plan::{CropBox, Erase, JitterStep, Noise, Operator};
use super::super::planner::Planner;
use super::super::policy::{KINDS, Kind, Policy};
use super::super::sample::{self, ATTEMPTS};
use super::chi_square::{Counts, Histogram, Statistics};
use super::params::argument;

/// The lane of sample `number` for purpose `lane`.
fn lane(planner: &Planner, number: u64, lane: u16) -> Draws {
    Draws::at(planner.seed, Address { epoch: 0, position: number, lane })
}

pub fn read<T: for<'d> Deserialize<'d>>(value: &Value) -> T {
    T::deserialize(value).unwrap()
}

fn add(counts: &mut Counts, key: impl ToString) {
    *counts.entry(key.to_string()).or_default() += 1;
}

/// A column of values.
pub fn column<T>(items: &[T], value: impl Fn(&T) -> f64) -> Vec<f64> {
    items.iter().map(value).collect()
}

/// Where rectangles lie in their room, 0 to 1, for those that have any.
fn places(rooms: impl Iterator<Item = (usize, usize)>) -> Vec<f64> {
    let roomy = rooms.filter(|&(_, room)| room > 0);
    roomy.map(|(offset, room)| (offset as f64 + 0.5) / (room as f64 + 1.0)).collect()
}

/// Compares boxes in pictures of one size: those of an entry of `random_resized_crop`.
pub fn boxes(name: &str, entry: &Value, boxes: &[CropBox], statistics: &mut Statistics) {
    let [width, height] = ["width", "height"].map(|key| read::<usize>(&entry[key]));
    let mut means = |key: &str, value: fn(&CropBox) -> usize| {
        statistics.mean(&format!("{name} {key}"), &read(&entry[key]), &column(boxes, |part| value(part) as f64));
    };
    means("crop_height", |part| part.height);
    means("crop_width", |part| part.width);
    means("top", |part| part.top);
    means("left", |part| part.left);
    let area = (width * height) as f64;
    let columns = [
        ("area_fraction", column(boxes, |part| (part.height * part.width) as f64 / area)),
        ("log_aspect", column(boxes, |part| (part.width as f64 / part.height as f64).ln())),
        ("top_fraction", places(boxes.iter().map(|part| (part.top, height - part.height)))),
        ("left_fraction", places(boxes.iter().map(|part| (part.left, width - part.width)))),
    ];
    for (key, values) in columns {
        // The reference has no histograms for tiny pictures.
        if let Some(reference) = entry.get(key) {
            statistics.histogram(&format!("{name} {key}"), &read(reference), &values);
        }
    }
}

pub fn random_resized_crop(planner: &Planner, entry: &Value, statistics: &mut Statistics) {
    let [width, height] = ["width", "height"].map(|key| read::<usize>(&entry[key]));
    let kind = entry["kind"].as_str().unwrap();
    let scale = match kind {
        "global" => planner.global.scale,
        "local" => planner.local.scale,
        _ => read(&entry["scale"]),
    };
    let name = format!("{kind} crops of {width}x{height}");
    let (mut parts, mut attempts) = (Vec::new(), Counts::new());
    for number in 0..read(&entry["n"]) {
        let mut lane = lane(planner, number, 0);
        let part = sample::crop_box(&mut lane, [width, height], scale, &planner.rules);
        let attempt = |a: &u32| sample::crop_attempt(&mut lane, *a, [width, height], scale, &planner.rules).is_some();
        match (0..ATTEMPTS).find(attempt) {
            Some(attempt) => add(&mut attempts, attempt + 1),
            None => {
                add(&mut attempts, "fallback");
                assert!(entry["fallbacks"] == 0 || read::<CropBox>(&entry["fallback_crop_top_left_h_w"]) == part);
            }
        }
        parts.push(part);
    }
    statistics.categories(&format!("{name} attempts"), &read(&entry["accepted_at_attempt"]), &attempts);
    boxes(&name, entry, &parts, statistics);
}

pub fn color_jitter(planner: &Planner, entry: &Value, statistics: &mut Statistics) {
    let mut orders = Counts::new();
    let mut factors = [const { Vec::new() }; 4];
    for number in 0..read(&entry["n"]) {
        let steps = sample::jitter(&mut lane(planner, number, 0)).map(|step| match step {
            JitterStep::Brightness(factor) => (0, factor),
            JitterStep::Contrast(factor) => (1, factor),
            JitterStep::Saturation(factor) => (2, factor),
            JitterStep::Hue(factor) => (3, factor),
        });
        add(&mut orders, steps.map(|(code, _)| code.to_string()).concat());
        for (code, factor) in steps {
            factors[code].push(f64::from(factor));
        }
    }
    statistics.categories("jitter order", &read(&entry["order_counts"]), &orders);
    for (name, values) in ["brightness", "contrast", "saturation", "hue"].iter().zip(&factors) {
        statistics.histogram(&format!("jitter {name}"), &read(&entry[name]), values);
        statistics.mean(&format!("jitter {name} mean"), &read(&entry[name]["stats"]), values);
    }
}

/// The published name of a kind in its set.
fn name_of(kind: Kind, increasing: bool) -> String {
    let grows = matches!(
        kind,
        Kind::Posterize | Kind::Solarize | Kind::Color | Kind::Contrast | Kind::Brightness | Kind::Sharpness
    );
    format!("{kind:?}{}", if increasing && grows { "Increasing" } else { "" })
}

/// What a policy drew for many crops.
#[derive(Default)]
struct Drawn {
    first: Counts,
    second: Counts,
    per_image: Counts,
    resample: Counts,
    /// Applied operators by name, with their arguments.
    applied: BTreeMap<String, Vec<f64>>,
}

impl Drawn {
    fn draw(planner: &Planner, policy: &Policy, n: u64) -> Self {
        let mut drawn = Drawn::default();
        for number in 0..n {
            let mut lane = lane(planner, number, 0);
            let kinds = policy.choose(&mut lane, &planner.rules);
            for (kind, counts) in kinds.iter().zip([&mut drawn.first, &mut drawn.second]) {
                add(counts, name_of(*kind, policy.increasing));
            }
            let operators = policy.draw(&mut lane, &planner.rules);
            add(&mut drawn.per_image, operators.len());
            operators.iter().for_each(|operator| drawn.apply(operator, policy.increasing));
        }
        drawn
    }

    fn apply(&mut self, operator: &Operator, increasing: bool) {
        let json = serde_json::to_value(operator).unwrap();
        let kind = KINDS.into_iter().find(|kind| json["name"] == format!("{kind:?}"));
        let values = self.applied.entry(name_of(kind.unwrap(), increasing)).or_default();
        values.push(argument(operator).unwrap_or(0.0));
        if let Some(resample) = json["args"]["resample"].as_str() {
            add(&mut self.resample, resample);
        }
    }
}

pub fn rand_augment(planner: &Planner, entry: &Value, statistics: &mut Statistics) {
    let config = entry["config"].as_str().unwrap();
    let drawn = Drawn::draw(planner, &config.parse().unwrap(), read(&entry["n"]));
    let applied: Counts = drawn.applied.iter().map(|(name, values)| (name.clone(), values.len() as u64)).collect();
    let counts = [
        ("selected_first", &drawn.first),
        ("selected_second", &drawn.second),
        ("applied", &applied),
        ("ops_applied_per_image", &drawn.per_image),
        ("resample_choice", &drawn.resample),
    ];
    for (key, found) in counts {
        statistics.categories(&format!("{config} {key}"), &read(&entry[key]), found);
    }
    for (operator, reference) in entry["args"].as_object().unwrap() {
        arguments(&format!("{config} {operator}"), reference, &drawn.applied[operator], statistics);
    }
}

fn arguments(name: &str, reference: &Value, values: &[f64], statistics: &mut Statistics) {
    if let Some(counts) = reference.get("values") {
        let mut found = Counts::new();
        values.iter().for_each(|value| add(&mut found, value));
        return statistics.categories(name, &read(counts), &found);
    }
    // Signed arguments lie about 1 for those that enhance, about 0 for the others; the rest is not signed.
    let signed = reference.get("negative").is_some();
    let (histogram, stats) = match signed {
        true => (&reference["abs_deviation"], &reference["abs_stats"]),
        false => (reference, &reference["stats"]),
    };
    let centre = if signed && name.ends_with("Increasing") { 1.0 } else { 0.0 };
    let deviations = column(values, |value| if signed { (value - centre).abs() } else { *value });
    let n = read::<u64>(&histogram["n"]);
    // What magnitude 10 makes of the enhancing operators that are not signed is 1.9.
    let most = if signed { read::<f64>(&histogram["hi"]) } else { 1.9 };
    let clipped = |value: &&f64| **value >= most - 1e-9;
    let shares = [
        ("at_clip", deviations.iter().filter(clipped).count()),
        ("negative", values.iter().filter(|&&value| value < centre).count()),
    ];
    for (key, found) in shares {
        if let Some(k) = reference.get(key).and_then(Value::as_u64).filter(|&k| 0 < k && k < n) {
            statistics.share(&format!("{name} {key}"), [k, n], [found as u64, values.len() as u64]);
        }
    }
    statistics.histogram(name, &read(histogram), &deviations);
    statistics.mean(&format!("{name} mean"), &read(stats), &deviations);
}

pub fn random_erasing(planner: &Planner, entry: &Value, statistics: &mut Statistics) {
    let (size, n) = (read::<usize>(&entry["size"]), read::<u64>(&entry["n"]));
    let draw = |number| sample::erase(&mut lane(planner, number, 0x8000), planner.re_prob, size, Noise::default());
    let erased: Vec<Erase> = (0..n).filter_map(draw).collect();
    let name = format!("erasing of {size}");
    statistics.share(&name, [read(&entry["erased"]), n], [erased.len() as u64, n]);
    let columns = [
        ("area_fraction", column(&erased, |part| (part.height * part.width) as f64 / (size * size) as f64)),
        ("log_h_over_w", column(&erased, |part| (part.height as f64 / part.width as f64).ln())),
        ("top_fraction", places(erased.iter().map(|part| (part.top, size - part.height)))),
        ("left_fraction", places(erased.iter().map(|part| (part.left, size - part.width)))),
    ];
    for (key, values) in columns {
        statistics.histogram(&format!("{name} {key}"), &read(&entry[key]), &values);
    }
    statistics.mean(&format!("{name} height"), &read(&entry["height"]), &column(&erased, |part| part.height as f64));
    statistics.mean(&format!("{name} width"), &read(&entry["width"]), &column(&erased, |part| part.width as f64));
}

pub fn noise(planner: &Planner, entry: &Value, statistics: &mut Statistics) {
    let noise = Noise { seed: planner.seed, epoch: 0, position: 0, lane: 0x8002 };
    let mut patch = vec![0.0; read(&entry["n"])];
    noise.fill(&mut patch);
    let values = column(&patch, |value| f64::from(*value));
    statistics.histogram("noise", &read::<Histogram>(entry), &values);
    statistics.mean("noise mean", &read(&entry["stats"]), &values);
}
