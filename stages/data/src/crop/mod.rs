//! From a decoded picture to its crops: plan, then render.

mod config;
mod floats;
mod plan;
mod planner;
mod policy;
mod profile;
mod render;
mod renderer;
mod rules;
mod sample;
#[cfg(test)]
mod tests;
mod work;

pub use config::{CropConfig, CropConfigError};
pub use floats::Floats;
pub use mugs_image::ops::tensor::Erasing;
pub use plan::{CropBox, CropPlan, Erase, JitterStep, Noise, Operator, PicturePlan, Resample, StrongCrop, WeakCrop};
pub use planner::{Cropper, Planner};
pub use policy::{Policy, PolicyError};
pub use profile::{Profile, Task};
pub use render::{render, render_watched};
pub use renderer::Renderer;
