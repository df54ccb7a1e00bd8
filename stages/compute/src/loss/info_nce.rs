//! The contrastive loss of the instance and the local-group head.
//!
//! K. He et al.: "Momentum contrast for unsupervised visual representation learning", CVPR 2020, with keys of the
//! teacher and two crops of each image as positives.

use tch::{Device, Tensor};

use super::pairs::{Pairs, Part};
use super::{with_gradient, without_gradient};
use crate::model::{Init, Source, unit_length};
use crate::named::{LoadError, NamedTensors, copy_into, find};
use crate::ring::{self, Clock, RowAges};

/// How many rows meet the queue at a time: many enough to read the queue seldom, few enough to hold their logits.
const BLOCK: i64 = 128;

/// InfoNCE with a queue of keys from earlier steps as negatives.
#[derive(Debug)]
pub struct InfoNce {
    /// Keys of unit length in columns, `[width, K]`.
    queue: Tensor,
    /// Where the next key goes.
    pointer: i64,
    clock: Clock,
    temperature: f64,
}

impl InfoNce {
    /// A queue of `keys` random keys of `width` numbers, drawn from (`seed`, `name`).
    pub fn new(name: &str, keys: i64, width: i64, temperature: f64, seed: u64, device: Device) -> InfoNce {
        InfoNce::build(name, keys, width, temperature, Source::seeded(seed, device))
    }

    /// A queue with keys from `source`: random ones, or 0 to be loaded from a checkpoint.
    pub(super) fn build(name: &str, keys: i64, width: i64, temperature: f64, source: Source) -> InfoNce {
        let random = source.tensor(&format!("{name}.queue"), &[keys, width], Init::Normal);
        let queue = unit_length(&random).tr().contiguous();
        InfoNce { queue, pointer: 0, clock: Clock::new(keys), temperature }
    }

    /// Where the next key goes.
    pub fn pointer(&self) -> i64 {
        self.pointer
    }

    /// The loss of the `student`'s predictions `[crops·B, width]` against the `teacher`'s projections `[2·B, width]`,
    /// a scalar.
    ///
    /// A comparison of s with t costs the cross entropy of [s·t, s·queue] / temperature with the first as the target,
    /// that is softplus(n − s·t / temperature), where n is the log of the summed exponentials of the negatives. n does
    /// not depend on t: one pass over the queue serves both teacher crops.
    pub fn forward(&self, student: &Tensor, teacher: &Tensor) -> Tensor {
        self.forward_part(student, teacher, None)
    }

    /// The share of some student crops in the loss; `part` says which they are, none that they are all.
    pub fn forward_part(&self, student: &Tensor, teacher: &Tensor, part: Option<Part>) -> Tensor {
        let pairs = Pairs::of(student, teacher, part);
        let (value, gradient) = without_gradient(|| self.value_and_gradient(student, teacher, pairs));
        with_gradient(&value, student, &gradient)
    }

    fn value_and_gradient(&self, student: &Tensor, teacher: &Tensor, pairs: Pairs) -> (Tensor, Tensor) {
        let (negatives, pulls) = self.negatives(student);
        let mut value = Tensor::zeros([], (student.kind(), student.device()));
        let gradient = student.zeros_like();
        for crop in 0..pairs.crops {
            let weight = pairs.weight(crop) / pairs.images as f64;
            for &other in pairs.teachers(crop) {
                let key = pairs.rows(teacher, other) / self.temperature;
                let positive = (pairs.rows(student, crop) * &key).sum_dim_intlist([-1].as_slice(), true, None);
                let excess = pairs.rows(&negatives, crop) - positive;
                value += excess.softplus().sum(None) * weight;
                let slope = excess.sigmoid() * weight;
                let _ = pairs.rows(&gradient, crop).g_add_(&(slope * (pairs.rows(&pulls, crop) - key)));
            }
        }
        (value, gradient)
    }

    /// For each of `student`'s rows `[rows, width]` the log of the summed exponentials of the negatives' logits,
    /// `[rows, 1]`, and its gradient, `[rows, width]`. The logits, `[rows, K]`, never exist as a whole.
    fn negatives(&self, student: &Tensor) -> (Tensor, Tensor) {
        let of_block = |rows: Tensor| {
            let mut logits = (rows / self.temperature).matmul(&self.queue);
            let sum = logits.logsumexp([-1].as_slice(), true);
            let probabilities = logits.g_sub_(&sum).exp_();
            (sum, probabilities.matmul(&self.queue.tr()) / self.temperature)
        };
        let (sums, pulls): (Vec<_>, Vec<_>) = student.split(BLOCK, 0).into_iter().map(of_block).unzip();
        (Tensor::cat(&sums, 0), Tensor::cat(&pulls, 0))
    }

    /// Puts the `teacher`'s projections `[2·B, width]` into the queue: all of the first crop, then all of the second.
    pub fn update(&mut self, teacher: &Tensor) {
        ring::write(&self.queue, 1, self.pointer, &teacher.tr());
        self.clock.step(self.pointer, teacher.size()[0]);
        self.pointer = (self.pointer + teacher.size()[0]) % self.queue.size()[1];
    }

    /// When its keys were written. After a [`load`](Self::load) all count as written before.
    pub fn row_ages(&self) -> RowAges {
        self.clock.ages()
    }

    /// Its tensors under their published names: the queue and the pointer, `[1]` int64.
    pub fn state(&self) -> Vec<(&'static str, Tensor)> {
        vec![("queue", self.queue.shallow_clone()), ("queue_ptr", Tensor::from_slice(&[self.pointer]))]
    }

    /// Copies queue and pointer from the tensors called `prefix` + their names.
    ///
    /// # Errors
    /// A tensor is missing or has another shape. The queue may then have been overwritten.
    pub fn load(&mut self, tensors: &NamedTensors, prefix: &str) -> Result<(), LoadError> {
        let pointer = find(tensors, prefix, "queue_ptr", &[1])?.int64_value(&[0]);
        copy_into(&self.queue, tensors, prefix, "queue")?;
        self.pointer = pointer.rem_euclid(self.queue.size()[1]);
        // A random key cannot be told from another.
        self.clock.load(|_| true);
        Ok(())
    }
}
