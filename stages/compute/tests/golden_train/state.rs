//! What a step may change and what it must not, and that a state is the whole state.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;

use mugs_compute::RowAges;
use mugs_compute::model::{DropPath, ModelConfig};
use mugs_compute::named::LoadError;
use mugs_compute::optim::OptimizerKind;
use mugs_compute::state::TrainState;
use mugs_compute::trainer::{ClusterEntropy, ResumeError, StepError, StepInput, Trainer};
use tch::{Device, Kind, Tensor};

use crate::tiny::{
    PER_EPOCH, flat, images, input, model_config, schedules, schedules_of, start, train_config, train_config_of,
    trainer, trainer_of,
};

/// All bits of a state: tensors, moments, step counts and rates.
pub fn bits(state: &TrainState) -> BTreeMap<String, Vec<u8>> {
    let bytes = |tensor: &Tensor| {
        let tensor = tensor.detach().contiguous();
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes
    };
    let mut all: BTreeMap<_, _> = flat(state).iter().map(|(name, tensor)| (name.clone(), bytes(tensor))).collect();
    for (name, moments) in &state.optimizer.moments {
        all.insert(format!("optimizer.{name}.step"), moments.step.to_le_bytes().into());
        all.insert(format!("optimizer.{name}.exp_avg"), bytes(&moments.exp_avg));
        all.insert(format!("optimizer.{name}.exp_avg_sq"), bytes(&moments.exp_avg_sq));
    }
    for (name, momentum) in &state.optimizer.momentum {
        all.insert(format!("optimizer.{name}.momentum"), bytes(momentum));
    }
    for group in &state.optimizer.groups {
        let rates = [group.lr, group.weight_decay].map(f64::to_le_bytes).concat();
        all.insert(format!("optimizer.{}", group.name), rates);
    }
    all
}

fn take(trainer: &mut Trainer, input: &StepInput) -> f64 {
    let rates = schedules().at((input.step / PER_EPOCH) as u32, input.step % PER_EPOCH);
    trainer.step(input, &rates).unwrap().total
}

/// With stochastic depth, whose draws must go on too.
fn model() -> ModelConfig {
    ModelConfig { drop_path_rate: 0.3, ..model_config(false) }
}

#[test]
fn a_lent_state_stays_as_it_is_until_its_reader_is_through() {
    let images = images();
    for use_bn_in_head in [false, true] {
        let mut trainer = trainer(&ModelConfig { use_bn_in_head, ..model() });
        take(&mut trainer, &input(&images, 0));
        let (to_reader, states) = channel::<TrainState>();
        let (reader, found) = channel();
        let lent = trainer.lend(move || reader.send(bits(&states.recv().unwrap())).unwrap()).unwrap();
        let before = bits(&lent);
        assert!(before == bits(&trainer.state()));
        to_reader.send(lent).unwrap();
        take(&mut trainer, &input(&images, 1));
        // As it is after the passes of the step and before its updates.
        assert!(found.try_recv().unwrap() == before);
        assert!(bits(&trainer.state()) != before);
        // Nobody reads any more.
        take(&mut trainer, &input(&images, 2));
        assert!(found.try_recv().is_err());
    }
}

#[test]
fn a_loaded_state_goes_on_to_the_bit() {
    let images = images();
    let mut first = trainer(&model());
    for step in 0..4 {
        take(&mut first, &input(&images, step));
    }
    let mut resumed = Trainer::resume(&model(), &train_config(), 0, Device::Cpu, &first.state()).unwrap();
    let mut loaded = Trainer::new(&model(), &train_config(), 0, Device::Cpu).unwrap();
    // A step of its own, which must leave no trace.
    take(&mut loaded, &input(&images, 0));
    loaded.load(&first.state()).unwrap();
    assert!(bits(&resumed.state()) == bits(&first.state()));
    assert!(bits(&loaded.state()) == bits(&first.state()));
    let totals = [&mut first, &mut resumed, &mut loaded].map(|trainer| take(trainer, &input(&images, 4)));
    assert!(totals[0] == totals[1] && totals[0] == totals[2], "{totals:?}");
    assert!(bits(&resumed.state()) == bits(&first.state()));
    assert!(bits(&loaded.state()) == bits(&first.state()));
    // The last layer thawed one step before, the others have taken five.
    let moments = first.state().optimizer.moments;
    assert_eq!(moments["group_head.last_layer.weight_v"].step, 2);
    assert_eq!(moments["backbone.cls_token"].step, 5);
}

