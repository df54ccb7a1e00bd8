//! `mugs-shard unpack`.

use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::DecimalBytes;
use mugs_shards::{ShardSet, UnpackError, UnpackHooks, unpack};

use super::stop::Stop;
use super::{Format, count, samples_bar, write_json};

const EXAMPLES: &str = "Examples:
  mugs-shard unpack shards/train folders/train
  mugs-shard unpack shards/train folders/train --jobs 8 --format json";

/// Writes the samples of a set as files: DST/CLASS/KEY.EXTENSION, or DST/KEY.EXTENSION where there are no labels.
///
/// Every file is compared with its checksum. Names that would leave DST are refused before anything is written. Packing
/// the folders again gives the same pictures with the same labels; a warning says where that needs --classes, because
/// a class is empty or the names are not in byte order.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Unpack {
    /// Folder of the set.
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// Folder for the files: new or empty.
    #[arg(value_name = "DST")]
    destination: PathBuf,
    /// Threads; each unpacks one shard at a time.
    #[arg(long, value_name = "N", default_value = "2")]
    jobs: NonZero<usize>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Unpack {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Stop::on_signals()?;
        let set = ShardSet::open(&self.set)?;
        let bar = samples_bar(set.manifest().samples)?;
        let hooks = UnpackHooks { progress: &|| bar.inc(1), stop: stop.flag() };
        let result = unpack(&set, &self.destination, self.jobs.get(), hooks);
        bar.finish_and_clear();
        let done = match (result, stop.exit_code()) {
            (Err(error @ UnpackError::Stopped), Some(code)) => {
                eprintln!("mugs-shard: {error}");
                return Ok(code);
            }
            (result, _) => result?,
        };
        if !done.same_classes {
            eprintln!(
                "warning: packing {} again numbers the classes otherwise, unless pack --classes gives their order",
                self.destination.display()
            );
        }
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => write_json(&mut out, &done)?,
            Format::Text => {
                let (samples, files) = (count(done.samples, "sample"), count(done.files, "file"));
                let bytes = DecimalBytes(done.bytes);
                writeln!(out, "unpacked {samples} into {files}, {bytes}: {}", self.destination.display())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
