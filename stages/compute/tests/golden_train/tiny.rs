//! A trainer of the tiny network in the golden starting state.

use std::collections::BTreeMap;

use mugs_compute::loss::{LOSS_NAMES, LossConfig};
use mugs_compute::model::ModelConfig;
use mugs_compute::named::NamedTensors;
use mugs_compute::optim::OptimizerKind;
use mugs_compute::schedule::{ScheduleConfig, Schedules, TeacherTemperature};
use mugs_compute::state::{OptimizerState, OrderedTensors, TrainState};
use mugs_compute::trainer::{StepInput, TrainConfig, Trainer};
use mugs_test_support::golden;
use tch::{Device, Tensor, set_num_threads};

use crate::common::{crops, tensors, tiny_config};

/// Steps of an epoch, and images of a step.
pub const PER_EPOCH: u64 = 3;
const IMAGES: u64 = 4;

pub fn train_config() -> TrainConfig {
    train_config_of(OptimizerKind::AdamW)
}

pub fn train_config_of(optimizer: OptimizerKind) -> TrainConfig {
    let losses = LossConfig { instance_queue_size: 64, local_group_queue_size: 64, ..LossConfig::default() };
    TrainConfig { losses, optimizer, ..TrainConfig::default() }
}

pub fn model_config(norm_last_layer: bool) -> ModelConfig {
    ModelConfig { norm_last_layer, ..tiny_config() }
}

pub fn schedules() -> Schedules {
    schedules_of(OptimizerKind::AdamW)
}

/// The rates of the golden runs of an optimiser on one rank.
pub fn schedules_of(optimizer: OptimizerKind) -> Schedules {
    schedules_on(optimizer, 1)
}

/// The same on several ranks.
pub fn schedules_on(optimizer: OptimizerKind, ranks: u64) -> Schedules {
    let adamw = ScheduleConfig {
        epochs: 2,
        steps_per_epoch: PER_EPOCH,
        global_batch: IMAGES * ranks,
        lr: 0.05,
        min_lr: 1e-4,
        warmup_epochs: 1,
        weight_decay: 0.04,
        weight_decay_end: 0.2,
        momentum_teacher: 0.9,
        teacher_temp: TeacherTemperature { start: 0.04, end: 0.07, warmup_epochs: 2 },
        freeze_last_layer: 1,
        clip_grad: 0.3,
        clips_harder_late: false,
    };
    let (lr, clip_grad) = match optimizer {
        OptimizerKind::AdamW => return Schedules::new(&adamw).unwrap(),
        OptimizerKind::Sgd => (1.5, 0.3),
        OptimizerKind::Lars => (40.0, 3.0),
    };
    let teacher_temp = TeacherTemperature { warmup_epochs: 0, ..adamw.teacher_temp };
    let others =
        ScheduleConfig { epochs: 1, lr, warmup_epochs: 0, teacher_temp, freeze_last_layer: 0, clip_grad, ..adamw };
    Schedules::new(&others).unwrap()
}

/// The golden starting state: the teacher is a copy of the student, the optimiser is fresh.
pub fn start() -> TrainState {
    start_of(false)
}

/// The same, with or without BatchNorm in the heads.
pub fn start_of(use_bn_in_head: bool) -> TrainState {
    let all = tensors(&golden(&format!("model/step/init_bn{}.safetensors", u8::from(use_bn_in_head))));
    let student = under(&all, "student.");
    TrainState {
        teacher: student.iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect(),
        student,
        student_memory: under(&all, "student_mem."),
        teacher_memory: under(&all, "teacher_mem."),
        losses: LOSS_NAMES.map(|name| (name.to_owned(), under(&all, &format!("{name}|")))).into(),
        optimizer: OptimizerState::default(),
        scaler: None,
    }
}

fn under(all: &NamedTensors, prefix: &str) -> OrderedTensors {
    let named =
        |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.shallow_clone()));
    all.iter().filter_map(named).collect()
}

/// A trainer in the golden starting state, on one thread.
pub fn trainer(model: &ModelConfig) -> Trainer {
    trainer_of(model, &train_config())
}

pub fn trainer_of(model: &ModelConfig, train: &TrainConfig) -> Trainer {
    set_num_threads(1);
    Trainer::resume(model, train, 0, Device::Cpu, &start_of(model.use_bn_in_head)).unwrap()
}

/// The crops of an iteration on rank 0.
pub fn input(images: &NamedTensors, iteration: u64) -> StepInput {
    input_of(images, iteration, 0)
}

/// The crops of an iteration on a rank.
pub fn input_of(images: &NamedTensors, iteration: u64, rank: usize) -> StepInput {
    let crops = |list: std::ops::Range<i64>| crops(images, iteration as i64, rank as i64, list);
    let weak = images["step_weak"].get(iteration as i64).get(rank as i64);
    StepInput {
        global: crops(0..4),
        local: Some(crops(4..6)),
        weak: Vec::<u8>::try_from(weak).unwrap().iter().map(|flag| *flag == 1).collect(),
        positions: (0..IMAGES).collect(),
        step: iteration,
    }
}

pub fn images() -> NamedTensors {
    tensors(&golden("model/images.safetensors"))
}

/// All tensors of a state under the names of the golden files.
pub fn flat(state: &TrainState) -> BTreeMap<String, Tensor> {
    let parts = [
        ("student.".to_owned(), &state.student),
        ("teacher.".to_owned(), &state.teacher),
        ("student_mem.".to_owned(), &state.student_memory),
        ("teacher_mem.".to_owned(), &state.teacher_memory),
    ];
    let losses = state.losses.iter().map(|(loss, tensors)| (format!("{loss}|"), tensors));
    let named = |(prefix, tensors): (String, &OrderedTensors)| -> Vec<(String, Tensor)> {
        tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone())).collect()
    };
    parts.into_iter().chain(losses).flat_map(named).collect()
}
