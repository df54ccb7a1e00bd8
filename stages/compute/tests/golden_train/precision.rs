//! Half precision and recomputed activations: how far a step may move from the float32 one, and what overflow does.

use std::collections::BTreeMap;

use mugs_compute::model::{ModelConfig, Precision};
use mugs_compute::optim::LossScaler;
use mugs_compute::trainer::{Gradient, StepError, Trainer};
use tch::{Device, Kind, Tensor};

use crate::state::bits;
use crate::tiny::{PER_EPOCH, flat, images, input, model_config, schedules, start, train_config, trainer};

/// Losses and gradients of a golden step. Shows each gradient as it was before clipping.
fn step(trainer: &mut Trainer, step: u64) -> (Vec<f64>, BTreeMap<String, Tensor>) {
    let rates = schedules().at((step / PER_EPOCH) as u32, step % PER_EPOCH);
    let mut gradients = BTreeMap::new();
    let mut watch = |gradient: Gradient<'_>| {
        gradients.insert(gradient.name.to_owned(), gradient.raw.copy());
    };
    let report = trainer.step_watched(&[input(&images(), step)], &rates, &mut watch).unwrap();
    (report.terms.iter().map(|(_, loss)| *loss).collect(), gradients)
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.norm().double_value(&[])
}

#[test]
fn half_precision_steps_are_near_the_float32_ones() {
    let (exact_losses, exact) = step(&mut trainer(&model_config(false)), 0);
    // Bits of precision: 8 and 11. A loss is a mean of many roundings, a gradient of few.
    for (precision, loss_tolerance, gradient_tolerance) in
        [(Precision::Bf16, 0.03, 0.12), (Precision::Fp16, 0.004, 0.015)]
    {
        let mut trainer = trainer(&ModelConfig { precision, ..model_config(false) });
        let (losses, gradients) = step(&mut trainer, 0);
        for (loss, exact) in losses.iter().zip(&exact_losses) {
            assert!((loss - exact).abs() < loss_tolerance * exact, "{precision}: {loss}, not {exact}");
        }
        assert_eq!(gradients.len(), exact.len());
        for (name, gradient) in &gradients {
            assert_eq!(gradient.kind(), Kind::Float, "{name}");
            let (difference, length) = (norm(&(gradient - &exact[name])), norm(&exact[name]));
            // The key part of a qkv bias has no gradient but rounding noise.
            assert!(difference < gradient_tolerance * length + 1e-4, "{precision} {name}: {difference} of {length}");
        }
        // Half precision is in the products alone.
        assert!(
            flat(&trainer.state()).iter().all(|(name, tensor)| {
                tensor.kind() == if name.ends_with("_ptr") { Kind::Int64 } else { Kind::Float }
            })
        );
        let other =
            norm(&(&gradients["backbone.blocks.0.mlp.fc1.weight"] - &exact["backbone.blocks.0.mlp.fc1.weight"]));
        assert!(other > 0.0, "{precision} is float32");
    }
}

#[test]
fn recomputed_activations_give_the_same_step() {
    // With stochastic depth, whose draws must be the same again.
    for bn in [false, true] {
        let model = ModelConfig { drop_path_rate: 0.3, use_bn_in_head: bn, ..model_config(false) };
        let mut kept = trainer(&model);
        let mut recomputed = trainer(&ModelConfig { checkpoint_activations: true, ..model });
        for number in 0..3 {
            let (losses, gradients) = step(&mut kept, number);
            let (again, found) = step(&mut recomputed, number);
            assert_eq!(losses, again);
            assert_eq!(gradients.len(), found.len());
            for (name, gradient) in &gradients {
                assert_eq!(*gradient, found[name], "step {number}, {name}");
            }
        }
        assert!(bits(&kept.state()) == bits(&recomputed.state()));
    }
}

#[test]
fn overflow_of_a_scaled_loss_leaves_the_weights_and_halves_the_scale() {
    let model = ModelConfig { precision: Precision::Fp16, ..model_config(false) };
    let mut state = start();
    state.scaler = Some(LossScaler { scale: f64::from(f32::MAX), growth_tracker: 7 });
    let mut trainer = Trainer::resume(&model, &train_config(), 0, Device::Cpu, &state).unwrap();
    let rates = schedules().at(0, 0);
    let report = trainer.step(&input(&images(), 0), &rates).unwrap();
    assert_eq!(report.loss_scale, Some(f64::from(f32::MAX) / 2.0));
    let overflowed = report.overflowed.unwrap();
    assert!(trainer.student().params().get(&overflowed).is_some(), "{overflowed}");
    let after = trainer.state();
    assert_eq!(after.scaler, Some(LossScaler { scale: f64::from(f32::MAX) / 2.0, growth_tracker: 0 }));
    assert!(after.optimizer.moments.is_empty());
    let (before, after) = (flat(&start()), flat(&after));
    for (name, tensor) in &after {
        let stays = name.starts_with("student.");
        // Queues, centre and memories take the step in, as the published trainer has it.
        let moves = name.ends_with("|queue_ptr") || name.ends_with("|center") || name == "teacher_mem.block.queue_ptr";
        assert!(!stays || *tensor == before[name], "{name} moved");
        assert!(!moves || *tensor != before[name], "{name} stayed");
    }
    // A scale within range is brought back to the bit.
    state.scaler = Some(LossScaler { scale: 1024.0, growth_tracker: 3 });
    let mut trainer = Trainer::resume(&model, &train_config(), 0, Device::Cpu, &state).unwrap();
    assert!(!step(&mut trainer, 0).1.is_empty());
    assert_eq!(trainer.state().scaler, Some(LossScaler { scale: 1024.0, growth_tracker: 4 }));
}

#[test]
fn an_overflow_that_no_scale_mends_ends_the_run_and_nothing_moves() {
    let model = ModelConfig { precision: Precision::Fp16, ..model_config(false) };
    // As below: these gradients fit no float32, whatever the scale.
    let mut config = train_config();
    config.losses.instance_temp = 2e-38;
    let mut state = start();
    state.scaler = Some(LossScaler { scale: 2.0, growth_tracker: 7 });
    let mut trainer = Trainer::resume(&model, &config, 0, Device::Cpu, &state).unwrap();
    let report = trainer.step(&input(&images(), 0), &schedules().at(0, 0)).unwrap();
    assert!(report.overflowed.is_some() && report.loss_scale == Some(1.0), "{report:?}");
    let before = trainer.state();
    let (scaler, before) = (before.scaler, bits(&before));
    let error = trainer.step(&input(&images(), 1), &schedules().at(0, 1)).unwrap_err();
    let StepError::NonFiniteGradient { step: 1, name, scale: Some(1.0) } = &error else { panic!("{error}") };
    assert!(error.to_string().contains(&format!("`{name}`, with the loss scaled by 1, is not finite")), "{error}");
    assert!(trainer.state().scaler == scaler && before == bits(&trainer.state()));
}

#[test]
fn a_gradient_that_is_not_finite_is_named_and_nothing_moves() {
    // Logits of about 1e37 have a finite loss, whose gradient is as large and grows on its way back.
    let mut config = train_config();
    config.losses.instance_temp = 2e-38;
    let mut trainer = Trainer::resume(&model_config(false), &config, 0, Device::Cpu, &start()).unwrap();
    let before = bits(&trainer.state());
    let error = trainer.step(&input(&images(), 0), &schedules().at(0, 0)).unwrap_err();
    let StepError::NonFiniteGradient { step: 0, name, scale: None } = &error else { panic!("{error}") };
    assert!(error.to_string().contains(name), "{error}");
    assert!(before == bits(&trainer.state()));
}
