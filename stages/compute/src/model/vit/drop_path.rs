//! Stochastic depth: in training a residual branch is skipped for some samples.
//!
//! G. Huang et al.: "Deep networks with stochastic depth", ECCV 2016.

use mugs_random::{Address, Draws, derive};
use tch::{Kind, TchError, Tensor};

/// Which of a block's two residual branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// The attention.
    Attention,
    /// The MLP.
    Mlp,
}

/// A place in the network where a branch may be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The block's number, from 0.
    pub block: usize,
    /// The branch in it.
    pub branch: Branch,
}

type Draw<'a> = dyn Fn(Site, usize, usize) -> f32 + 'a;

/// One step's draws of stochastic depth, or none at all.
pub struct DropPath<'a> {
    /// The images per crop and their uniform draws by site, crop and image.
    draws: Option<(usize, Box<Draw<'a>>)>,
}

impl<'a> DropPath<'a> {
    /// Every branch is used for every sample: the teacher, and evaluation.
    pub fn off() -> Self {
        DropPath { draws: None }
    }

    /// The draws of a training step. Image i of every crop is at `positions[i]` of the global batch: its draws do not
    /// depend on the rank that computes it, nor on how many ranks there are.
    ///
    /// Philox key: `seed` for the purpose "stochastic depth". Counter: `step` as the epoch, the position, the student
    /// crop's number (0 and 1 are the large ones) as the lane, the network's block as the generator's block; word 0 is
    /// for the attention branch, word 1 for the MLP branch.
    pub fn of_step(seed: u64, step: u32, positions: Vec<u64>) -> Self {
        let key = derive(seed, "stochastic depth");
        Self::from_draws(positions.len(), move |site, crop, image| {
            let mut draws = Draws::at(key, Address { epoch: step, position: positions[image], lane: crop as u16 });
            draws.seek(site.block as u32);
            if site.branch == Branch::Mlp {
                draws.next_u32();
            }
            draws.uniform_f32()
        })
    }

    /// Uniform draws in [0, 1) given by `draw(site, student crop, image)`, with `images` images per crop.
    pub fn from_draws(images: usize, draw: impl Fn(Site, usize, usize) -> f32 + 'a) -> Self {
        DropPath { draws: Some((images, Box::new(draw))) }
    }

    /// What a sample's branch output is multiplied by at a uniform `draw`: 0 for a skipped branch, 1/(1 − rate) for a
    /// kept one. It is kept if floor(1 − rate + draw), in float32, is 1.
    pub fn factor(draw: f32, rate: f64) -> f32 {
        let keep = (1.0 - rate) as f32;
        (keep + draw).floor() / keep
    }

    /// How many crops `samples` samples are; 0 where nothing is drawn and so nobody asks.
    pub(in crate::model) fn crops_in(&self, samples: i64) -> usize {
        self.draws.as_ref().map_or(0, |(images, _)| samples as usize / images)
    }

    /// For a forward pass of samples crop by crop, of which the first crop has number `first`.
    pub(in crate::model) fn starting_at(&self, first: usize) -> Crops<'_> {
        Crops { drop_path: self, first }
    }
}

/// The draws for one batch of equally sized crops.
pub(in crate::model) struct Crops<'a> {
    drop_path: &'a DropPath<'a>,
    first: usize,
}

impl Crops<'_> {
    /// What each of `samples` branch outputs is multiplied by, `[samples]` float32; none if all are kept as they are.
    pub(super) fn factors(&self, site: Site, rate: f64, samples: i64) -> Option<Tensor> {
        self.drawn(site, rate, samples).map(|factors| Tensor::from_slice(&factors))
    }

    fn drawn(&self, site: Site, rate: f64, samples: i64) -> Option<Vec<f32>> {
        let (images, draw) = self.drop_path.draws.as_ref().filter(|_| rate > 0.0)?;
        let crop_and_image = (0..samples as usize).map(|row| (self.first + row / images, row % images));
        let factor = |(crop, image)| DropPath::factor(draw(site, crop, image), rate);
        Some(crop_and_image.map(factor).collect())
    }
}

/// Which samples of a batch take a branch, and what its output is multiplied by.
#[derive(Debug)]
pub(super) enum Taken {
    /// All do, and it counts as it is.
    All,
    /// All go through it; each output is multiplied by its sample's factor, 0 for a skipped branch. `[N, 1, 1]` float32.
    Weighted(Tensor),
    /// Those of these numbers, `[taken]` int64, with one factor for all of them.
    Some(Tensor, f64),
}

