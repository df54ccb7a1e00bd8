//! The planner against the reference's parameters and statistics, and against planners that are wrong on purpose.

mod chi_square;
mod composition;
mod params;
mod samplers;

use std::collections::HashSet;

use mugs_random::{Address, Draws};
use mugs_test_support::{golden, tally};
use proptest::prelude::*;
use serde_json::Value;

use self::chi_square::Statistics;
use super::config::CropConfig;
use super::plan::CropPlan;
use super::planner::Planner;

/// How far off a statistic may be: once in 300 000 draws of a normal distribution. Seeds are fixed, so that a right
/// planner passes always.
const FARTHEST: f64 = 4.5;

/// A planner with one thing changed.
type Change = fn(&mut Planner);

/// All statistics of the golden file, for the planner that `change` makes.
fn statistics(change: Change) -> Statistics {
    let text = std::fs::read_to_string(golden("augment/distributions.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let planner = |config: &CropConfig| {
        let mut planner = Planner::new(20_230_522, config).unwrap();
        change(&mut planner);
        planner
    };
    let published = planner(&CropConfig::default());
    let mut found = Statistics::default();
    let each = |key: &str| golden[key].as_array().unwrap();
    each("random_resized_crop").iter().for_each(|entry| samplers::random_resized_crop(&published, entry, &mut found));
    samplers::color_jitter(&published, &golden["color_jitter"], &mut found);
    each("rand_augment").iter().for_each(|entry| samplers::rand_augment(&published, entry, &mut found));
    each("random_erasing").iter().for_each(|entry| samplers::random_erasing(&published, entry, &mut found));
    samplers::noise(&published, &golden["random_erasing_noise"], &mut found);
    for entry in each("composition") {
        let planner = planner(&composition::config(entry));
        composition::composition(&planner, entry, &golden["random_resized_crop"], &mut found);
    }
    found
}

#[test]
fn draws_are_distributed_as_the_references() {
    let statistics = statistics(|_| ());
    let (name, off) = statistics.worst();
    assert!(off < FARTHEST, "{name} is {off:.1} standard deviations off");
    println!("{} statistics, the worst {off:.2} standard deviations off: {name}", statistics.len());
    tally("distributions", statistics.len(), "statistics");
}

#[test]
fn wrong_planners_are_noticed() {
    let wrong: [(&str, &str, Change); 7] = [
        ("weak and strong exchanged", "prob_0.2", |planner| planner.rules.strong = |u, prob| u < prob),
        ("sign always plus", "negative", |planner| planner.rules.negative = |_| false),
        ("aspect ratio linear", "log_aspect", |planner| {
            planner.rules.aspect = |u, [least, most]| least + (most - least) * u;
        }),
        ("operators drawn with replacement", "w0 selected_second", |planner| planner.rules.take = |left, at| left[at]),
        ("magnitude without noise", "rand-m9-mstd0.5-inc1 Rotate", |planner| {
            planner.rules.level = |policy, _| policy.magnitude;
        }),
        ("large crops as small as local ones", "area_fraction", |planner| planner.global.scale = planner.local.scale),
        ("erased too often", "erasing of 224", |planner| planner.re_prob = (planner.re_prob + 0.05).min(1.0)),
    ];
    let results: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            wrong.map(|(what, sign, change)| (what, sign, scope.spawn(move || statistics(change)))).into();
        runs.into_iter().map(|(what, sign, run)| (what, sign, run.join().unwrap())).collect()
    });
    for (what, sign, statistics) in &results {
        assert!(statistics.off(sign) > 2.0 * FARTHEST, "{what}: `{sign}` is {:.1} off", statistics.off(sign));
    }
    tally("wrong planners rejected", results.len(), "planners");
}

fn planner(seed: u64) -> Planner {
    Planner::new(seed, &CropConfig::default()).unwrap()
}

