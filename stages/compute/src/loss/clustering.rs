//! The clustering loss of the group head.
//!
//! M. Caron et al.: "Emerging properties in self-supervised vision transformers", ICCV 2021: the student's cluster
//! probabilities follow the teacher's, which are centred against one cluster taking all and sharpened against all
//! being equal.

use tch::{Device, Kind, Tensor};

use super::pairs::{Pairs, Part};
use super::{with_gradient, without_gradient};
use crate::mutants::{self, Mutant};
use crate::named::{LoadError, NamedTensors, copy_into};

/// The share of the old centre that stays in a step.
const CENTER_MOMENTUM: f64 = 0.9;

/// Cross entropy of soft cluster assignments.
#[derive(Debug)]
pub struct Clustering {
    /// Running mean of the teacher's logits, `[1, clusters]`.
    center: Tensor,
    student_temp: f64,
}

impl Clustering {
    /// With the centre at 0.
    pub fn new(clusters: i64, student_temp: f64, device: Device) -> Clustering {
        Clustering { center: Tensor::zeros([1, clusters], (Kind::Float, device)), student_temp }
    }

    /// The loss of the `student`'s logits `[crops·B, clusters]` against the `teacher`'s `[2·B, clusters]`, a scalar.
    ///
    /// The student's log softmax is taken once per crop, and both teacher crops of a local crop count as one target
    /// with twice the mass. Beside its inputs and the gradient nothing outlives a crop.
    pub fn forward(&self, student: &Tensor, teacher: &Tensor, teacher_temp: f64) -> Tensor {
        self.forward_part(student, teacher, teacher_temp, None)
    }

    /// The share of some student crops in the loss; `part` says which they are, none that they are all.
    pub fn forward_part(&self, student: &Tensor, teacher: &Tensor, teacher_temp: f64, part: Option<Part>) -> Tensor {
        let (value, gradient) = self.slope(student, teacher, teacher_temp, part);
        with_gradient(&value, student, &gradient)
    }

    /// That share and its gradient by the student's logits, `[crops·B, clusters]`, both without a graph.
    pub fn slope(&self, student: &Tensor, teacher: &Tensor, teacher_temp: f64, part: Option<Part>) -> (Tensor, Tensor) {
        let pairs = Pairs::of(student, teacher, part);
        without_gradient(|| self.value_and_gradient(student, teacher, teacher_temp, pairs))
    }

    fn value_and_gradient(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        teacher_temp: f64,
        pairs: Pairs,
    ) -> (Tensor, Tensor) {
        let centred = if mutants::active(Mutant::CenterSign) { teacher + &self.center } else { teacher - &self.center };
        let targets = (centred / teacher_temp).softmax(-1, None);
        let both = pairs.rows(&targets, 0) + pairs.rows(&targets, 1);
        let mut value = Tensor::zeros([], (student.kind(), student.device()));
        let gradient = student.empty_like();
        for crop in 0..pairs.crops {
            let (target, mass) = match pairs.teachers(crop) {
                &[one] => (pairs.rows(&targets, one), 1.0),
                _ => (both.shallow_clone(), 2.0),
            };
            let weight = pairs.weight(crop) / pairs.images as f64;
            let mut log_probabilities = (pairs.rows(student, crop) / self.student_temp).log_softmax(-1, None);
            let agreement = (&target * &log_probabilities).sum_dim_intlist([-1].as_slice(), false, None);
            value -= agreement.sum(None) * weight;
            let excess = log_probabilities.exp_().g_mul_scalar_(mass).g_sub_(&target);
            pairs.rows(&gradient, crop).copy_(&(excess * (weight / self.student_temp)));
        }
        (value, gradient)
    }

    /// Mean entropy of the targets that the `teacher`'s logits `[2·B, clusters]` are, as a share of that of equal
    /// clusters: a scalar on the device.
    pub fn target_entropy(&self, teacher: &Tensor, teacher_temp: f64) -> Tensor {
        without_gradient(|| entropy(&((teacher - &self.center) / teacher_temp)))
    }