impl Crops<'_> {
    /// Who of `samples` `[N, …]` takes the branch at `site`. Others are left out of it where `leaves_out`.
    pub(super) fn taken(&self, site: Site, rate: f64, samples: &Tensor, leaves_out: bool) -> Taken {
        let Some(factors) = self.drawn(site, rate, samples.size()[0]) else { return Taken::All };
        let on_device = |tensor: Tensor| tensor.to_device(samples.device());
        let rows: Vec<i64> = (0..).zip(&factors).filter(|(_, factor)| **factor > 0.0).map(|(row, _)| row).collect();
        if rows.len() == factors.len() || !leaves_out {
            return Taken::Weighted(on_device(Tensor::from_slice(&factors).view([-1, 1, 1])));
        }
        Taken::Some(on_device(Tensor::from_slice(&rows)), f64::from(factors.into_iter().fold(0.0, f32::max)))
    }
}

impl Taken {
    /// Those of `samples` `[N, …]` that go through the branch, none if nobody does.
    pub(super) fn of(&self, samples: &Tensor) -> Option<Tensor> {
        match self {
            Taken::All | Taken::Weighted(_) => Some(samples.shallow_clone()),
            Taken::Some(rows, _) => (rows.numel() > 0).then(|| samples.index_select(0, rows)),
        }
    }

    /// The float32 `samples` `[N, T, D]`, to which the branch's `output` for those that went through it is added.
    pub(super) fn add(&self, samples: &Tensor, output: Option<Tensor>) -> Tensor {
        let Some(output) = output else { return samples.shallow_clone() };
        // One kind for both: libtorch adds tensors of two kinds at half the speed.
        let output = output.to_kind(Kind::Float);
        match self {
            Taken::All => samples + output,
            Taken::Weighted(factors) => samples + output * factors,
            Taken::Some(rows, factor) => samples.index_add(0, rows, &(output * *factor)),
        }
    }

    /// The gradient by the branch's output, for that by the sum, `gradient` `[N, T, D]`.
    pub(super) fn by_output(&self, gradient: &Tensor) -> Tensor {
        match self {
            Taken::All => gradient.shallow_clone(),
            Taken::Weighted(factors) => gradient * factors,
            Taken::Some(rows, factor) => gradient.index_select(0, rows) * *factor,
        }
    }

    /// Adds the gradient by those that went through the branch to that by all of them.
    pub(super) fn add_in_place(&self, gradient: &mut Tensor, by_taken: &Tensor) -> Result<(), TchError> {
        match self {
            Taken::All | Taken::Weighted(_) => gradient.f_add_(by_taken),
            Taken::Some(rows, _) => gradient.f_index_add_(0, rows, by_taken),
        }
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_belong_to_positions_not_to_ranks() {
        let whole = DropPath::of_step(3, 5, (0..6).collect());
        let second_of_two = DropPath::of_step(3, 5, vec![1, 3, 5]);
        let site = Site { block: 2, branch: Branch::Mlp };
        let rows = |drop_path: &DropPath<'_>, rows| {
            Vec::<f32>::try_from(drop_path.starting_at(2).factors(site, 0.5, rows).unwrap()).unwrap()
        };
        let (all, part) = (rows(&whole, 24), rows(&second_of_two, 12));
        for (row, factor) in part.iter().enumerate() {
            let (crop, image) = (row / 3, row % 3);
            assert_eq!(*factor, all[6 * crop + 2 * image + 1]);
        }
        assert!(all.contains(&0.0) && all.contains(&2.0));
    }

    #[test]
    fn sites_crops_and_steps_draw_apart() {
        let draw = |step, crop, block, branch| {
            let drop_path = DropPath::of_step(3, step, vec![9]);
            let (_, draw) = drop_path.draws.as_ref().unwrap();
            draw(Site { block, branch }, crop, 0)
        };
        let base = draw(5, 2, 1, Branch::Attention);
        assert_eq!(base, draw(5, 2, 1, Branch::Attention));
        let others = [
            draw(6, 2, 1, Branch::Attention),
            draw(5, 3, 1, Branch::Attention),
            draw(5, 2, 2, Branch::Attention),
            draw(5, 2, 1, Branch::Mlp),
        ];
        assert!(others.iter().all(|other| *other != base), "{base} {others:?}");
    }

    #[test]
    fn the_share_of_skipped_branches_is_the_rate() {
        let drop_path = DropPath::of_step(1, 0, (0..10_000).collect());
        let site = Site { block: 0, branch: Branch::Attention };
        let factors = drop_path.starting_at(0).factors(site, 0.3, 10_000).unwrap();
        let factors = Vec::<f32>::try_from(factors).unwrap();
        let skipped = factors.iter().filter(|factor| **factor == 0.0).count() as f64;
        // Five standard errors of a binomial share.
        assert!((skipped / 1e4 - 0.3).abs() < 5.0 * (0.21_f64 / 1e4).sqrt(), "{skipped}");
        assert!(factors.iter().all(|factor| *factor == 0.0 || *factor == 1.0 / 0.7));
    }
}
