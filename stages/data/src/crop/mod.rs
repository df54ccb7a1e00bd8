//! From a decoded picture to its crops: plan, then render.

mod floats;
mod plan;
mod render;

pub use floats::Floats;
pub use mugs_image::ops::tensor::Erasing;
pub use plan::{CropBox, CropPlan, Erase, JitterStep, Noise, Operator, PicturePlan, Resample, StrongCrop, WeakCrop};
pub use render::{render, render_picture, render_watched};
