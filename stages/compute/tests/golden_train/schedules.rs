//! `schedules.json`: five recipes and degenerate lengths.

use mugs_compute::schedule::{Cosine, ScheduleConfig, Schedules, TeacherTemperature};
use mugs_test_support::tally;
use serde_json::Value;

use crate::common::json;

fn agrees(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{what}: {found}, not {expected}");
}

fn recipe(recipe: &Value, steps_per_epoch: u64) -> ScheduleConfig {
    let number = |name: &str| recipe[name].as_f64().unwrap();
    let count = |name: &str| recipe[name].as_u64().unwrap();
    ScheduleConfig {
        epochs: count("epochs") as u32,
        steps_per_epoch,
        global_batch: count("global_batch"),
        lr: number("lr"),
        min_lr: number("min_lr"),
        warmup_epochs: count("warmup_epochs") as u32,
        weight_decay: number("weight_decay"),
        weight_decay_end: number("weight_decay_end"),
        momentum_teacher: number("momentum_teacher"),
        teacher_temp: TeacherTemperature {
            start: number("warmup_teacher_temp"),
            end: number("teacher_temp"),
            warmup_epochs: count("warmup_teacher_temp_epochs") as u32,
        },
        freeze_last_layer: 1,
        clip_grad: 3.0,
        clips_harder_late: false,
    }
}

#[test]
fn recipes() {
    let golden = json("schedules.json");
    let per_epoch = golden["iterations_per_epoch"].as_u64().unwrap();
    let mut values = 0;
    for (name, facts) in golden["recipes"].as_object().unwrap() {
        let schedules = Schedules::new(&recipe(facts, per_epoch)).unwrap();
        for (index, iteration) in facts["iterations"].as_array().unwrap().iter().enumerate() {
            let iteration = iteration.as_u64().unwrap();
            let rates = schedules.at((iteration / per_epoch) as u32, iteration % per_epoch);
            let what = format!("{name}, iteration {iteration}");
            agrees(rates.lr, &facts["lr_at"][index], &format!("{what}, lr"));
            agrees(rates.weight_decay, &facts["weight_decay_at"][index], &format!("{what}, weight decay"));
            agrees(rates.momentum, &facts["momentum_at"][index], &format!("{what}, momentum"));
            values += 3;
        }
        let temperatures = facts["teacher_temp_by_epoch"].as_array().unwrap();
        for (epoch, expected) in temperatures.iter().enumerate() {
            agrees(schedules.at(epoch as u32, 0).teacher_temp, expected, &format!("{name}, epoch {epoch}"));
        }
        let last = facts["epochs"].as_u64().unwrap() as u32 - 1;
        agrees(schedules.at(last, 0).teacher_temp, &facts["teacher_temp_last"], name);
        values += temperatures.len() + 1;
    }
    assert!(values > 1000, "{values}");
    tally("schedules", values, "values");
}

#[test]
fn degenerate_lengths() {
    let golden = json("schedules.json");
    let mut values = 0;
    for (name, case) in golden["small_cases"].as_object().unwrap() {
        let number = |name: &str| case["args"][name].as_f64().unwrap();
        let per_epoch = number("iterations_per_epoch") as u64;
        let [warmup, total] = ["warmup_epochs", "epochs"].map(|epochs| number(epochs) as u64 * per_epoch);
        let schedule = Cosine::new(number("base"), number("final"), warmup, total);
        let expected = case["values"].as_array().unwrap();
        assert_eq!(expected.len() as u64, total, "{name}");
        for (iteration, expected) in expected.iter().enumerate() {
            agrees(schedule.at(iteration as u64), expected, &format!("{name}, iteration {iteration}"));
        }
        values += expected.len();
    }
    assert_eq!(values, 16);
    tally("schedules of degenerate lengths", values, "values");
}
