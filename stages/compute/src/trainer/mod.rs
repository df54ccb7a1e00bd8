//! The training step: forward passes, losses, backward pass, updates (paper, section 3).

mod average;
mod config;
mod gathered;
mod gradients;
mod state;
mod step;

use tch::{Device, Tensor, no_grad_guard};

pub use config::TrainConfig;
pub use state::ResumeError;
pub use step::{ClusterEntropy, StepError, StepInput, StepReport};

pub use crate::schedule::Rates;

use crate::RowAges;
use crate::loss::{Losses, Part};
use crate::memory::{Memory, weak_rows};
use crate::model::{ConfigError, DropPath, ModelConfig, Network, Outputs, Precision, Role};
use crate::mutants::{self, Mutant};
use crate::optim::{Follow, LossScaler, Optimizer, factor};
use average::Average;
use gathered::Gathered;
use gradients::Gradients;

/// Large crops of each image that the student sees.
const STUDENT_GLOBAL: usize = 2;

/// Below so many images, a large crop of each has too few tokens to keep a processor busy.
const FEW_IMAGES: i64 = 3;

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

/// Gradients in the optimiser's order, undefined where a parameter has none, and the norms of those that are defined. All
/// are finite. After an overflow there are none.
#[derive(Debug, Default)]
struct Finite {
    gradients: Vec<Tensor>,
    norms: Vec<Tensor>,
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
    /// Mean entropy of the last step's cluster targets, a scalar on the device.
    target_entropy: Option<Tensor>,
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
            target_entropy: None,
            student,
            teacher,
            seed,
            device,
        })
    }

    /// Takes one step.
    ///
    /// # Errors
    /// The input's shapes do not fit, a loss is not finite, or the backward pass fails: weights, teacher, queues,
    /// memories and centre are then what they were.
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
        let (gathered, report, gradients) = self.micro_batches(inputs, rates).inspect_err(|_| restore(&statistics))?;
        if mutants::active(Mutant::AverageFirst) {
            self.average.update(rates.momentum);
        }
        self.update_weights(gradients, rates, watch);
        if !mutants::active(Mutant::AverageFirst) {
            self.average.update(rates.momentum);
        }
        self.target_entropy = gathered.target_entropy();
        let (teacher, student_means, mut weak) = gathered.merge();
        if !mutants::active(Mutant::QueueFirst) {
            self.losses.update(&teacher);
        }
        if mutants::active(Mutant::WeakIgnored) {
            weak.fill(true);
        }
        self.update_memories(&student_means, &teacher.patch_mean, &weak);
        Ok(report)
    }

    /// Forward and backward passes of all micro-batches: the mean losses and the mean gradients.
    fn micro_batches(
        &mut self,
        inputs: &[StepInput],
        rates: &Rates,
    ) -> Result<(Gathered, StepReport, Finite), StepError> {
        self.gradients.clear(&self.optimizer);
        let factor = self.scaler.map_or(1.0, |scaler| scaler.scale) / inputs.len() as f64;
        let mut gathered = Gathered::default();
        let mut reports = Vec::new();
        for input in inputs {
            let teacher = self.forward_teacher(input);
            let mut shares = Vec::new();
            let mut means = None;
            for part in self.parts(input) {
                let drop_path = self.drop_path(input);
                let mut student = self.forward_student(input, part, &drop_path);
                let terms = self.losses.forward_part(&student, &teacher, rates.teacher_temp, part);
                let share = StepReport::read(&terms);
                // The published code looks at the loss only after queues, centre and memories have taken the bad step
                // in.
                if !share.is_finite() {
                    let StepReport { total, terms } = share;
                    return Err(StepError::NonFinite { step: input.step, total, terms });
                }
                shares.push(share);
                means.get_or_insert_with(|| student.patch_mean.shallow_clone());
                let kept = std::mem::take(&mut student.kept);
                drop(student);
                let added = self.gradients.add(terms, &self.student, factor);
                let failed = |source| StepError::Backward { step: input.step, source };
                added.and_then(|()| self.student.back(kept, &drop_path)).map_err(failed)?;
            }
            reports.push(StepReport::sum(&shares));
            let entropy = self.losses.target_entropy(&teacher, rates.teacher_temp);
            gathered.take(input, means.as_ref(), teacher, entropy);
        }
        Ok((gathered, StepReport::mean(&reports), self.finite_gradients(inputs[0].step)?))
    }

    /// The gradients with their norms, if all are finite. Overflow of a scaled loss is no error but a step without
    /// gradients, as the published trainer takes it: the scale is halved, and all but the weights moves on.
    fn finite_gradients(&mut self, step: u64) -> Result<Finite, StepError> {
        let gradients = self.gradients.sums(&self.student, &self.optimizer);
        let _no_grad = no_grad_guard();
        if let Some(scaler) = self.scaler {
            for gradient in gradients.iter().filter(|gradient| gradient.defined()) {
                let _ = gradient.shallow_clone().g_mul_scalar_(1.0 / scaler.scale);
            }
        }
        let present = || gradients.iter().filter(|gradient| gradient.defined());
        let norms: Vec<Tensor> = present().map(Tensor::norm).collect();
        // One wait for the device.
        let all = Vec::<f32>::try_from(Tensor::stack(&norms, 0)).unwrap_or_default();
        let bad = all.iter().position(|norm| !norm.is_finite());
        if let Some(scaler) = &mut self.scaler {
            scaler.update(bad.is_some());
            return Ok(if bad.is_some() { Finite::default() } else { Finite { gradients, norms } });
        }
        let Some(bad) = bad else { return Ok(Finite { gradients, norms }) };
        let names = self.optimizer.names().zip(&gradients).filter(|(_, gradient)| gradient.defined());
        let name = names.map(|(name, _)| name.to_owned()).nth(bad).unwrap_or_default();
        Err(StepError::NonFiniteGradient { step, name })
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

    /// All running statistics, each with a copy of what it is now.
    fn statistics(&self) -> Vec<(Tensor, Tensor)> {
        let buffers = self.student.params().buffers().chain(self.teacher.params().buffers());
        buffers.map(|buffer| (buffer.shallow_clone(), buffer.copy())).collect()
    }

    fn forward_teacher(&self, input: &StepInput) -> Outputs {
        let memory = self.memories.as_ref().map(|[_, teacher]| teacher);
        self.teacher.forward(&input.of_teacher().to_device(self.device), None, memory, &DropPath::off())
    }

    /// Which student crops go through the network together, so that only their activations are kept at a time: each
    /// large crop, then either half of the local ones; of few images both large ones, then all local ones, since products
    /// of few rows are slow. None stands for all: a BatchNorm must see them together.
    fn parts(&self, input: &StepInput) -> Vec<Option<Part>> {
        if self.student.params().buffers().next().is_some() {
            return vec![None];
        }
        let local = input.local.as_ref().map_or(0, |local| local.size()[0] / input.images()) as usize;
        let (all, middle) = (STUDENT_GLOBAL + local, STUDENT_GLOBAL + local.div_ceil(2));
        let borders = match input.images() {
            ..FEW_IMAGES => vec![0, STUDENT_GLOBAL, all],
            _ => vec![0, 1, STUDENT_GLOBAL, middle, all],
        };
        let parts = borders.windows(2).filter(|border| border[0] < border[1]);
        parts.map(|border| Some(Part { first: border[0], count: border[1] - border[0], all })).collect()
    }

    fn drop_path(&self, input: &StepInput) -> DropPath<'static> {
        DropPath::of_step(self.seed, input.step as u32, input.positions.clone())
    }

    fn forward_student(&self, input: &StepInput, part: Option<Part>, drop_path: &DropPath<'_>) -> Outputs {
        let memory = self.memories.as_ref().map(|[student, _]| student);
        let on_device = |crops: Tensor| crops.to_device(self.device);
        let Some(Part { first, count, .. }) = part else {
            let local = input.local.as_ref().map(|local| local.to_device(self.device));
            return self.student.forward(&on_device(input.of_student()), local.as_ref(), memory, drop_path);
        };
        let rows = |crops: &Tensor, first: usize| {
            on_device(crops.narrow(0, first as i64 * input.images(), count as i64 * input.images()))
        };
        let crops = match &input.local {
            Some(local) if first >= STUDENT_GLOBAL => rows(local, first - STUDENT_GLOBAL),
            _ => rows(&input.of_student(), first),
        };
        self.student.forward_crops(&crops, first < STUDENT_GLOBAL, first, memory, drop_path)
    }

    /// Clipping and the optimiser.
    fn update_weights(&mut self, gradients: Finite, rates: &Rates, mut watch: Option<&mut Watch<'_>>) {
        let Finite { gradients, norms } = gradients;
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

/// Puts running statistics back to what they were.
fn restore(statistics: &[(Tensor, Tensor)]) {
    let _no_grad = no_grad_guard();
    for (buffer, before) in statistics {
        buffer.shallow_clone().copy_(before);
    }
}
