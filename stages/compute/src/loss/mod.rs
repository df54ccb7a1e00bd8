//! The three losses (paper, sections 3.1 to 3.3): each compares the student's crops with the teacher's.
//!
//! A loss neither changes its queue or centre while it is computed nor afterwards by itself: `update` does, once the
//! step is known to be sound.

mod clustering;
mod info_nce;
mod pairs;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, no_grad_guard};

pub use clustering::Clustering;
pub use info_nce::InfoNce;
pub use pairs::Part;

use crate::model::{LastLayerShare, ModelConfig, Outputs, Source};
use crate::named::{LoadError, NamedTensors};
use crate::ring::RowAges;

/// The losses' published names, as in checkpoints and `log.txt`: instance, local-group, group.
pub const LOSS_NAMES: [&str; 3] = ["instance-sup.", "local-group-sup.", "group-sup."];

/// Sizes and temperatures of the losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Keys in the instance loss's queue. Default 65536.
    pub instance_queue_size: i64,
    /// Temperature of the instance loss. Default 0.2.
    pub instance_temp: f64,
    /// Keys in the local-group loss's queue, and rows in each memory. Default 65536.
    pub local_group_queue_size: i64,
    /// Temperature of the local-group loss. Default 0.2.
    pub local_group_temp: f64,
    /// Temperature of the student's cluster probabilities; the teacher's follows a schedule. Default 0.1.
    pub group_student_temp: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig {
            instance_queue_size: 65536,
            instance_temp: 0.2,
            local_group_queue_size: 65536,
            local_group_temp: 0.2,
            group_student_temp: 0.1,
        }
    }
}

/// The losses that the weights switch on, with their queues and centre.
#[derive(Debug)]
pub struct Losses {
    instance: Option<InfoNce>,
    local_group: Option<InfoNce>,
    group: Option<Clustering>,
    weights: [f64; 3],
    /// `loss_weights` of [`Mends`](crate::Mends).
    mended_weights: bool,
}

/// What each loss came to, scalars; none where it is switched off.
#[derive(Debug)]
pub struct Terms {
    /// Instance, local-group and group loss.
    pub losses: [Option<Tensor>; 3],
    /// Their sum over the sum of all weights, in which the weights count only where that is mended: what is minimised.
    pub total: Tensor,
    /// Where the last layer's backward pass is by hand: what the total, backward from 1, adds to its weights' gradients,
    /// and the factor to add it with.
    pub last_layer: Option<(LastLayerShare, f64)>,
}

impl Losses {
    /// Queues drawn from (`seed`, name), the centre 0.
    pub fn new(config: &LossConfig, model: &ModelConfig, seed: u64, device: Device) -> Losses {
        Losses::build(config, model, Source::seeded(seed, device), device)
    }

    /// Queues and centre of 0, made at once, to be loaded from a checkpoint.
    pub fn blank(config: &LossConfig, model: &ModelConfig, device: Device) -> Losses {
        Losses::build(config, model, Source::blank(device), device)
    }

    fn build(config: &LossConfig, model: &ModelConfig, source: Source, device: Device) -> Losses {
        let [instance, local_group, group] = model.heads();
        let queue = |name, keys, width, temperature| InfoNce::build(name, keys, width, temperature, source);
        Losses {
            instance: instance.then(|| {
                queue(LOSS_NAMES[0], config.instance_queue_size, model.instance_out_dim, config.instance_temp)
            }),
            local_group: local_group.then(|| {
                queue(LOSS_NAMES[1], config.local_group_queue_size, model.local_group_out_dim, config.local_group_temp)
            }),
            group: group.then(|| Clustering::new(model.group_out_dim, config.group_student_temp, device)),
            weights: model.loss_weights,
            mended_weights: model.mends.loss_weights,
        }
    }

