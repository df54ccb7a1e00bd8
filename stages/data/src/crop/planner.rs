//! Draws the plans of a picture's crops by the published recipes.

use mugs_random::{Address, Draws};
use mugs_simd::Level;

use super::config::{CropConfig, CropConfigError};
use super::plan::{CropPlan, Noise, PicturePlan, StrongCrop, WeakCrop};
use super::policy::Policy;
use super::profile::{Profile, Task};
use super::renderer::Renderer;
use super::rules::Rules;
use super::sample::{self, blocks};
use crate::item::{CropSet, Cropped, Picture};
use crate::pool::Pool;

/// Lane of the picture's own draws.
const PICTURE_LANE: u16 = u16::MAX;
/// Added to a crop's number: the lane of its erasing.
const ERASE_LANES: u16 = 0x8000;
/// Crops of the large size: t1, t2, s1, s2.
const GLOBAL_CROPS: u16 = 4;

/// Probability that a crop is mirrored.
const FLIP: f64 = 0.5;
/// Probability of the colour jitter.
const JITTER: f64 = 0.8;
/// Probability that the colours are taken away.
const GRAY: f64 = 0.2;

/// The probabilities in which the weak recipes differ.
#[derive(Clone, Copy, Debug)]
struct Weak {
    blur: f64,
    solarize: f64,
}

/// The teacher's first crop, and the student's first if it is weak.
const W1: Weak = Weak { blur: 1.0, solarize: 0.0 };
/// The teacher's second crop, and the student's second if it is weak.
const W2: Weak = Weak { blur: 0.1, solarize: 0.2 };
/// Weak local crops.
const WL: Weak = Weak { blur: 0.5, solarize: 0.0 };

/// How large crops of a kind are, in the picture and finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Least and largest part of the picture's area.
    pub scale: [f64; 2],
    /// Side of the finished crop in pixels.
    size: usize,
}

/// Draws what becomes of pictures.
///
/// A plan is a pure function of the seed, the epoch, the position and the picture's size: no worker, order of calls or
/// resumed run changes it. The addresses of all draws are listed in the source of the samplers, `crop/sample.rs`.
#[derive(Clone, Debug)]
pub struct Planner {
    pub(super) seed: u64,
    pub(super) global: Extent,
    pub(super) local: Extent,
    locals: u16,
    prob: f64,
    pub(super) re_prob: f64,
    color_aug: bool,
    pub(super) vanilla: bool,
    pub(super) policy: Policy,
    pub(super) rules: Rules,
}

impl Planner {
    /// A planner of the run with this seed.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn new(seed: u64, config: &CropConfig) -> Result<Planner, CropConfigError> {
        let policy = config.policy()?;
        Ok(Planner {
            seed,
            global: Extent { scale: config.global_crops_scale, size: config.global_crops_size },
            local: Extent { scale: config.local_crops_scale, size: config.size_crops },
            locals: config.local_crops_number as u16,
            prob: config.prob,
            re_prob: config.re_prob,
            color_aug: config.color_aug,
            vanilla: config.vanilla_weak_augmentation,
            policy,
            rules: Rules::PUBLISHED,
        })
    }

    /// Draws all crops of the picture at `position` (below 2^48) of `epoch`, `width` x `height` pixels (1 or more).
    pub fn plan(&self, epoch: u32, position: u64, width: usize, height: usize) -> PicturePlan {
        let place = Place { planner: self, epoch, position, sides: [width, height] };
        let (t1, t2) = (place.weak(0, self.global, W1), place.weak(1, self.global, W2));
        let (weak, s1, s2) = if self.vanilla {
            (true, t1.clone(), t2.clone())
        } else if place.strong_globals() {
            (false, place.strong(2, self.global), place.strong(3, self.global))
        } else {
            (true, place.weak(2, self.global, W1), place.weak(3, self.global, W2))
        };
        let locals = (GLOBAL_CROPS..GLOBAL_CROPS + self.locals).map(|crop| place.local(crop));
        PicturePlan { weak, crops: [t1, t2, s1, s2].into_iter().chain(locals).collect() }
    }
}

