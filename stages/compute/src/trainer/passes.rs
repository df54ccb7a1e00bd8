//! The forward and backward passes of a step.

use tch::{TchError, Tensor, no_grad_guard};

use super::gathered::Gathered;
use super::ranks;
use super::{StepError, StepInput, StepReport, Trainer};
use crate::collective::CollectiveError;
use crate::library;
use crate::loss::Part;
use crate::model::{CropSet, DropPath, Outputs};
use crate::optim::LossScaler;
use crate::schedule::Rates;

/// Large crops of each image that the student sees.
const STUDENT_GLOBAL: usize = 2;

/// Below so many images, a large crop of each has too few tokens to keep a processor busy.
const FEW_IMAGES: i64 = 8;

/// Why the blocks' backward pass ended early.
enum Stopped {
    Torch(TchError),
    Ranks(CollectiveError),
}

impl From<TchError> for Stopped {
    fn from(error: TchError) -> Stopped {
        Stopped::Torch(error)
    }
}

/// Gradients in the optimiser's order, undefined where a parameter has none, and the norms of those that are defined. All
/// are finite. After an overflow there are none.
#[derive(Debug, Default)]
pub(super) struct Finite {
    pub(super) gradients: Vec<Tensor>,
    pub(super) norms: Vec<Tensor>,
    /// A parameter whose gradient overflowed.
    pub(super) overflowed: Option<String>,
}

