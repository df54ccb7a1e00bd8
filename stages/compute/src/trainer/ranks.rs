//! What ranks tell each other at the end of a step, beside gradients.

use tch::{Device, Kind, Tensor};

use super::StepReport;
use crate::collective::{Collective, CollectiveError};
use crate::model::Outputs;

/// Large crops of the teacher.
const CROPS: i64 = 2;

/// What a step leaves for queues, centre and memories.
#[derive(Debug)]
pub(super) struct Left {
    /// The teacher's outputs, with the first crop's patch means alone and rows of group logits that stand for all.
    pub(super) teacher: Outputs,
    /// The patch means of the student's first large crop, `[images, D]`.
    pub(super) student_means: Tensor,
    /// Whether the images' student crops are weak.
    pub(super) weak: Vec<bool>,
    /// Mean entropy of the clusters' targets, a scalar.
    pub(super) target_entropy: Option<Tensor>,
}

/// The losses of all ranks: their means, and each rank's own.
pub(super) fn losses(own: &StepReport, group: &dyn Collective) -> Result<StepReport, CollectiveError> {
    let values: Vec<f64> = std::iter::once(own.total).chain(own.terms.iter().map(|(_, value)| *value)).collect();
    let all = group.all_gather(&Tensor::from_slice(&values).to_device(group.device()))?;
    let by_rank: Vec<Vec<f64>> =
        all.iter().map(|row| Vec::try_from(row.to_device(Device::Cpu)).unwrap_or_default()).collect();
    let mean = |index: usize| by_rank.iter().map(|row| row[index]).sum::<f64>() / by_rank.len() as f64;
    let terms = own.terms.iter().enumerate().map(|(index, (name, _))| (*name, mean(index + 1))).collect();
    Ok(StepReport { total: mean(0), terms, by_rank, ..StepReport::default() })
}

/// What the step would leave if one rank had had all images: rows in rank order, crop first.
pub(super) fn gather(own: Left, group: &dyn Collective) -> Result<Left, CollectiveError> {
    let images = own.weak.len() as i64;
    let weak: Vec<f32> = own.weak.iter().map(|weak| f32::from(u8::from(*weak))).collect();
    let teacher = own.teacher;
    let device = own.student_means.device();
    let parts = [
        teacher.instance.as_ref(),
        teacher.local_group.as_ref(),
        Some(&teacher.patch_mean),
        Some(&own.student_means),
        Some(&Tensor::from_slice(&weak).to_device(device)),
        own.target_entropy.as_ref(),
    ];
    // One call for all of them: small messages cost their way, not their length.
    let row: Vec<Tensor> = parts.iter().flatten().map(|part| part.to_kind(Kind::Float).reshape([-1])).collect();
    let rows = group.all_gather(&Tensor::cat(&row, 0))?;
    let mut start = 0;
    let mut next = |part: Option<&Tensor>| -> Option<Vec<Tensor>> {
        let part = part?;
        let (length, shape) = (part.numel() as i64, part.size());
        start += length;
        Some(rows.iter().map(|row| row.narrow(0, start - length, length).reshape(shape.as_slice())).collect())
    };
    let [instance, local_group, patch_mean, student_means, weak, entropy] = parts.map(&mut next);
    let stacked = |parts: Option<Vec<Tensor>>| parts.map(|parts| Tensor::cat(&parts, 0));
    let group_logits = teacher.group.as_ref().map(|logits| mean_row(logits, group)).transpose()?;
    let missing = || Tensor::zeros([0, 1], (Kind::Float, device));
    debug_assert_eq!(patch_mean.as_ref().map_or(0, |parts| parts[0].size()[0]), images);
    Ok(Left {
        teacher: Outputs {
            instance: instance.map(crop_major),
            local_group: local_group.map(crop_major),
            group: group_logits,
            last_layer: None,
            kept: Vec::new(),
            patch_mean: stacked(patch_mean).unwrap_or_else(missing),
        },
        student_means: stacked(student_means).unwrap_or_else(missing),
        weak: stacked(weak).map(flags).unwrap_or_default(),
        target_entropy: entropy.map(|parts| Tensor::stack(&parts, 0).mean(Kind::Float)),
    })
}

/// The mean over all rows `[rows, clusters]` of all ranks, `[1, clusters]`.
fn mean_row(logits: &Tensor, group: &dyn Collective) -> Result<Tensor, CollectiveError> {
    let sum = logits.mean_dim([0].as_slice(), true, Kind::Float).contiguous();
    group.all_reduce(&sum)?;
    Ok(sum / group.world() as f64)
}

/// Parts `[2·B, width]`, crop first, as one whose first crop holds the first of all parts.
pub(super) fn crop_major(parts: Vec<Tensor>) -> Tensor {
    let crops =
        (0..CROPS).flat_map(|crop| parts.iter().map(move |part| part.chunk(CROPS, 0).swap_remove(crop as usize)));
    Tensor::cat(&crops.collect::<Vec<_>>(), 0)
}

fn flags(weak: Tensor) -> Vec<bool> {
    let numbers = Vec::<f32>::try_from(weak.to_device(Device::Cpu)).unwrap_or_default();
    numbers.into_iter().map(|number| number > 0.5).collect()
}
