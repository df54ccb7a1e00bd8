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
        let pairs = Pairs::of(student, teacher, part);
        let (value, gradient) = without_gradient(|| self.value_and_gradient(student, teacher, teacher_temp, pairs));
        with_gradient(&value, student, &gradient)
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
