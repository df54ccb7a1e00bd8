//! What `--data_path` names: a shard set, or pictures that are packed into one first.

mod cache;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mugs_data::bad::OnBadSample;
use mugs_shards::{MANIFEST, ShardError, ShardSet};

use crate::config::RunConfig;

pub use self::cache::pack;

/// What there is to train on.
pub enum Data {
    /// A shard set.
    Set(ShardSet),
    /// A folder that may hold pictures.
    Pictures(PathBuf),
}

/// Looks what `--data_path` is, and opens it if it is a set.
pub fn find(config: &RunConfig) -> Result<Data> {
    let path = Path::new(&config.data_path);
    ensure!(
        !config.data_path.is_empty(),
        "--data_path is missing: a shard set made by `mugs-shard pack`, or a folder of pictures"
    );
    if is_set(path)? {
        return open_set_at(path, config.on_bad_sample()?).map(Data::Set);
    }
    Ok(Data::Pictures(path.to_path_buf()))
}

/// Opens the set that `--data_path` names, for a command that packs nothing.
pub fn open_set(config: &RunConfig) -> Result<ShardSet> {
    match find(config)? {
        Data::Set(set) => Ok(set),
        Data::Pictures(path) => bail!(not_packed(&path)),
    }
}

/// Opens a set of which nothing may be bad.
pub fn open(path: &Path) -> Result<ShardSet> {
    ensure!(is_set(path)?, not_packed(path));
    open_set_at(path, OnBadSample::Fail)
}

fn not_packed(path: &Path) -> String {
    let path = path.display();
    format!(
        "{path} is no shard set (it has no {MANIFEST}): pack its pictures first with `mugs-shard pack {path} SET`, and \
         name the folder SET (`mugs-pipeline train` alone packs a folder of pictures itself)"
    )
}

fn open_set_at(path: &Path, on_bad_sample: OnBadSample) -> Result<ShardSet> {
    match ShardSet::open(path) {
        // What is missing of a cut shard is found to be bad sample by sample.
        Err(error @ ShardError::Size { .. }) if on_bad_sample == OnBadSample::Skip => {
            tracing::warn!("{error}; --on_bad_sample skip: what is there is used");
            Ok(ShardSet::open_partial(path)?)
        }
        opened => Ok(opened?),
    }
}

/// Whether there is a set; if not, it is a folder in which there may be pictures.
fn is_set(path: &Path) -> Result<bool> {
    const KINDS: &str = "a shard set (a folder with a manifest.json, as `mugs-shard pack` makes it) or a folder of \
                         pictures (class folders, or flat without labels)";
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {shown}; it should be {KINDS}"))?;
    ensure!(
        metadata.is_dir(),
        "{shown} is a file; it should be {KINDS}. `mugs-shard pack {shown} SET` makes a set of ImageNet's tars, other \
         tars or a list"
    );
    if path.join(MANIFEST).is_file() {
        return Ok(true);
    }
    ensure!(
        !path.join(".packing").exists(),
        "{shown} is a shard set that is not finished: repeat the `mugs-shard pack` that began it, which goes on"
    );
    let names = fs::read_dir(path).with_context(|| format!("cannot read {shown}"))?;
    let tar = |name: &str| [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|end| name.ends_with(end));
    let tars = names.flatten().any(|entry| entry.file_name().to_str().is_some_and(tar));
    ensure!(
        !tars,
        "{shown} holds tars but no {MANIFEST}; it should be {KINDS}. `mugs-shard index {shown}` makes a set of tars made \
         elsewhere, `mugs-shard pack {shown} SET` packs them anew"
    );
    Ok(false)
}
