//! The commands beside `train`.

mod bench;
mod cpu;
mod crops;
mod doctor;
mod features;
mod inspect;
mod jpeg_effect;
mod knn;
mod recipes;

pub use bench::bench;
pub use crops::crops;
pub use doctor::doctor;
pub use inspect::inspect;
pub use knn::knn;
pub use recipes::recipes;
