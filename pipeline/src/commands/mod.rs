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
use mugs_data::bad::OnBadSample;
use mugs_shards::{ShardError, ShardSet};

use crate::config::RunConfig;

/// Opens the set that `--data_path` names.
pub(crate) fn open_set(config: &RunConfig) -> Result<ShardSet> {
    let path = Path::new(&config.data_path);
    ensure!(
        !config.data_path.is_empty(),
        "--data_path is missing: the folder of a shard set, made by `mugs-shard pack`"
    );
    match ShardSet::open(path) {
        // What is missing of a cut shard is found to be bad sample by sample.
        Err(error @ ShardError::Size { .. }) if config.on_bad_sample()? == OnBadSample::Skip => {
            tracing::warn!("{error}; --on_bad_sample skip: what is there is used");
            Ok(ShardSet::open_partial(path)?)
        }
        opened => Ok(opened?),
    }
}
