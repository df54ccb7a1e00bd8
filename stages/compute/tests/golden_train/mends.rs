//! Mends in the trainer: what each changes of a golden step, and that a mended run goes on to the bit.

use std::collections::BTreeSet;

use mugs_compute::Mends;
use mugs_compute::model::{ModelConfig, Network, Role};
use mugs_compute::optim::{Optimizer, OptimizerKind};
use mugs_compute::trainer::{Gradient, StepReport, Trainer};
use tch::Device;

use crate::state::bits;
use crate::tiny::{PER_EPOCH, flat, images, input, model_config, schedules, train_config, trainer};

const ALL: Mends = Mends {
    memory_pointer: true,
    memory_rows: true,
    memory_query: true,
    loss_weights: true,
    initial_tail: true,
    decay_tokens: true,
};

fn model(mends: Mends) -> ModelConfig {
    ModelConfig { mends, loss_weights: [1.0, 2.0, 0.5], ..model_config(false) }
}

fn take(trainer: &mut Trainer, step: u64) -> StepReport {
    let rates = schedules().at((step / PER_EPOCH) as u32, step % PER_EPOCH);
    trainer.step(&input(&images(), step), &rates).unwrap()
}

#[test]
fn tokens_and_gains_leave_the_decayed_group() {
    let network = Network::blank(&model_config(false), Role::Student, Device::Cpu).unwrap();
    let group = |mends: Mends, group: usize| {
        let optimizer = Optimizer::new(OptimizerKind::AdamW, network.params(), 0.2).mended(mends);
        BTreeSet::from_iter(optimizer.state().groups.swap_remove(group).parameters)
    };
    let mends = Mends { decay_tokens: true, ..Mends::default() };
    let left: Vec<_> = group(Mends::default(), 0).difference(&group(mends, 0)).cloned().collect();
    assert_eq!(left, ["backbone.cls_token", "backbone.pos_embed", "group_head.last_layer.weight_g"]);
    let came: Vec<_> = group(mends, 2).difference(&group(Mends::default(), 2)).cloned().collect();
    assert_eq!(came, left);
    assert_eq!([1, 3].map(|other| group(mends, other)), [1, 3].map(|other| group(Mends::default(), other)));
}

#[test]
fn a_weighted_total_is_minimised() {
    let weighted = Mends { loss_weights: true, ..Mends::default() };
    let [published, mended] = [Mends::default(), weighted].map(|mends| take(&mut trainer(&model(mends)), 0));
    assert_eq!(published.terms, mended.terms);
    let [instance, local_group, group] = [0, 1, 2].map(|term| mended.terms[term].1);
    assert!((published.total - (instance + local_group + group) / 3.5).abs() < 1e-5, "{published:?}");
    assert!((mended.total - (instance + 2.0 * local_group + 0.5 * group) / 3.5).abs() < 1e-5, "{mended:?}");
    // Also where gradients are not left to automatic differentiation.
    let [published, mended] = [Mends::default(), weighted].map(|mends| {
        let mut norms = std::collections::BTreeMap::new();
        let mut watch = |gradient: Gradient<'_>| {
            norms.insert(gradient.name.to_owned(), gradient.raw.norm().double_value(&[]));
        };
        trainer(&model(mends)).step_watched(&[input(&images(), 0)], &schedules().at(0, 0), &mut watch).unwrap();
        norms
    });
    for (part, factor) in [("instance_head.", 1.0), ("local_group_head.", 2.0), ("group_head.", 0.5)] {
        for (name, norm) in published.iter().filter(|(name, _)| name.starts_with(part)) {
            assert!((mended[name] - factor * norm).abs() <= 1e-5 * (1.0 + norm), "{name}: {norm}, {}", mended[name]);
        }
    }
}

#[test]
fn a_mended_memory_fills_row_after_row() {
    for (memory_pointer, expected) in [(false, [62, 2]), (true, [58, 62])] {
        let mut trainer = trainer(&model(Mends { memory_pointer, ..Mends::default() }));
        let pointers = [0, 1].map(|step| {
            take(&mut trainer, step);
            flat(&trainer.state())["teacher_mem.block.queue_ptr"].int64_value(&[0])
        });
        assert_eq!(pointers, expected, "memory_pointer {memory_pointer}");
    }
}

#[test]
fn a_mended_run_goes_on_to_the_bit() {
    let mut first = Trainer::new(&model(ALL), &train_config(), 3, Device::Cpu).unwrap();
    (0..4).for_each(|step| drop(take(&mut first, step)));
    let mut resumed = Trainer::resume(&model(ALL), &train_config(), 3, Device::Cpu, &first.state()).unwrap();
    assert!(bits(&resumed.state()) == bits(&first.state()));
    let totals = [&mut first, &mut resumed].map(|trainer| take(trainer, 4).total);
    assert_eq!(totals[0], totals[1]);
    assert!(bits(&resumed.state()) == bits(&first.state()));
    // Another query finds other rows, from the second step on also other ones that were written.
    let mut published = Trainer::new(&model(Mends::default()), &train_config(), 3, Device::Cpu).unwrap();
    let mut mended = Trainer::new(&model(ALL), &train_config(), 3, Device::Cpu).unwrap();
    assert_ne!(take(&mut published, 0).terms[1], take(&mut mended, 0).terms[1]);
}
