//! `mugs-shard index`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mugs_shards::{Dots, IndexConfig, PackError, index_tars, tars_of};

use super::stop::Stop;
use super::{Format, count, parse_name, write_json};

const EXAMPLES: &str = "Examples:
  mugs-shard index others/train
  mugs-shard index 'others/imagenet1k-train-{0000..1023}.tar' --name train --classes synsets.txt
  mugs-shard index tracks --dots last";

/// Makes a set of tars that were made elsewhere, without changing them: an index beside each tar, and a manifest.
///
/// The tars must be plain (.tar) and lie in one folder. Then every other command and training read them. A tar that is
/// damaged, a sample without a picture, or a key that is there twice is an error that names the tar, the offset and the
/// key.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Index {
    /// Folder of the tars, or the tars themselves (names with {…} stand for many).
    #[arg(value_name = "TARS", required = true)]
    sources: Vec<PathBuf>,
    /// Name of the set: letters, digits, _ and -.
    #[arg(long, default_value = "train", value_parser = parse_name)]
    name: String,
    /// Where the key of a member ends: at the first dot of its name (as webdataset reads it) or the last.
    #[arg(long, value_enum, default_value_t = Dots::First)]
    dots: Dots,
    /// Names of the classes in the order of their numbers: one in each line, or a JSON list.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Index {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Stop::on_signals()?;
        let (folder, paths) = tars_of(&self.sources)?;
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{elapsed_precise} {decimal_bytes}, {decimal_bytes_per_sec}")?);
        let config = IndexConfig { name: self.name.clone(), dots: self.dots, classes: self.classes.clone() };
        let result = index_tars(&folder, paths, &config, &|bytes| bar.inc(bytes), stop.flag());
        bar.finish_and_clear();
        let indexed = match (result, stop.exit_code()) {
            (Err(PackError::Stopped), Some(code)) => {
                eprintln!("mugs-shard: stopped before all tars were indexed; no manifest was written");
                return Ok(code);
            }
            (result, _) => result?,
        };
        indexed.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        let manifest = &indexed.manifest;
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => {
                let (shards, digest) = (manifest.shards.len(), &indexed.digest);
                let result = serde_json::json!({
                    "set": folder.to_string_lossy(), "name": manifest.name, "samples": manifest.samples,
                    "shards": shards, "bytes": manifest.bytes(), "digest": digest, "warnings": indexed.warnings,
                });
                write_json(&mut out, &result)?;
            }
            Format::Text => {
                let (samples, shards) =
                    (count(manifest.samples, "sample"), count(manifest.shards.len() as u64, "shard"));
                let bytes = DecimalBytes(manifest.bytes());
                writeln!(out, "indexed {samples} in {shards} ({bytes}): {}", folder.display())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
