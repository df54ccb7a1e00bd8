//! The training step: forward passes, losses, backward pass, updates (paper, section 3).

mod average;
mod config;
mod exchange;
mod gathered;
mod gradients;
mod lend;
mod passes;
mod ranks;
mod state;
mod step;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tch::{Device, Tensor, no_grad_guard};

pub use config::TrainConfig;
pub use lend::LendError;
pub use state::ResumeError;
pub use step::{ClusterEntropy, StepError, StepInput, StepReport};

pub use crate::schedule::Rates;

use crate::RowAges;
use crate::collective::Collective;
use crate::library;
use crate::loss::Losses;
use crate::memory::{Memory, weak_rows};
use crate::model::{ConfigError, ModelConfig, Network, Precision, Role};
use crate::mutants::{self, Mutant};
use crate::optim::{Follow, LossScaler, Optimizer, factor};
use average::Average;
use exchange::Exchange;
use gradients::Gradients;
use lend::Wait;
use passes::{Finite, restore};
use ranks::Left;

/// The gradient of one parameter on its way to the optimiser, for tests and debugging.
#[derive(Debug)]
pub struct Gradient<'a> {
    /// The parameter's published name.
    pub name: &'a str,
    /// As the backward pass gave it.
    pub raw: &'a Tensor,
    /// After clipping.
    pub clipped: &'a Tensor,
}

type Watch<'a> = dyn FnMut(Gradient<'_>) + 'a;

/// Student, teacher and all that training changes.
#[derive(Debug)]
pub struct Trainer {
    student: Network,
    teacher: Network,
    /// The student's and the teacher's; none without the local-group loss.
    memories: Option<[Memory; 2]>,
    losses: Losses,
    gradients: Gradients,
    /// With fp16 alone.
    scaler: Option<LossScaler>,
    optimizer: Optimizer,
    average: Average,
    /// With several ranks.
    exchange: Option<Exchange>,
    /// Mean entropy of the last step's cluster targets, a scalar on the device.
    target_entropy: Option<Tensor>,
    /// While somebody else reads the state.
    lent: Option<Wait>,
    seed: u64,
    device: Device,
}

impl Trainer {
    /// A trainer with initial values drawn from `seed`; the teacher starts as a copy of the student.
    ///
    /// # Errors
    /// The first option that is out of its range, by name.
    pub fn new(model: &ModelConfig, config: &TrainConfig, seed: u64, device: Device) -> Result<Trainer, ConfigError> {
        Trainer::build(model, config, seed, device, false)
    }

    /// `blank`: with zeros in place of random values, to be loaded.
    fn build(
        model: &ModelConfig,
        config: &TrainConfig,
        seed: u64,
        device: Device,
        blank: bool,
    ) -> Result<Trainer, ConfigError> {
        config.validate()?;
        let network = |role| match blank {
            true => Network::blank(model, role, device),
            false => Network::new(model, role, seed, device),
        };
        let (rows, width, top_n) = (config.losses.local_group_queue_size, model.embed_dim, model.local_group_knn_top_n);
        let make = if blank { Memory::blank } else { Memory::new };
        let memory = |name: &str| make(name, rows, width, top_n, seed, device).mended(model.mends);
        let (student, teacher) = (network(Role::Student)?, network(Role::Teacher)?);
        let [_, local_group, _] = model.heads();
        Ok(Trainer {
            memories: local_group.then(|| ["student_mem", "teacher_mem"].map(memory)),
            losses: match blank {
                true => Losses::blank(&config.losses, model, device),
                false => Losses::new(&config.losses, model, seed, device),
            },
            optimizer: Optimizer::new(config.optimizer, student.params(), config.patch_embed_lr_mult)
                .mended(model.mends),
            gradients: Gradients::new(),
            scaler: (model.precision == Precision::Fp16).then(LossScaler::default),
            average: Average::new(&teacher, &student),
            exchange: None,
            target_entropy: None,
            lent: None,
            student,
            teacher,
            seed,
            device,
        })
    }

    /// Takes every step together with the other ranks of `group` from now on: gradients, keys, centre and memories are
    /// those of all images, BatchNorm layers see all of them. The ranks' states must be equal, and are after every
    /// step where all compute on processors or GPUs of one kind.
    /// Gradients go in rows of about `bucket_bytes` bytes. A group of one rank changes nothing.
    pub fn share(&mut self, group: &Arc<dyn Collective>, bucket_bytes: usize) {
        if group.world() > 1 {
            self.student.share(group);
            self.teacher.share(group);
            self.exchange = Some(Exchange::new(Arc::clone(group), bucket_bytes));
        }
    }

    /// Time spent waiting for gradients of other ranks so far.
    pub fn sync_time(&self) -> Duration {
        self.exchange.as_ref().map(Exchange::waited).unwrap_or_default()
    }

    /// Takes one step.
    ///
    /// # Errors
    /// The input's shapes do not fit, a loss is not finite, the backward pass fails, or another rank is gone: weights,
    /// teacher, queues, memories and centre are then what they were.
    pub fn step(&mut self, input: &StepInput, rates: &Rates) -> Result<StepReport, StepError> {
        self.take(std::slice::from_ref(input), rates, None)
    }

