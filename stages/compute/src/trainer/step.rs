//! What goes into a training step and what comes out.

use tch::Tensor;

use crate::collective::CollectiveError;
use crate::loss::{LOSS_NAMES, Terms};

/// Large crops of each image: two for the teacher, then two for the student.
const GLOBAL_CROPS: i64 = 4;

/// The crops of B images.
#[derive(Debug)]
pub struct StepInput {
    /// Large crops, normalised float32 pixels `[4·B, 3, S, S]`: crop first (t1, t2, s1, s2), then image.
    pub global: Tensor,
    /// The student's local crops `[L·B, 3, s, s]`, crop first, then image.
    pub local: Option<Tensor>,
    /// Whether an image's large student crops are weakly augmented, `[B]`.
    pub weak: Vec<bool>,
    /// The images' positions in the global batch, `[B]`: where their draws of stochastic depth come from.
    pub positions: Vec<u64>,
    /// The step's number in the whole run, from 0.
    pub step: u64,
}

/// The losses of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepReport {
    /// What was minimised.
    pub total: f64,
    /// Each loss that is switched on, by its published name (`instance-sup.` …).
    pub terms: Vec<(&'static str, f64)>,
    /// Total and terms of each rank, of which those above are the means.
    pub by_rank: Vec<Vec<f64>>,
    /// With float16: the factor on the next step's loss.
    pub loss_scale: Option<f64>,
    /// With float16: a parameter whose gradient overflowed. The weights are then what they were, and all else has moved.
    pub overflowed: Option<String>,
}

/// How the teacher spreads images over clusters: mean entropies as shares of ln(clusters), from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClusterEntropy {
    /// Of softmax(centre / teacher's temperature), where the teacher's mean output would belong if it were not centred.
    /// Near 0, one cluster takes all, and nothing but the centre works against it.
    pub center: f64,
    /// Of the last step's targets, each by itself: low where the teacher is sure of an image's cluster, near 1 where it
    /// tells no cluster from another. None before the first step.
    pub target: Option<f64>,
}

/// Why a step was not taken. Nothing has then been changed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A loss is infinite or not a number.
    #[error(
        "the loss{} is {total} at step {step} ({}); nothing was updated: resume from the last checkpoint with a \
             lower `lr` or a smaller `clip_grad` above 0 (`--allow_drift lr` lets a run go on with another)",
        on(*rank),
        join(terms)
    )]
    NonFinite {
        /// The step's number.
        step: u64,
        /// The total.
        total: f64,
        /// Each loss by its published name.
        terms: Vec<(&'static str, f64)>,
        /// The first rank whose loss it is, where there are several.
        rank: Option<usize>,
    },
    /// A gradient is infinite or not a number, although the losses are finite.
    #[error(
        "the gradient of `{name}`{} is not finite at step {step}; nothing was updated: resume from the last checkpoint \
             with a lower `lr` (`--allow_drift lr` lets a run go on with another)",
        scaled(*scale)
    )]
    NonFiniteGradient {
        /// The step's number.
        step: u64,
        /// The parameter's published name.
        name: String,
        /// With float16: the factor on the loss, which can fall no further.
        scale: Option<f64>,
    },
    /// The shapes of the input do not fit each other.
    #[error("the input of step {step} has {what} of shape {found:?}, which does not fit {images} images")]
    Input {
        /// The step's number.
        step: u64,
        /// Which part.
        what: &'static str,
        /// Its shape.
        found: Vec<i64>,
        /// How many weak flags there are, one for each image.
        images: usize,
    },
    /// No micro-batch.
    #[error("a step needs at least one micro-batch")]
    Empty,
    /// Micro-batches of different sizes, whose means would not be that of all images.
    #[error("the micro-batches of step {step} hold {first} and {other} images; they must hold equally many")]
    Uneven {
        /// The step's number.
        step: u64,
        /// Images of the first one.
        first: usize,
        /// Images of another.
        other: usize,
    },
    /// The library that computes gave up, for example for want of memory.
    #[error("the backward pass of step {step} failed: {message}")]
    Backward {
        /// The step's number.
        step: u64,
        /// What the library says.
        message: String,
    },
    /// The same anywhere else before the first update.
    #[error("step {step} could not be computed: {message}")]
    Library {
        /// The step's number.
        step: u64,
        /// What the library says.
        message: String,
    },
    /// The other ranks are gone, or do not answer.
    #[error("step {step} was not taken: {source}")]
    Ranks {
        /// The step's number.
        step: u64,
        /// What went wrong between the ranks.
        source: CollectiveError,
    },
}

fn on(rank: Option<usize>) -> String {
    rank.map(|rank| format!(" on rank {rank}")).unwrap_or_default()
}

fn scaled(scale: Option<f64>) -> String {
    scale.map(|scale| format!(", with the loss scaled by {scale},")).unwrap_or_default()
}

