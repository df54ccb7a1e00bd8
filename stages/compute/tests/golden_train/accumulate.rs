//! A step on micro-batches is the step on one batch of all their images.

use std::collections::BTreeMap;

use mugs_compute::model::ModelConfig;
use mugs_compute::named::NamedTensors;
use mugs_compute::optim::OptimizerKind;
use mugs_compute::trainer::{StepError, StepInput};
use tch::Tensor;

use crate::tiny::{PER_EPOCH, flat, images, input, model_config, schedules_of, train_config_of, trainer_of};

/// With stochastic depth, whose draws go by the images' positions in the whole batch.
fn model() -> ModelConfig {
    ModelConfig { drop_path_rate: 0.3, ..model_config(false) }
}

/// The images from `first` on, `count` of them.
fn part(whole: &StepInput, first: usize, count: usize) -> StepInput {
    let images = whole.weak.len() as i64;
    let of = |crops: &Tensor| {
        let shape = crops.size();
        let by_crop = crops.view([-1, images, shape[1], shape[2], shape[3]]);
        by_crop.narrow(1, first as i64, count as i64).flatten(0, 1).contiguous()
    };
    StepInput {
        global: of(&whole.global),
        local: whole.local.as_ref().map(of),
        weak: whole.weak[first..first + count].to_vec(),
        positions: whole.positions[first..first + count].to_vec(),
        step: whole.step,
    }
}

/// The images of `count` golden steps from `first` on as one batch.
fn batch(images: &NamedTensors, first: u64, count: u64) -> StepInput {
    let steps: Vec<_> = (first..first + count).map(|step| input(images, step)).collect();
    let whole = |of: &dyn Fn(&StepInput) -> Tensor| {
        let by_crop = steps.iter().map(|step| of(step).unflatten(0, [-1, step.images()]));
        Tensor::cat(&by_crop.collect::<Vec<_>>(), 1).flatten(0, 1)
    };
    let weak: Vec<bool> = steps.iter().flat_map(|step| step.weak.clone()).collect();
    StepInput {
        global: whole(&|step| step.global.shallow_clone()),
        local: Some(whole(&|step| step.local.as_ref().unwrap().shallow_clone())),
        positions: (0..weak.len() as u64).collect(),
        weak,
        step: first,
    }
}

fn differences(one: &BTreeMap<String, Tensor>, other: &BTreeMap<String, Tensor>) -> BTreeMap<String, f64> {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    let difference = |(name, tensor): (&String, &Tensor)| {
        let difference = (tensor.to_kind(tch::Kind::Double) - other[name].to_kind(tch::Kind::Double)).abs();
        (name.clone(), difference.max().double_value(&[]))
    };
    one.iter().map(difference).collect()
}

#[test]
fn two_or_four_micro_batches_are_one_batch() {
    let images = images();
    // Not AdamW, which makes whole steps of rounding noise.
    let train = train_config_of(OptimizerKind::Sgd);
    // Eight images go through the student in twice as many parts as four.
    for (images_of, parts, checkpoint_activations) in [(1, 2, false), (1, 4, false), (2, 2, false), (2, 2, true)] {
        let model = ModelConfig { checkpoint_activations, ..model() };
        let mut whole = trainer_of(&model, &train);
        let mut split = trainer_of(&model, &train);
        for step in 0..3 {
            let rates = schedules_of(OptimizerKind::Sgd).at(0, step % PER_EPOCH);
            let input = batch(&images, step * images_of, images_of);
            let each = input.weak.len() / parts;
            let micro: Vec<StepInput> = (0..parts).map(|at| part(&input, at * each, each)).collect();
            let [one, other] = [whole.step(&input, &rates).unwrap(), split.step_accumulated(&micro, &rates).unwrap()];
            assert!((one.total - other.total).abs() < 1e-5, "{parts} parts: {one:?} {other:?}");
            for ((name, term), (_, found)) in one.terms.iter().zip(&other.terms) {
                assert!((term - found).abs() < 1e-5, "{parts} parts, {name}: {term} {found}");
            }
        }
        for (name, difference) in differences(&flat(&whole.state()), &flat(&split.state())) {
            let allowed = if name.ends_with("queue_ptr") { 0.0 } else { 1e-5 };
            assert!(difference <= allowed, "{parts} parts, {name}: {difference:e}");
        }
    }
}

#[test]
fn micro_batches_must_be_equal_and_one_bad_one_leaves_everything() {
    let images = images();
    let mut trainer = trainer_of(&model(), &train_config_of(OptimizerKind::AdamW));
    let rates = schedules_of(OptimizerKind::AdamW).at(1, 0);
    let input = input(&images, 0);
    let before = flat(&trainer.state()).iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect();
    let uneven = trainer.step_accumulated(&[part(&input, 0, 3), part(&input, 3, 1)], &rates).unwrap_err();
    assert!(matches!(uneven, StepError::Uneven { first: 3, other: 1, .. }), "{uneven}");
    assert!(matches!(trainer.step_accumulated(&[], &rates), Err(StepError::Empty)));
    let bad = part(&input, 2, 2);
    let _ = bad.global.get(4).get(0).get(5).get(5).fill_(f64::NAN);
    let error = trainer.step_accumulated(&[part(&input, 0, 2), bad], &rates).unwrap_err();
    assert!(matches!(error, StepError::NonFinite { .. }), "{error}");
    assert!(differences(&before, &flat(&trainer.state())).values().all(|difference| *difference == 0.0));
}
