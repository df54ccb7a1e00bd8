//! What the micro-batches of a step leave for its end: the teacher's keys, logits' means and patch means.

use tch::Tensor;

use super::StepInput;
use super::ranks::{Left, crop_major};
use crate::model::Outputs;

/// The outputs that queues, centre and memories take at the end of a step, micro-batch by micro-batch.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Of each micro-batch `[2·B, width]`, crop first.
    instance: Vec<Tensor>,
    local_group: Vec<Tensor>,
    /// The means of each micro-batch's logits, `[1, clusters]`.
    group: Vec<Tensor>,
    /// The patch means of the teacher's first crop, `[B, D]`.
    teacher_means: Vec<Tensor>,
    /// Of the student's first large crop.
    student_means: Vec<Tensor>,
    weak: Vec<bool>,
    /// Mean entropies of the clusters' targets, scalars.
    entropies: Vec<Tensor>,
}

impl Gathered {
    /// Takes a micro-batch. The patch means are those of all large crops, `[2·B, D]`; the entropy is that of its targets.
    pub(super) fn take(
        &mut self,
        input: &StepInput,
        student_means: Option<&Tensor>,
        teacher: Outputs,
        entropy: Option<Tensor>,
    ) {
        let Outputs { instance, local_group, group, patch_mean, .. } = teacher;
        let first = |means: &Tensor| means.narrow(0, 0, input.images());
        self.instance.extend(instance);
        self.local_group.extend(local_group);
        self.group.extend(group.map(|logits| logits.mean_dim([0].as_slice(), true, None)));
        self.teacher_means.push(first(&patch_mean));
        self.student_means.extend(student_means.map(first));
        self.weak.extend(&input.weak);
        self.entropies.extend(entropy);
    }

    /// The mean entropy of all targets, a scalar.
    fn target_entropy(&self) -> Option<Tensor> {
        let count = self.entropies.len();
        (count > 0).then(|| self.entropies.iter().sum::<Tensor>() / count as f64)
    }

    /// What one batch of all images would have left, with one row of group logits a micro-batch.
    pub(super) fn merge(self) -> Left {
        let all = |parts: &[Tensor]| Tensor::cat(parts, 0);
        let target_entropy = self.target_entropy();
        let crops = |parts: Vec<Tensor>| (!parts.is_empty()).then(|| crop_major(parts));
        let teacher = Outputs {
            instance: crops(self.instance),
            local_group: crops(self.local_group),
            group: (!self.group.is_empty()).then(|| all(&self.group)),
            last_layer: None,
            kept: Vec::new(),
            patch_mean: all(&self.teacher_means),
        };
        Left { teacher, student_means: all(&self.student_means), weak: self.weak, target_entropy }
    }
}