#[test]
fn copies_are_exact() {
    let config = CropConfig { vanilla_weak_augmentation: true, ..CropConfig::default() };
    let planner = Planner::new(3, &config).unwrap();
    for position in 0..100 {
        let plan = planner.plan(0, position, 500, 375);
        assert!(plan.weak && plan.crops[..2] == plan.crops[2..4] && plan.crops[0] != plan.crops[1]);
    }
}

#[test]
fn operators_of_a_crop_are_different() {
    for text in ["rand-n15", "rand-n13-w0"] {
        let config = CropConfig { timm_auto_augment_par: text.into(), prob: 0.0, ..CropConfig::default() };
        let planner = Planner::new(4, &config).unwrap();
        for position in 0..20 {
            let mut lane = Draws::at(4, Address { epoch: 0, position, lane: 2 });
            let kinds = planner.policy.choose(&mut lane, &planner.rules);
            let distinct: HashSet<_> = kinds.iter().collect();
            assert_eq!((kinds.len(), distinct.len()), (planner.policy.layers, planner.policy.layers));
        }
    }
}

/// Pins the draws: crops of a run must not change with the version of the program.
#[test]
fn plans_stay_what_they_are() {
    let plan = planner(42).plan(1, 2, 500, 375);
    let digest = mugs_random::derive(0, &serde_json::to_string(&plan).unwrap());
    assert_eq!(digest, 15_063_192_863_643_624_266, "the crops of every run have changed");
}

proptest! {
    #[test]
    fn a_plan_is_a_function_of_its_address(seed: u64, epoch: u32, positions in prop::collection::vec(0_u64..1 << 48, 1..8)) {
        let planner = planner(seed);
        let plan = |&position: &u64| planner.plan(epoch, position, 500, 375);
        let forwards: Vec<_> = positions.iter().map(plan).collect();
        let mut backwards: Vec<_> = positions.iter().rev().map(plan).collect();
        backwards.reverse();
        prop_assert_eq!(&forwards, &backwards);
        let other = planner.plan(epoch ^ 1, positions[0], 500, 375);
        prop_assert_ne!(&forwards[0], &other);
    }

    #[test]
    fn crops_do_not_depend_on_each_other(seed: u64, position in 0_u64..1 << 48, locals in 0_usize..10) {
        let fewer = CropConfig { local_crops_number: locals, ..CropConfig::default() };
        let fewer = Planner::new(seed, &fewer).unwrap().plan(0, position, 640, 427);
        prop_assert_eq!(&fewer.crops[..], &planner(seed).plan(0, position, 640, 427).crops[..4 + locals]);
        // No strong crop where there is one: the teacher's crops, and the weak ones of the others, are what they were.
        let weak = CropConfig { prob: 1.0, ..CropConfig::default() };
        let weak = Planner::new(seed, &weak).unwrap().plan(0, position, 640, 427);
        for (all_weak, crop) in weak.crops.iter().zip(&planner(seed).plan(0, position, 640, 427).crops) {
            prop_assert!(matches!(crop, CropPlan::Strong(_)) || all_weak == crop);
        }
    }

    #[test]
    fn boxes_and_rectangles_are_inside(seed: u64, width in 1_usize..2000, height in 1_usize..2000, size in 1_usize..300) {
        let config = CropConfig { global_crops_size: size, size_crops: size, prob: 0.0, re_prob: 1.0, ..CropConfig::default() };
        for crop in Planner::new(seed, &config).unwrap().plan(0, 0, width, height).crops {
            let part = match &crop {
                CropPlan::Weak(weak) => weak.crop,
                CropPlan::Strong(strong) => strong.crop,
            };
            prop_assert!(part.height > 0 && part.width > 0);
            prop_assert!(part.top + part.height <= height && part.left + part.width <= width);
            if let Some(erase) = crop.erase() {
                prop_assert!(erase.height > 0 && erase.height < size && erase.top + erase.height <= size);
                prop_assert!(erase.width > 0 && erase.width < size && erase.left + erase.width <= size);
            }
        }
    }
}