    /// The losses of a step. `teacher_temp` is the teacher's temperature for clusters in this epoch.
    pub fn forward(&self, student: &Outputs, teacher: &Outputs, teacher_temp: f64) -> Terms {
        self.forward_part(student, teacher, teacher_temp, None)
    }

    /// The shares of some student crops in the losses; `part` says which they are, none that they are all.
    pub fn forward_part(&self, student: &Outputs, teacher: &Outputs, teacher_temp: f64, part: Option<Part>) -> Terms {
        let contrast = |loss: &Option<InfoNce>, student: &Option<Tensor>, teacher: &Option<Tensor>| {
            Some(loss.as_ref()?.forward_part(student.as_ref()?, teacher.as_ref()?, part))
        };
        let (group, share) = match self.group(student, teacher, teacher_temp, part) {
            Some((value, share)) => (Some(value), share),
            None => (None, None),
        };
        let losses = [
            contrast(&self.instance, &student.instance, &teacher.instance),
            contrast(&self.local_group, &student.local_group, &teacher.local_group),
            group,
        ];
        let total = total(&losses, self.weights, self.mended_weights);
        let weight = if self.mended_weights { self.weights[2] } else { 1.0 };
        let factor = weight / self.weights.iter().sum::<f64>();
        Terms { losses, total, last_layer: share.map(|share| (share, factor)) }
    }

    /// The group loss, and what is left to do by hand for the last layer's weights.
    fn group(
        &self,
        student: &Outputs,
        teacher: &Outputs,
        teacher_temp: f64,
        part: Option<Part>,
    ) -> Option<(Tensor, Option<LastLayerShare>)> {
        let (loss, logits, targets) = (self.group.as_ref()?, student.group.as_ref()?, teacher.group.as_ref()?);
        let Some(call) = &student.last_layer else {
            return Some((loss.forward_part(logits, targets, teacher_temp, part), None));
        };
        let (value, by_logits) = loss.slope(logits, targets, teacher_temp, part);
        let (by_input, share) = call.back(&by_logits);
        Some((with_gradient(&value, call.input(), &by_input), Some(share)))
    }

    /// Takes the teacher's outputs of a step into queues and centre. Over several ranks, each output is the
    /// crop-major concatenation of all ranks'.
    pub fn update(&mut self, teacher: &Outputs) {
        if let (Some(loss), Some(keys)) = (&mut self.instance, &teacher.instance) {
            loss.update(keys);
        }
        if let (Some(loss), Some(keys)) = (&mut self.local_group, &teacher.local_group) {
            loss.update(keys);
        }
        if let (Some(loss), Some(logits)) = (&mut self.group, &teacher.group) {
            loss.update(logits);
        }
    }

    /// Mean entropy of the targets of clusters, see [`Clustering::target_entropy`]; none without the group loss.
    pub fn target_entropy(&self, teacher: &Outputs, teacher_temp: f64) -> Option<Tensor> {
        Some(self.group.as_ref()?.target_entropy(teacher.group.as_ref()?, teacher_temp))
    }

    /// Entropy of the centre, see [`Clustering::center_entropy`]; none without the group loss.
    pub fn center_entropy(&self, teacher_temp: f64) -> Option<Tensor> {
        Some(self.group.as_ref()?.center_entropy(teacher_temp))
    }

    /// When the keys of the instance and the local-group queue were written.
    pub fn row_ages(&self) -> [Option<RowAges>; 2] {
        [&self.instance, &self.local_group].map(|loss| loss.as_ref().map(InfoNce::row_ages))
    }

    /// Queue pointers of the instance and the local-group loss.
    pub fn pointers(&self) -> [Option<i64>; 2] {
        [&self.instance, &self.local_group].map(|loss| loss.as_ref().map(InfoNce::pointer))
    }

