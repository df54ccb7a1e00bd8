//! From a decoded picture to its crops: plan, then render.

mod plan;

pub use plan::{CropBox, CropPlan, Erase, JitterStep, Noise, Operator, PicturePlan, Resample, StrongCrop, WeakCrop};