impl Trainer {
    /// Forward and backward passes of all micro-batches: the mean losses and the mean gradients.
    pub(super) fn micro_batches(
        &mut self,
        inputs: &[StepInput],
        rates: &Rates,
    ) -> Result<(Gathered, StepReport, Finite), StepError> {
        self.gradients.clear(&self.optimizer);
        let factor = self.scaler.map_or(1.0, |scaler| scaler.scale) / inputs.len() as f64;
        let mut gathered = Gathered::default();
        let mut reports = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            let teacher = self.forward_teacher(input);
            let mut shares = Vec::new();
            let mut means = None;
            let parts = self.parts(input);
            for (place, part) in parts.iter().copied().enumerate() {
                let last = number + 1 == inputs.len() && place + 1 == parts.len();
                let drop_path = self.drop_path(input);
                let mut student = self.forward_student(input, part, &drop_path);
                let terms = self.losses.forward_part(&student, &teacher, rates.teacher_temp, part);
                let share = StepReport::read(&terms);
                // The published code looks at the loss only after queues, centre and memories have taken the bad step
                // in.
                // Of several ranks all go on, to hear of it together.
                if let Some(error) = share.non_finite(input.step).filter(|_| self.exchange.is_none()) {
                    return Err(error);
                }
                shares.push(share);
                means.get_or_insert_with(|| student.patch_mean.shallow_clone());
                let kept = std::mem::take(&mut student.kept);
                drop(student);
                let exchange = self.exchange.as_ref().filter(|_| last);
                let failed = |stopped| match stopped {
                    Stopped::Torch(error) => {
                        StepError::Backward { step: input.step, message: library::message(&error) }
                    }
                    Stopped::Ranks(source) => StepError::Ranks { step: input.step, source },
                };
                let total = self.gradients.prepare(terms, &self.student, factor);
                if let Some(exchange) = exchange {
                    let by_hand = self.gradients.by_hand(&self.student, &self.optimizer);
                    exchange.begin_last(&by_hand).map_err(Stopped::Ranks).map_err(failed)?;
                }
                total.f_backward().map_err(Stopped::Torch).map_err(failed)?;
                drop(total);
                let whole = |block| match exchange {
                    Some(exchange) => exchange.whole_block(&self.optimizer, block).map_err(Stopped::Ranks),
                    None => Ok(()),
                };
                self.student.back(kept, &drop_path, whole).map_err(failed)?;
            }
            reports.push(StepReport::sum(&shares));
            let entropy = self.losses.target_entropy(&teacher, rates.teacher_temp);
            gathered.take(input, means.as_ref(), teacher, entropy);
        }
        let own = StepReport::mean(&reports);
        let (mut report, gradients) = self.of_all_ranks(own, inputs[0].step)?;
        let gradients = self.finite_gradients(gradients, inputs[0].step)?;
        report.overflowed.clone_from(&gradients.overflowed);
        report.loss_scale = self.scaler.map(|scaler| scaler.scale);
        Ok((gathered, report, gradients))
    }

    /// Losses and gradients of all ranks. A loss that is not finite ends the step on all of them.
    fn of_all_ranks(&mut self, own: StepReport, step: u64) -> Result<(StepReport, Vec<Tensor>), StepError> {
        let gradients = self.gradients.sums(&self.student, &self.optimizer);
        let Some(exchange) = &mut self.exchange else { return Ok((own.alone(), gradients)) };
        let failed = |source| StepError::Ranks { step, source };
        exchange.finish(&self.optimizer, &gradients).map_err(failed)?;
        let report = ranks::losses(&own, &**exchange.group()).map_err(failed)?;
        match report.non_finite(step) {
            Some(error) => Err(error),
            // The layout of the first step moved them.
            None => Ok((report, self.gradients.sums(&self.student, &self.optimizer))),
        }
    }

    /// The gradients with their norms, if all are finite. Overflow of a scaled loss is no error but a step without
    /// gradients, as the published trainer takes it: the scale is halved, and all but the weights moves on. That ends at a
    /// scale of 1, where the published trainer would take steps without gradients for ever.
    fn finite_gradients(&mut self, gradients: Vec<Tensor>, step: u64) -> Result<Finite, StepError> {
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
        let scale = self.scaler.map(|scaler| scaler.scale);
        self.scaler.iter_mut().for_each(|scaler| scaler.update(bad.is_some()));
        let Some(bad) = bad else { return Ok(Finite { gradients, norms, overflowed: None }) };
        let names = self.optimizer.names().zip(&gradients).filter(|(_, gradient)| gradient.defined());
        let name = names.map(|(name, _)| name.to_owned()).nth(bad).unwrap_or_default();
        match scale {
            Some(scale) if scale > LossScaler::LEAST => Ok(Finite { overflowed: Some(name), ..Finite::default() }),
            scale => Err(StepError::NonFiniteGradient { step, name, scale }),
        }
    }

    /// All running statistics, each with a copy of what it is now.
    pub(super) fn statistics(&self) -> Vec<(Tensor, Tensor)> {
        let buffers = self.student.params().buffers().chain(self.teacher.params().buffers());
        buffers.map(|buffer| (buffer.shallow_clone(), buffer.copy())).collect()
    }

    pub(super) fn forward_teacher(&self, input: &StepInput) -> Outputs {
        let memory = self.memories.as_ref().map(|[_, teacher]| teacher);
        self.teacher.forward(&input.of_teacher().to_device(self.device), None, memory, &DropPath::off())
    }

    /// Which student crops go through the network together, so that only their activations are kept at a time: each
    /// large crop, then either half of the local ones. Both large ones, then all local ones, where products would have too
    /// few rows, of few images. None stands for all: a BatchNorm must see them together.
    fn parts(&self, input: &StepInput) -> Vec<Option<Part>> {
        if self.student.params().buffers().next().is_some() {
            return vec![None];
        }
        let local = input.local.as_ref().map_or(0, |local| local.size()[0] / input.images()) as usize;
        let (all, middle) = (STUDENT_GLOBAL + local, STUDENT_GLOBAL + local.div_ceil(2));
        let borders = if input.images() < FEW_IMAGES {
            vec![0, STUDENT_GLOBAL, all]
        } else {
            vec![0, 1, STUDENT_GLOBAL, middle, all]
        };
        let parts = borders.windows(2).filter(|border| border[0] < border[1]);
        parts.map(|border| Some(Part { first: border[0], count: border[1] - border[0], all })).collect()
    }

    fn drop_path(&self, input: &StepInput) -> DropPath<'static> {
        DropPath::of_step(self.seed, input.step as u32, input.positions.clone())
    }

    fn forward_student(&self, input: &StepInput, part: Option<Part>, drop_path: &DropPath<'_>) -> Outputs {
        let memory = self.memories.as_ref().map(|[student, _]| student);
        let set = |crops: &Tensor, large, first| CropSet { pixels: crops.to_device(self.device), large, first };
        let sets = match part {
            None => {
                let local = input.local.as_ref().map(|local| set(local, false, STUDENT_GLOBAL));
                std::iter::once(set(&input.of_student(), true, 0)).chain(local).collect()
            }
            Some(Part { first, count, .. }) => {
                let rows = |crops: &Tensor, skipped: usize| {
                    crops.narrow(0, skipped as i64 * input.images(), count as i64 * input.images())
                };
                match &input.local {
                    Some(local) if first >= STUDENT_GLOBAL => {
                        vec![set(&rows(local, first - STUDENT_GLOBAL), false, first)]
                    }
                    _ => vec![set(&rows(&input.of_student(), first), true, first)],
                }
            }
        };
        self.student.run(&sets, memory, drop_path)
    }
}

/// Puts running statistics back to what they were.
pub(super) fn restore(statistics: &[(Tensor, Tensor)]) {
    let _no_grad = no_grad_guard();
    for (buffer, before) in statistics {
        buffer.shallow_clone().copy_(before);
    }
}
