//! Statistics of whole plans: which recipes a picture's crops follow, and how often each step of a recipe happens.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::config::CropConfig;
use super::super::plan::{CropBox, CropPlan, PicturePlan};
use super::super::planner::Planner;
use super::chi_square::{Counts, Statistics};
use super::samplers::{boxes, read};

/// The pictures' size: one for which the reference has statistics of boxes.
const SIDES: [usize; 2] = [500, 375];

/// What happened in the crops of one recipe.
#[derive(Default)]
struct Recipe {
    n: u64,
    steps: Counts,
    radii: Vec<f64>,
    boxes: Vec<CropBox>,
}

impl Recipe {
    fn add(&mut self, plan: &CropPlan) {
        self.n += 1;
        let mut step = |name: &str, happens: bool| *self.steps.entry(name.into()).or_default() += u64::from(happens);
        step(&format!("size_{}", plan.size()), true);
        step("erase", plan.erase().is_some());
        step("rand_augment", matches!(plan, CropPlan::Strong(_)));
        let (flip, jitter, gray, blur, solarize, part) = match plan {
            CropPlan::Weak(weak) => (weak.flip, weak.jitter, weak.gray, weak.blur, weak.solarize, weak.crop),
            CropPlan::Strong(strong) => (strong.flip, strong.jitter, strong.gray, None, false, strong.crop),
        };
        step("flip", flip);
        step("jitter", jitter.is_some());
        step("gray", gray);
        step("blur", blur.is_some());
        step("solarize", solarize);
        self.radii.extend(blur);
        self.boxes.push(part);
    }
}

/// The published names of the recipes.
fn recipe(crop: usize, plan: &CropPlan) -> &'static str {
    match (plan, crop) {
        (CropPlan::Weak(_), 0 | 2) => "global_transfo1",
        (CropPlan::Weak(_), 1 | 3) => "global_transfo2",
        (CropPlan::Weak(_), _) => "local_transfo",
        (CropPlan::Strong(_), ..4) => "global_transfo3",
        (CropPlan::Strong(_), _) => "local_transfo2",
    }
}

/// What happened in many pictures.
#[derive(Default)]
struct Composition {
    n: u64,
    weak: u64,
    strong_locals: Counts,
    recipes: BTreeMap<&'static str, Recipe>,
}

impl Composition {
    fn add(&mut self, plan: &PicturePlan, copies: bool) {
        self.n += 1;
        self.weak += u64::from(plan.weak);
        let strong = |crop: &&CropPlan| matches!(crop, CropPlan::Strong(_));
        *self.strong_locals.entry(plan.crops[4..].iter().filter(strong).count().to_string()).or_default() += 1;
        for (number, crop) in plan.crops.iter().enumerate() {
            if !(copies && (2..4).contains(&number)) {
                self.recipes.entry(recipe(number, crop)).or_default().add(crop);
            }
        }
    }
}

/// The golden entry's options as a configuration.
pub fn config(entry: &Value) -> CropConfig {
    read(&entry["options"])
}

/// Compares plans with an entry of `composition`, and their boxes with those of `random_resized_crop`.
pub fn composition(planner: &Planner, entry: &Value, crops: &Value, statistics: &mut Statistics) {
    let label = entry["label"].as_str().unwrap();
    let n = read::<u64>(&entry["n"]);
    let mut found = Composition::default();
    for position in 0..n {
        let plan = planner.plan(1, position, SIDES[0], SIDES[1]);
        assert_eq!(plan.crops.len() as u64, 4 + read::<u64>(&entry["local_crops_number"]));
        found.add(&plan, planner.vanilla);
    }
    statistics.share(&format!("{label} weak flag"), [read(&entry["weak_flag_true"]), n], [found.weak, found.n]);
    let name = format!("{label} strong local crops");
    statistics.categories(&name, &read(&entry["strong_local_per_image"]), &found.strong_locals);
    let reference = entry["transforms"].as_object().unwrap();
    let [theirs, ours]: [BTreeSet<&str>; 2] =
        [reference.keys().map(String::as_str).collect(), found.recipes.keys().copied().collect()];
    statistics.share(&format!("{label} recipes"), [1, 1], [u64::from(theirs == ours), 1]);
    for (name, ours) in &found.recipes {
        if let Some(theirs) = reference.get(*name) {
            steps(&format!("{label} {name}"), theirs, ours, statistics);
            boxes(&format!("{label} {name}"), sized(crops, name), &ours.boxes, statistics);
        }
        if let Some(theirs) = entry["blur_radius"].get(*name) {
            statistics.histogram(&format!("{label} {name} blur radius"), &read(theirs), &ours.radii);
            statistics.mean(&format!("{label} {name} blur radius mean"), &read(&theirs["stats"]), &ours.radii);
        }
    }
}

fn steps(name: &str, theirs: &Value, ours: &Recipe, statistics: &mut Statistics) {
    let n = read::<u64>(&theirs["n"]);
    for (step, count) in theirs.as_object().unwrap().iter().filter(|(step, _)| *step != "n") {
        let happened = ours.steps.get(step).copied().unwrap_or(0);
        statistics.share(&format!("{name} {step}"), [read(count), n], [happened, ours.n]);
    }
}

/// The statistics of the boxes of a recipe.
fn sized<'v>(crops: &'v Value, recipe: &str) -> &'v Value {
    let kind = if recipe.starts_with("local") { "local" } else { "global" };
    let wanted = [json!(SIDES[0]), json!(SIDES[1]), json!(kind)];
    let found = crops
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| ["width", "height", "kind"].map(|key| entry[key].clone()) == wanted);
    found.unwrap()
}
