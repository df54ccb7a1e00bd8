//! Which crops are compared, and how much each comparison counts.

use tch::Tensor;

use crate::mutants::{self, Mutant};

/// Large crops per image, of the teacher and of the student.
const LARGE: usize = 2;

/// Which of a step's student crops some rows are: `count` crops from number `first` on, of `all`. A loss is a sum over
/// student crops, so that the losses of the parts add up to that of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of the first crop, from 0.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// All student crops of an image in the step.
    pub all: usize,
}

/// A step's crops: `images` images, two large crops of the teacher; of the student two large ones and then any number
/// of local ones. All rows are crop-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pairs {
    pub(super) images: i64,
    /// Student crops that there are rows of.
    pub(super) crops: usize,
    part: Part,
}

impl Pairs {
    /// From the rows of the student's and the teacher's outputs; without a part the student's are all there are.
    pub(super) fn of(student: &Tensor, teacher: &Tensor, part: Option<Part>) -> Pairs {
        let images = teacher.size()[0] / LARGE as i64;
        let crops = (student.size()[0] / images.max(1)) as usize;
        Pairs { images, crops, part: part.unwrap_or(Part { first: 0, count: crops, all: crops }) }
    }

    /// The teacher crops that the rows' crop `crop` is compared with: not the one of its own number, since a large crop
    /// may be a copy of it.
    pub(super) fn teachers(self, crop: usize) -> &'static [usize] {
        match self.part.first + crop {
            _ if mutants::active(Mutant::SamePair) => &[0, 1],
            0 => &[1],
            1 => &[0],
            _ => &[0, 1],
        }
    }

    /// The share of one comparison of crop `crop` in the loss: the large crops make up half of it and the local crops
    /// the other half. Without local crops, where the published code divides by zero, the large ones are all there is.
    pub(super) fn weight(self, crop: usize) -> f64 {
        let local_pairs = LARGE * self.part.all.saturating_sub(LARGE);
        match (self.part.first + crop < LARGE, local_pairs) {
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
            let pairs = Pairs { images: 4, crops, part: Part { first: 0, count: crops, all: crops } };
            let sum: f64 = (0..crops).map(|crop| pairs.weight(crop) * pairs.teachers(crop).len() as f64).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{crops} crops: {sum}");
        }
    }
}
