//! What the micro-batches of a step leave for its end: the teacher's keys, logits' means and patch means.

use tch::Tensor;

use super::StepInput;
use crate::model::Outputs;

/// Large crops of the teacher.
const CROPS: i64 = 2;

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
    pub(super) fn target_entropy(&self) -> Option<Tensor> {
        let count = self.entropies.len();
        (count > 0).then(|| self.entropies.iter().sum::<Tensor>() / count as f64)
    }

    /// What one batch of all images would have left: the teacher's outputs, with the first crop's patch means alone
    /// and one row of group logits a micro-batch; the student's patch means; the weak flags.
    pub(super) fn merge(self) -> (Outputs, Tensor, Vec<bool>) {
        let crop_major = |parts: &[Tensor]| -> Option<Tensor> {
            let crops = (0..CROPS)
                .flat_map(|crop| parts.iter().map(move |part| part.chunk(CROPS, 0).swap_remove(crop as usize)));
            (!parts.is_empty()).then(|| Tensor::cat(&crops.collect::<Vec<_>>(), 0))
        };
        let all = |parts: &[Tensor]| Tensor::cat(parts, 0);
        let outputs = Outputs {
            instance: crop_major(&self.instance),
            local_group: crop_major(&self.local_group),
            group: (!self.group.is_empty()).then(|| all(&self.group)),
            last_layer: None,
            kept: Vec::new(),
            patch_mean: all(&self.teacher_means),
        };
        (outputs, all(&self.student_means), self.weak)
    }
}