fn join(terms: &[(&'static str, f64)]) -> String {
    terms.iter().map(|(name, loss)| format!("{name} {loss}")).collect::<Vec<_>>().join(", ")
}

impl StepInput {
    /// The number of images, B.
    pub fn images(&self) -> i64 {
        self.weak.len() as i64
    }

    /// The teacher's large crops, `[2·B, 3, S, S]`.
    pub(super) fn of_teacher(&self) -> Tensor {
        self.global.narrow(0, 0, GLOBAL_CROPS / 2 * self.images())
    }

    /// The student's large crops, `[2·B, 3, S, S]`.
    pub(super) fn of_student(&self) -> Tensor {
        let half = GLOBAL_CROPS / 2 * self.images();
        self.global.narrow(0, half, half)
    }

    /// Checks that all parts speak of the same number of images, at least one.
    pub(super) fn check(&self) -> Result<(), StepError> {
        let images = self.images();
        let wrong = |what, found| Err(StepError::Input { step: self.step, what, found, images: self.weak.len() });
        let global = self.global.size();
        if !matches!(*global, [rows, 3, _, _] if images > 0 && rows == GLOBAL_CROPS * images) {
            return wrong("large crops", global);
        }
        if self.positions.len() != self.weak.len() {
            return wrong("positions", vec![self.positions.len() as i64]);
        }
        match self.local.as_ref().map(Tensor::size) {
            Some(local) if !matches!(*local, [rows, 3, _, _] if rows > 0 && rows % images == 0) => {
                wrong("local crops", local)
            }
            _ => Ok(()),
        }
    }
}

/// Checks the micro-batches of a step: at least one, and all with equally many images.
pub(super) fn check(inputs: &[StepInput]) -> Result<(), StepError> {
    inputs.iter().try_for_each(StepInput::check)?;
    let Some(first) = inputs.first() else { return Err(StepError::Empty) };
    match inputs.iter().find(|input| input.images() != first.images()) {
        None => Ok(()),
        Some(other) => Err(StepError::Uneven { step: first.step, first: first.weak.len(), other: other.weak.len() }),
    }
}

impl StepReport {
    /// The sums of what parts of the student's crops came to.
    pub(super) fn sum(shares: &[StepReport]) -> StepReport {
        let sum = |value: &dyn Fn(&StepReport) -> f64| shares.iter().map(value).sum();
        let names = shares.first().map_or(&[][..], |share| &share.terms).iter().enumerate();
        StepReport {
            total: sum(&|share| share.total),
            terms: names.map(|(index, (name, _))| (*name, sum(&|share| share.terms[index].1))).collect(),
            ..StepReport::default()
        }
    }

    /// The means of the reports of equally large micro-batches; of one report that report.
    pub(super) fn mean(reports: &[StepReport]) -> StepReport {
        let count = reports.len() as f64;
        let mean = |value: &dyn Fn(&StepReport) -> f64| match reports {
            [one] => value(one),
            _ => reports.iter().map(value).sum::<f64>() / count,
        };
        let names = reports.first().map_or(&[][..], |report| &report.terms).iter().enumerate();
        StepReport {
            total: mean(&|report| report.total),
            terms: names.map(|(index, (name, _))| (*name, mean(&|report| report.terms[index].1))).collect(),
            ..StepReport::default()
        }
    }

    /// The same as the report of the one rank that there is.
    pub(super) fn alone(mut self) -> StepReport {
        self.by_rank = vec![std::iter::once(self.total).chain(self.terms.iter().map(|(_, value)| *value)).collect()];
        self
    }

    /// The error of a loss that is not finite, naming the first rank that has one.
    pub(super) fn non_finite(&self, step: u64) -> Option<StepError> {
        if self.is_finite() {
            return None;
        }
        let bad = |row: &&Vec<f64>| row.iter().any(|value| !value.is_finite());
        let rank = self.by_rank.iter().position(|row| bad(&row));
        let several = self.by_rank.len() > 1;
        let row = rank.map(|rank| &self.by_rank[rank]).filter(|_| several);
        let value = |index: usize, mean: f64| row.map_or(mean, |row| row[index]);
        Some(StepError::NonFinite {
            step,
            total: value(0, self.total),
            terms: (self.terms.iter().enumerate()).map(|(i, (name, mean))| (*name, value(i + 1, *mean))).collect(),
            rank: rank.filter(|_| several),
        })
    }

    /// Reads total and losses, waiting for the device once.
    pub(super) fn read(terms: &Terms) -> StepReport {
        let scalars: Vec<Tensor> =
            std::iter::once(&terms.total).chain(terms.losses.iter().flatten()).map(Tensor::detach).collect();
        let scalars = Tensor::stack(&scalars, 0).to_kind(tch::Kind::Double).to_device(tch::Device::Cpu);
        let present = LOSS_NAMES.into_iter().zip(&terms.losses).filter(|(_, loss)| loss.is_some());
        let value = |index: usize| scalars.double_value(&[index as i64]);
        let terms = present.enumerate().map(|(i, (name, _))| (name, value(i + 1))).collect();
        StepReport { total: value(0), terms, ..StepReport::default() }
    }

    /// Whether the total and every loss are finite.
    pub fn is_finite(&self) -> bool {
        self.total.is_finite() && self.terms.iter().all(|(_, loss)| loss.is_finite())
    }
}
