//! The commands beside `train`.

mod bench;
mod contact_sheet;
mod cpu;
mod crops;
mod features;
mod knn;

pub use bench::bench;
pub use crops::crops;
pub use knn::knn;

use std::path::Path;

use anyhow::{Result, ensure};
use mugs_shards::ShardSet;

/// Opens the set that `--data_path` names.
pub(crate) fn open_set(path: &str) -> Result<ShardSet> {
    ensure!(!path.is_empty(), "--data_path is missing: the folder of a shard set, made by `mugs-shard pack`");
    Ok(ShardSet::open(Path::new(path))?)
}