    /// Takes one step on micro-batches of equally many images, as on one batch of all of them: gradients are averaged,
    /// and weights, teacher, queues, memories and centre change once. BatchNorm layers see each micro-batch by itself.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_accumulated(&mut self, inputs: &[StepInput], rates: &Rates) -> Result<StepReport, StepError> {
        self.take(inputs, rates, None)
    }

    /// [`step_accumulated`](Self::step_accumulated), showing `watch` every gradient, those of a frozen last layer included.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_watched(
        &mut self,
        inputs: &[StepInput],
        rates: &Rates,
        mut watch: impl FnMut(Gradient<'_>),
    ) -> Result<StepReport, StepError> {
        self.take(inputs, rates, Some(&mut watch))
    }

    fn take(
        &mut self,
        inputs: &[StepInput],
        rates: &Rates,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<StepReport, StepError> {
        step::check(inputs)?;
        // The forward passes move the running statistics of BatchNorm layers.
        let statistics = self.statistics();
        if mutants::active(Mutant::QueueFirst) {
            self.losses.update(&self.forward_teacher(&inputs[0]));
        }
        let (step, scaler) = (inputs[0].step, self.scaler);
        // Where libtorch is out of memory its binding panics; nothing has been updated then.
        let taken = catch_unwind(AssertUnwindSafe(|| self.until_the_updates(inputs, rates)));
        let taken =
            taken.unwrap_or_else(|panic| Err(StepError::Library { step, message: library::message_of_panic(&*panic) }));
        let (left, report, gradients) = taken.inspect_err(|_| {
            self.exchange.iter().for_each(Exchange::settle);
            self.scaler = scaler;
            restore(&statistics);
        })?;
        self.wait_for_reader();
        if mutants::active(Mutant::AverageFirst) {
            self.average.update(rates.momentum);
        }
        self.update_weights(gradients, rates, watch);
        if !mutants::active(Mutant::AverageFirst) {
            self.average.update(rates.momentum);
        }
        let Left { teacher, student_means, mut weak, target_entropy } = left;
        self.target_entropy = target_entropy;
        if !mutants::active(Mutant::QueueFirst) {
            self.losses.update(&teacher);
        }
        if mutants::active(Mutant::WeakIgnored) {
            weak.fill(true);
        }
        self.update_memories(&student_means, &teacher.patch_mean, &weak);
        Ok(report)
    }

    /// Everything of a step that may fail: passes, and what ranks exchange.
    fn until_the_updates(
        &mut self,
        inputs: &[StepInput],
        rates: &Rates,
    ) -> Result<(Left, StepReport, Finite), StepError> {
        let (gathered, report, gradients) = self.micro_batches(inputs, rates)?;
        let own = gathered.merge();
        let left = match &self.exchange {
            Some(exchange) => ranks::gather(own, &**exchange.group())
                .map_err(|source| StepError::Ranks { step: inputs[0].step, source })?,
            None => own,
        };
        Ok((left, report, gradients))
    }

    /// How the teacher spreads images over clusters, at its temperature of the epoch; waits for the device. None without
    /// the group loss.
    pub fn cluster_entropy(&self, teacher_temp: f64) -> Option<ClusterEntropy> {
        let center = self.losses.center_entropy(teacher_temp)?.double_value(&[]);
        Some(ClusterEntropy { center, target: self.target_entropy.as_ref().map(|target| target.double_value(&[])) })
    }

    /// How old the rows of memories and queues are, by the ring's name. Nothing waits for the device.
    pub fn row_ages(&self) -> Vec<(&'static str, RowAges)> {
        let [instance, local_group] = self.losses.row_ages();
        let [student, teacher] = match &self.memories {
            Some(memories) => memories.each_ref().map(|memory| Some(memory.row_ages())),
            None => [None, None],
        };
        let names = ["student_memory", "teacher_memory", "instance_queue", "local_group_queue"];
        let rings = names.into_iter().zip([student, teacher, instance, local_group]);
        rings.filter_map(|(name, ages)| Some((name, ages?))).collect()
    }

    /// Class tokens after the final norm, `[N, D]`, of normalised pixels `[N, 3, S, S]`. No gradient.
    pub fn class_tokens(&self, images: &Tensor, teacher: bool) -> Tensor {
        let _no_grad = no_grad_guard();
        let backbone = if teacher { self.teacher.backbone() } else { self.student.backbone() };
        backbone.class_token(&backbone.tokens(&images.to_device(self.device)))
    }

    /// The student.
    pub fn student(&self) -> &Network {
        &self.student
    }

    /// The teacher.
    pub fn teacher(&self) -> &Network {
        &self.teacher
    }

    /// Where everything is computed.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Clipping and the optimiser.
    fn update_weights(&mut self, gradients: Finite, rates: &Rates, mut watch: Option<&mut Watch<'_>>) {
        let Finite { gradients, norms, .. } = gradients;
        let limit = rates.clip_grad;
        let mut norms = norms.into_iter();
        let global = mutants::active(Mutant::GlobalClip).then(|| mutants::factor_of_all(&gradients, limit));
        self.optimizer.step(rates.lr, rates.weight_decay, gradients, |name, raw| {
            // There is one for each gradient that is shown here.
            let norm = norms.next();
            let factor = global.map(Tensor::from).or_else(|| factor(&norm?, limit));
            if let Some(watch) = &mut watch {
                let clipped = factor.as_ref().map_or_else(|| raw.shallow_clone(), |factor| raw * factor);
                watch(Gradient { name, raw, clipped: &clipped });
            }
            match rates.freeze_last_layer && name.contains("last_layer") {
                true => Follow::Not,
                false => factor.map_or(Follow::AsIs, Follow::Scaled),
            }
        });
    }

    /// The student's memory takes the patch means `[B, D]` of s1 where it is weak, the teacher's all those of t1.
    fn update_memories(&mut self, student_means: &Tensor, teacher_means: &Tensor, weak: &[bool]) {
        let Some([student, teacher]) = &mut self.memories else { return };
        student.write(&weak_rows(student_means, weak));
        teacher.write(teacher_means);
    }
}