    /// The same of softmax(centre / `teacher_temp`): of the cluster that the teacher's mean output would be assigned to
    /// if it were not centred.
    pub fn center_entropy(&self, teacher_temp: f64) -> Tensor {
        without_gradient(|| entropy(&(&self.center / teacher_temp)))
    }

    /// Moves the centre towards the mean of the `teacher`'s logits `[2·B, clusters]`.
    pub fn update(&mut self, teacher: &Tensor) {
        without_gradient(|| {
            let mean = teacher.mean_dim([0].as_slice(), true, None);
            let _ = self.center.g_mul_scalar_(CENTER_MOMENTUM).g_add_(&(mean * (1.0 - CENTER_MOMENTUM)));
        });
    }

    /// Its tensor under its published name: the centre.
    pub fn state(&self) -> Vec<(&'static str, Tensor)> {
        vec![("center", self.center.shallow_clone())]
    }

    /// Copies the centre from the tensor called `prefix` + its name.
    ///
    /// # Errors
    /// The tensor is missing or has another shape.
    pub fn load(&mut self, tensors: &NamedTensors, prefix: &str) -> Result<(), LoadError> {
        copy_into(&self.center, tensors, prefix, "center")
    }
}

/// Mean entropy of the softmax of each row of `logits` `[rows, clusters]`, over the logarithm of the number of clusters:
/// from 0, one cluster takes all, to 1, all are equal.
fn entropy(logits: &Tensor) -> Tensor {
    let [rows, clusters] = [0, 1].map(|dim| logits.size()[dim] as f64);
    let logs = logits.log_softmax(-1, Kind::Float);
    // A single cluster has no entropy, and 0 over 0 is none.
    (logs.exp().g_mul_(&logs)).sum(Kind::Float) / -(rows * clusters.max(2.0).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropies_go_from_one_cluster_to_all_of_them() {
        let of =
            |rows: &[f32], clusters: i64| entropy(&Tensor::from_slice(rows).view([-1, clusters])).double_value(&[]);
        assert!((of(&[3.0; 8], 4) - 1.0).abs() < 1e-6);
        assert!(of(&[0.0, 500.0, 0.0, 0.0], 4).abs() < 1e-6);
        // Half and half of four: ln 2 / ln 4; the mean with a row of equal ones.
        let half = [9.0, 9.0, -400.0, -400.0];
        assert!((of(&half, 4) - 0.5).abs() < 1e-6);
        assert!((of(&[half, [0.0; 4]].concat(), 4) - 0.75).abs() < 1e-6);
        // A quarter and three quarters of two: 0.811278 bits.
        assert!((of(&[0.0, 3_f32.ln()], 2) - 0.811_278_1).abs() < 1e-6);
        assert_eq!(of(&[7.0], 1), 0.0);
    }

    #[test]
    fn targets_are_centred_and_sharpened_and_the_centre_is_sharpened_alone() {
        let mut loss = Clustering::new(2, 0.1, Device::Cpu);
        let logits = Tensor::from_slice(&[0.0_f32, 3_f32.ln() * 0.04]).view([1, 2]);
        let value = |tensor: Tensor| tensor.double_value(&[]);
        assert!((value(loss.target_entropy(&logits, 0.04)) - 0.811_278_1).abs() < 1e-5);
        assert_eq!(value(loss.center_entropy(0.04)), 1.0);
        // With the very logits as the centre all targets are equal, and the centre is as they were.
        loss.center.copy_(&logits);
        assert!((value(loss.target_entropy(&logits, 0.04)) - 1.0).abs() < 1e-6);
        assert!((value(loss.center_entropy(0.04)) - 0.811_278_1).abs() < 1e-5);
        loss.update(&logits);
        assert!((value(loss.center_entropy(0.04)) - 0.811_278_1).abs() < 1e-5);
    }
}