#[test]
fn every_optimiser_goes_on_to_the_bit_with_batch_norm_too() {
    let images = images();
    for optimizer in OptimizerKind::ALL {
        let model = ModelConfig { use_bn_in_head: true, ..model() };
        let train = train_config_of(optimizer);
        let step = |trainer: &mut Trainer, step| {
            let rates = schedules_of(optimizer).at(0, step % PER_EPOCH);
            trainer.step(&input(&images, step), &rates).unwrap().total
        };
        let mut first = trainer_of(&model, &train);
        step(&mut first, 0);
        step(&mut first, 1);
        let state = first.state();
        assert_eq!(state.optimizer.kind, optimizer);
        let remembered = (state.optimizer.moments.is_empty(), state.optimizer.momentum.is_empty());
        assert_eq!(remembered, (optimizer != OptimizerKind::AdamW, optimizer == OptimizerKind::AdamW));
        let mut resumed = Trainer::resume(&model, &train, 0, Device::Cpu, &state).unwrap();
        assert!(bits(&resumed.state()) == bits(&first.state()), "{optimizer}");
        let totals = [&mut first, &mut resumed].map(|trainer| step(trainer, 2));
        assert_eq!(totals[0], totals[1], "{optimizer}");
        assert!(bits(&resumed.state()) == bits(&first.state()), "{optimizer}");
        let counted = flat(&first.state())["teacher.group_head.projector.4.num_batches_tracked"].int64_value(&[]);
        assert_eq!(counted, 3);
    }
}

#[test]
fn a_non_finite_loss_changes_nothing() {
    a_non_finite_loss_changes_nothing_of(&model());
    a_non_finite_loss_changes_nothing_of(&ModelConfig { use_bn_in_head: true, ..model() });
}

fn a_non_finite_loss_changes_nothing_of(model: &ModelConfig) {
    let images = images();
    let mut trainer = trainer(model);
    take(&mut trainer, &input(&images, 0));
    let before = bits(&trainer.state());
    for value in [f64::NAN, f64::INFINITY] {
        let mut bad = input(&images, 1);
        // One pixel of the student's first large crop of the first image.
        let _ = bad.global.get(8).get(0).get(5).get(5).fill_(value);
        bad.step = 17;
        let error = trainer.step(&bad, &schedules().at(1, 0)).unwrap_err();
        assert!(matches!(error, StepError::NonFinite { step: 17, .. }), "{error}");
        assert!(error.to_string().contains("group-sup. NaN"), "{error}");
        assert!(bits(&trainer.state()) == before);
    }
    take(&mut trainer, &input(&images, 1));
}

#[test]
fn a_frozen_last_layer_keeps_its_weights() {
    let images = images();
    let mut trainer = trainer(&model());
    let before = bits(&trainer.state());
    let frozen = schedules().at(0, 2);
    assert!(frozen.freeze_last_layer && frozen.lr > 0.0 && frozen.weight_decay > 0.0);
    trainer.step(&input(&images, 0), &frozen).unwrap();
    let after = bits(&trainer.state());
    let layer = |name: &&String| name.starts_with("student.") && name.contains("last_layer");
    assert_eq!(before.keys().filter(layer).count(), 2);
    for name in before.keys().filter(|name| name.starts_with("student.")) {
        assert_eq!(before[name] == after[name], layer(&name), "{name}");
    }
    assert!(!after.keys().any(|name| name.starts_with("optimizer.group_head.last_layer")));
}

#[test]
fn images_that_are_all_strong_leave_the_students_memory_alone() {
    let mut trainer = trainer(&model());
    let before = bits(&trainer.state());
    let strong = StepInput { weak: vec![false; 4], ..input(&images(), 0) };
    take(&mut trainer, &strong);
    let after = bits(&trainer.state());
    for name in before.keys().filter(|name| name.contains("_mem.")) {
        assert_eq!(before[name] == after[name], name.starts_with("student_mem."), "{name}");
    }
}

