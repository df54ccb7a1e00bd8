//! The data stages: fetch, decode, crop (plan and render) and batch, without libtorch.
//!
//! ```text
//! fetch ──Fetched──▶ decode ──Picture──▶ crop ──Cropped──▶ batch ──Batch──▶ learn
//! ```
//!
//! * [`order`] says which sample stands at which position of an epoch;
//! * [`fetch`] reads the samples of a rank in that order;
//! * [`bad`] says what becomes of samples that cannot be used;
//! * [`decode`] turns their bytes into pictures;
//! * [`crop`] plans a picture's crops and renders them;
//! * [`batch`] puts the crops of many pictures together.
//!
//! Each stage is built from its configuration and knows no other stage; the program that joins them to a
//! [`Flow`](mugs_flow::Flow) decides on threads and capacities.

pub mod bad;
pub mod batch;
pub mod crop;
pub mod decode;
mod error;
pub mod fetch;
mod item;
pub mod order;
pub mod pool;

pub use error::DataError;
pub use item::{CropSet, Cropped, Dropped, Fetched, Origin, Picture};