    /// The tensors of each loss that is switched on, under its published name.
    pub fn state(&self) -> Vec<(&'static str, Vec<(&'static str, Tensor)>)> {
        let states = [
            self.instance.as_ref().map(InfoNce::state),
            self.local_group.as_ref().map(InfoNce::state),
            self.group.as_ref().map(Clustering::state),
        ];
        LOSS_NAMES.into_iter().zip(states).filter_map(|(name, state)| Some((name, state?))).collect()
    }

    /// Copies queues, pointers and centre from the tensors that `prefix` gives a name's tensors, for example
    /// `|name| format!("{name}|")` for `instance-sup.|queue`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape. Those before it have then been overwritten.
    pub fn load(&mut self, tensors: &NamedTensors, prefix: impl Fn(&str) -> String) -> Result<(), LoadError> {
        let [instance, local_group, group] = LOSS_NAMES.map(prefix);
        self.instance.iter_mut().try_for_each(|loss| loss.load(tensors, &instance))?;
        self.local_group.iter_mut().try_for_each(|loss| loss.load(tensors, &local_group))?;
        self.group.iter_mut().try_for_each(|loss| loss.load(tensors, &group))
    }
}

/// The sum of `losses` over the sum of `weights`.
///
/// Quirk kept from the published code: a weight does not multiply its loss. The mend makes it the weighted mean.
fn total(losses: &[Option<Tensor>; 3], weights: [f64; 3], mended: bool) -> Tensor {
    let present = losses.iter().zip(weights).filter_map(|(loss, weight)| Some((loss.as_ref()?, weight)));
    let sum: Tensor = present.map(|(loss, weight)| if mended { loss * weight } else { loss.shallow_clone() }).sum();
    sum / weights.iter().sum::<f64>()
}

/// A scalar of the given `value` whose gradient with respect to `input` is `gradient`, of `input`'s shape.
///
/// Both losses have gradients that fall out of computing their values. Written down at once, nothing that the value was
/// computed from needs to be kept for the backward pass.
fn with_gradient(value: &Tensor, input: &Tensor, gradient: &Tensor) -> Tensor {
    let linear = input.flatten(0, -1).dot(&gradient.detach().flatten(0, -1));
    // The difference is 0 exactly, whatever the rounding of the product.
    value.detach() + (&linear - linear.detach())
}