/// A picture at its place in the run.
#[derive(Clone, Copy)]
struct Place<'p> {
    planner: &'p Planner,
    epoch: u32,
    position: u64,
    /// Width and height.
    sides: [usize; 2],
}

impl Place<'_> {
    fn lane(&self, lane: u16) -> Draws {
        Draws::at(self.planner.seed, Address { epoch: self.epoch, position: self.position, lane })
    }

    fn strong_globals(&self) -> bool {
        let planner = self.planner;
        (planner.rules.strong)(self.lane(PICTURE_LANE).uniform_f64(), planner.prob)
    }

    fn local(&self, crop: u16) -> CropPlan {
        let Planner { local, rules, prob, .. } = *self.planner;
        let mut lane = self.lane(crop);
        lane.seek(blocks::FLIP);
        if (rules.strong)(lane.uniform_f64(), prob) { self.strong(crop, local) } else { self.weak(crop, local, WL) }
    }

    fn weak(&self, crop: u16, extent: Extent, recipe: Weak) -> CropPlan {
        let mut lane = self.lane(crop);
        let (jitter, gray) = colours(&mut lane);
        lane.seek(blocks::EFFECTS);
        let (blurred, solarize) = (lane.chance(recipe.blur), lane.chance(recipe.solarize));
        CropPlan::Weak(WeakCrop {
            crop: sample::crop_box(&mut lane, self.sides, extent.scale, &self.planner.rules),
            size: extent.size,
            flip: flip(&mut lane),
            jitter: jitter.then(|| sample::jitter(&mut lane)),
            gray,
            blur: blurred.then(|| sample::blur_radius(&mut lane)),
            solarize,
        })
    }

    fn strong(&self, crop: u16, extent: Extent) -> CropPlan {
        let planner = self.planner;
        let mut lane = self.lane(crop);
        let (jitter, gray) = if planner.color_aug { colours(&mut lane) } else { (false, false) };
        let noise = Noise { seed: planner.seed, epoch: self.epoch, position: self.position, lane: ERASE_LANES + crop };
        CropPlan::Strong(StrongCrop {
            flip: flip(&mut lane),
            ops: planner.policy.draw(&mut lane, &planner.rules),
            jitter: jitter.then(|| sample::jitter(&mut lane)),
            gray,
            crop: sample::crop_box(&mut lane, self.sides, extent.scale, &planner.rules),
            size: extent.size,
            erase: sample::erase(&mut self.lane(noise.lane), planner.re_prob, extent.size, noise),
        })
    }
}

fn flip(lane: &mut Draws) -> bool {
    lane.seek(blocks::FLIP);
    // Before it lies the draw of strong or weak, which only local crops use.
    lane.uniform_f64();
    lane.chance(FLIP)
}

/// Whether the colours are jittered, and whether they are taken away.
fn colours(lane: &mut Draws) -> (bool, bool) {
    lane.seek(blocks::COLOUR);
    (lane.chance(JITTER), lane.chance(GRAY))
}

/// The crop stage's work: plans and renders a picture's crops. Every worker has one.
pub struct Cropper {
    planner: Planner,
    renderer: Renderer,
    profile: Profile,
    pool: Pool,
}

impl Cropper {
    /// Crops as `planner` plans, on the path `level`, into buffers of `pool`, counting work in `profile`.
    pub fn new(planner: Planner, level: Level, pool: Pool, profile: Profile) -> Self {
        Self { planner, renderer: Renderer::profiled(level, profile.clone()), profile, pool }
    }

    /// Makes the crops of one picture.
    pub fn crop(&mut self, picture: &Picture) -> Cropped {
        let Picture { origin, image } = picture;
        let plan = self
            .profile
            .run(Task::Plan, || self.planner.plan(origin.epoch, origin.position, image.width, image.height));
        let sides = plan.crops.iter().map(CropPlan::size).collect();
        let crops = CropSet::new(&self.pool, sides, |out| self.renderer.render(image, &plan, out));
        let erase = plan.crops.iter().map(CropPlan::erase).collect();
        Cropped { weak: plan.weak, crops, erase, origin: origin.clone() }
    }
}
