//! `mugs-shard wids`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mugs_shards::{ShardSet, WidsIndex};

use super::write_json;

const EXAMPLES: &str = "Examples:
  mugs-shard wids shards/train --out shards/train/wids.json
  mugs-shard wids shards/train --base-url https://example.org/train > train.json";

/// Writes the index by which Python's wids reads a set: wids-shard-index-v1, with the MD5 of each shard.
///
/// Reads all shards once. They must not be compressed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Wids {
    /// Folder of the set.
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// Write it to this file, by default to stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the shards are found; by default beside the index.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
}

impl Wids {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let set = ShardSet::open(&self.set)?;
        let bar = ProgressBar::with_draw_target(Some(set.manifest().bytes()), ProgressDrawTarget::stderr());
        let template =
            "{elapsed_precise} {wide_bar} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, ETA {eta}";
        bar.set_style(ProgressStyle::with_template(template)?);
        let index = WidsIndex::new(&set, self.base_url.as_deref(), &|bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        match &self.out {
            Some(path) => {
                let mut text = serde_json::to_vec_pretty(&index)?;
                text.push(b'\n');
                std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => write_json(&mut io::stdout().lock(), &index)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