#[test]
fn without_local_crops_and_local_groups_a_step_is_taken() {
    let config = ModelConfig { loss_weights: [1.0, 0.0, 1.0], ..model() };
    let mut trainer = Trainer::new(&config, &train_config(), 0, Device::Cpu).unwrap();
    let images = images();
    let rates = schedules().at(1, 0);
    let report = trainer.step(&StepInput { local: None, ..input(&images, 0) }, &rates).unwrap();
    assert_eq!(report.terms.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["instance-sup.", "group-sup."]);
    let state = trainer.state();
    assert!(state.student_memory.is_empty() && state.teacher_memory.is_empty());
    // The relation block is part of the backbone but has no gradient here.
    assert!(!state.optimizer.moments.keys().any(|name| name.contains("relation")));
    let tokens = trainer.class_tokens(&input(&images, 0).global, true);
    assert_eq!((tokens.size(), tokens.requires_grad()), (vec![16, 48], false));
}

#[test]
fn a_fresh_teacher_is_a_copy_and_sees_the_same() {
    let trainer = Trainer::new(&model(), &train_config(), 7, Device::Cpu).unwrap();
    let global = input(&images(), 0).global;
    assert_eq!(trainer.class_tokens(&global, true), trainer.class_tokens(&global, false));
}

#[test]
fn input_and_state_that_do_not_fit_are_refused() {
    let images = images();
    let mut trainer = trainer(&model());
    let rates = schedules().at(0, 0);
    let short = StepInput { weak: vec![true; 3], ..input(&images, 0) };
    let message = trainer.step(&short, &rates).unwrap_err().to_string();
    assert!(message.contains("large crops of shape [16, 3, 224, 224]") && message.contains("3 images"), "{message}");
    let unplaced = StepInput { positions: vec![0], ..input(&images, 0) };
    assert!(trainer.step(&unplaced, &rates).unwrap_err().to_string().contains("positions"));

    let mut cut = start();
    cut.losses.retain(|(name, _)| name != "group-sup.");
    let error = Trainer::resume(&model(), &train_config(), 0, Device::Cpu, &cut).unwrap_err();
    assert_eq!(error, ResumeError::Load(LoadError::Missing { name: "group-sup.|center".into() }));
    let bad = ModelConfig { drop_path_rate: 1.5, ..model() };
    assert!(matches!(Trainer::resume(&bad, &train_config(), 0, Device::Cpu, &start()), Err(ResumeError::Config(_))));
}

#[test]
fn entropies_and_ages_are_those_of_the_steps_taken() {
    let images = images();
    let mut trainer = trainer(&model_config(false));
    assert_eq!(trainer.cluster_entropy(0.04).unwrap().target, None);
    let before = trainer.teacher().forward(&input(&images, 0).global.narrow(0, 0, 8), None, None, &DropPath::off());
    let center = flat(&trainer.state())["group-sup.|center"].copy();
    take(&mut trainer, &input(&images, 0));
    let entropy = |logits: &Tensor| {
        let targets = logits.to_kind(Kind::Double).softmax(-1, Kind::Double);
        let each = -(&targets * targets.log()).sum_dim_intlist([-1].as_slice(), false, None);
        each.mean(Kind::Double).double_value(&[]) / 128_f64.ln()
    };
    let ClusterEntropy { center: of_center, target } = trainer.cluster_entropy(0.05).unwrap();
    // The first epoch's temperature is 0.04.
    let expected = entropy(&((before.group.unwrap() - center) / 0.04));
    assert!((target.unwrap() - expected).abs() < 1e-4, "{target:?} {expected}");
    let expected = entropy(&(&flat(&trainer.state())["group-sup.|center"] / 0.05));
    assert!((of_center - expected).abs() < 1e-4, "{of_center} {expected}");

    take(&mut trainer, &input(&images, 1));
    let ages = |trainer: &Trainer| trainer.row_ages().into_iter().collect::<BTreeMap<_, _>>();
    let now = ages(&trainer);
    // Four pictures a step: the teacher's memory takes four rows, a queue the keys of both crops.
    assert_eq!(now["teacher_memory"].by_age, BTreeMap::from([(0, 4), (1, 4)]));
    assert_eq!(now["instance_queue"].by_age, BTreeMap::from([(0, 8), (1, 8)]));
    assert!(now.values().all(|ages| ages.rows() == 64) && now.len() == 4);
    let weak = |step| input(&images, step).weak.iter().filter(|weak| **weak).count();
    assert_eq!(now["student_memory"].by_age.values().sum::<usize>(), weak(0) + weak(1));
    let resumed = Trainer::resume(&model_config(false), &train_config(), 0, Device::Cpu, &trainer.state()).unwrap();
    let then = ages(&resumed);
    assert_eq!(then["instance_queue"], RowAges { before: 64, ..RowAges::default() });
    assert_eq!(then["teacher_memory"].never, now["teacher_memory"].never);
}
