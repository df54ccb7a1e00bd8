//! A rendered batch as the trainer's input.

use mugs_compute::trainer::StepInput;
use tch::Tensor;

use crate::render::{Planes, Rendered};

/// The tensors of step `step` (counted over the whole run) on the host; `global_batch` is G.
pub fn step_input(batch: &Rendered, step: u64, global_batch: u64) -> StepInput {
    StepInput {
        global: tensor(&batch.global),
        local: (batch.local.count > 0).then(|| tensor(&batch.local)),
        weak: batch.contents.weak.clone(),
        positions: batch.contents.positions.iter().map(|position| position % global_batch).collect(),
        step,
    }
}

/// `[count, 3, S, S]` f32.
fn tensor(planes: &Planes) -> Tensor {
    let (count, size) = (planes.count as i64, planes.size as i64);
    Tensor::from_slice(&planes.values).view([count, 3, size, size])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mugs_data::batch::Contents;

    use mugs_data::pool::Pool;

    use super::*;

    #[test]
    fn positions_are_those_in_the_global_batch() {
        let contents = Contents {
            epoch: 0,
            positions: vec![30, 31],
            keys: vec![Arc::from("a"), Arc::from("b")],
            labels: vec![None; 2],
            weak: vec![true, false],
            dropped: Vec::new(),
        };
        let planes = |count, size: usize| {
            let mut values = Pool::default().take(count * 3 * size * size);
            values.fill(0.5);
            Planes { count, size, values }
        };
        let input = step_input(&Rendered { contents, global: planes(8, 4), local: planes(0, 0) }, 7, 4);
        assert_eq!((input.positions, input.weak, input.step), (vec![2, 3], vec![true, false], 7));
        assert_eq!(input.global.size(), [8, 3, 4, 4]);
        assert!(input.local.is_none());
    }
}