/// Runs `compute` without recording gradients; recording goes on afterwards even if it panics.
fn without_gradient<T>(compute: impl FnOnce() -> T) -> T {
    let _no_grad = no_grad_guard();
    compute()
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn random(seed: u64, name: &str, rows: i64, width: i64) -> Tensor {
        crate::model::Source::seeded(seed, Device::Cpu).tensor(name, &[rows, width], crate::model::Init::Normal)
    }

    /// What a loss is by definition, and its gradient by automatic differentiation.
    fn by_definition(
        student: &Tensor,
        crops: usize,
        loss_of_pair: impl Fn(&Tensor, usize) -> Tensor,
    ) -> (Tensor, Tensor) {
        let student = student.copy().set_requires_grad(true);
        let (mut large, mut local) = (Vec::new(), Vec::new());
        for (crop, rows) in student.chunk(crops as i64, 0).iter().enumerate() {
            for teacher in (0..2).filter(|teacher| *teacher != crop) {
                let list = if crop < 2 { &mut large } else { &mut local };
                list.push(loss_of_pair(rows, teacher));
            }
        }
        let large = Tensor::stack(&large, 0).mean(Kind::Float);
        let loss = match local.is_empty() {
            true => large,
            false => (large + Tensor::stack(&local, 0).mean(Kind::Float)) / 2.0,
        };
        loss.backward();
        (loss.detach(), student.grad())
    }

    fn agree(loss: &Tensor, student: &Tensor, expected: &(Tensor, Tensor), case: &str) {
        // Scaled, to see that the gradient follows what comes after the loss.
        (loss * 3.0).backward();
        assert!((loss - &expected.0).abs().double_value(&[]) < 1e-5, "{case}: {loss:?} {:?}", expected.0);
        let difference = (student.grad() - &expected.1 * 3.0).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{case}: gradients differ by {difference}");
    }

    #[test]
    fn written_gradients_are_the_true_ones_with_and_without_local_crops() {
        for crops in [2, 3, 12] {
            let rows = 5 * crops as i64;
            let (student, teacher) = (random(1, "student", rows, 16), random(1, "teacher", 10, 16));
            let leaf = unit(&student).set_requires_grad(true);
            let teacher = unit(&teacher);
            let loss = InfoNce::new("x", 40, 16, 0.2, 0, Device::Cpu);
            let queue = &loss.state()[0].1;
            let expected = by_definition(&leaf.detach(), crops, |rows, crop| {
                let positive =
                    (rows * teacher.narrow(0, 5 * crop as i64, 5)).sum_dim_intlist([-1].as_slice(), true, None);
                let logits = Tensor::cat(&[positive, rows.matmul(queue)], 1) / 0.2;
                logits.cross_entropy_for_logits(&Tensor::zeros([5], (Kind::Int64, Device::Cpu)))
            });
            agree(&loss.forward(&leaf, &teacher), &leaf, &expected, &format!("{crops} crops"));

            let leaf = student.copy().set_requires_grad(true);
            let expected = by_definition(&student, crops, |rows, crop| {
                let target = (teacher.narrow(0, 5 * crop as i64, 5) / 0.04).softmax(-1, None);
                -(target * (rows / 0.1).log_softmax(-1, None)).sum(Kind::Float) / 5.0
            });
            let loss = Clustering::new(16, 0.1, Device::Cpu);
            agree(&loss.forward(&leaf, &teacher, 0.04), &leaf, &expected, &format!("{crops} crops"));
        }
    }

    fn unit(x: &Tensor) -> Tensor {
        crate::model::unit_length(x)
    }

    #[test]
    fn weights_divide_but_do_not_multiply() {
        // The examples of the golden data's `total_loss_rule`.
        assert_eq!(total_of([1.0, 1.0, 1.0], false), 3.0);
        assert!((total_of([2.0, 0.5, 1.0], false) - 2.571_428_571_428_571_6).abs() < 1e-6);
        assert_eq!(total_of([1.0, 0.0, 1.0], false), 3.0);
        assert!((total_of([0.0, 0.0, 3.0], false) - 0.666_666_666).abs() < 1e-6);
    }

    #[test]
    fn mended_weights_multiply_too() {
        assert_eq!(total_of([1.0, 1.0, 1.0], true), 3.0);
        // (2 · 4 + 0.5 · 3 + 1 · 2) / 3.5.
        assert!((total_of([2.0, 0.5, 1.0], true) - 11.5 / 3.5).abs() < 1e-6);
        assert_eq!(total_of([1.0, 0.0, 1.0], true), 3.0);
        assert_eq!(total_of([0.0, 0.0, 3.0], true), 2.0);
    }

    /// The total of the losses 4, 3 and 2; one of weight 0 is not computed.
    fn total_of(weights: [f64; 3], mended: bool) -> f64 {
        let mut losses = [4.0, 3.0, 2.0].into_iter().zip(weights);
        let losses = std::array::from_fn(|_| losses.next().and_then(|(loss, w)| (w > 0.0).then(|| Tensor::from(loss))));
        total(&losses, weights, mended).double_value(&[])
    }

    #[test]
    fn a_non_finite_output_makes_the_loss_non_finite() {
        let (student, teacher) = (random(1, "student", 20, 16), random(1, "teacher", 10, 16));
        let _ = student.get(3).fill_(f64::INFINITY);
        assert!(
            !InfoNce::new("x", 40, 16, 0.2, 0, Device::Cpu).forward(&student, &teacher).double_value(&[]).is_finite()
        );
        assert!(!Clustering::new(16, 0.1, Device::Cpu).forward(&student, &teacher, 0.04).double_value(&[]).is_finite());
    }
}
