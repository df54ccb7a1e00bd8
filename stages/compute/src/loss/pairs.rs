//! Which crops are compared, and how much each comparison counts.

use tch::Tensor;

use crate::mutants::{self, Mutant};

/// Large crops per image, of the teacher and of the student.
const LARGE: usize = 2;

/// A step's crops: `images` images, two large crops of the teacher; of the student two large ones and then any number
/// of local ones. All rows are crop-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pairs {
    pub(super) images: i64,
    pub(super) crops: usize,
}

impl Pairs {
    /// From the rows of the student's and the teacher's outputs.
    pub(super) fn of(student: &Tensor, teacher: &Tensor) -> Pairs {
        let images = teacher.size()[0] / LARGE as i64;
        Pairs { images, crops: (student.size()[0] / images.max(1)) as usize }
    }

    /// The teacher crops that student crop `crop` is compared with: not the one of its own number, since a large crop
    /// may be a copy of it.
    pub(super) fn teachers(self, crop: usize) -> &'static [usize] {
        match crop {
            _ if mutants::active(Mutant::SamePair) => &[0, 1],
            0 => &[1],
            1 => &[0],
            _ => &[0, 1],
        }
    }

    /// The share of one comparison of crop `crop` in the loss: the large crops make up half of it and the local crops
    /// the other half. Without local crops, where the published code divides by zero, the large ones are all there is.
    pub(super) fn weight(self, crop: usize) -> f64 {
        let local_pairs = LARGE * self.crops.saturating_sub(LARGE);
        match (crop < LARGE, local_pairs) {
            (true, 0) => 1.0 / LARGE as f64,
            (true, _) => 0.5 / LARGE as f64,
            (false, pairs) => 0.5 / pairs as f64,
        }
    }

    /// The rows of one crop, `[images, width]`.
    pub(super) fn rows(self, outputs: &Tensor, crop: usize) -> Tensor {
        outputs.narrow(0, crop as i64 * self.images, self.images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_all_comparisons_sum_to_one() {
        for crops in [2, 3, 4, 12] {
            let pairs = Pairs { images: 4, crops };
            let sum: f64 = (0..crops).map(|crop| pairs.weight(crop) * pairs.teachers(crop).len() as f64).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{crops} crops: {sum}");
        }
    }
}
