//! `mugs-shard pack`.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use mugs_shards::{Hooks, Ignored, PackConfig, PackError, PackReport, Progress, pack, valid_name};
use serde::Serialize;

use super::stop::Stop;
use super::{Format, count, write_json};

const EXAMPLES: &str = "Examples:
  mugs-shard pack imagenet/train shards/train
  mugs-shard pack imagenet/val shards/val --name val --samples-per-shard 500
  mugs-shard pack photos shards/photos --seed 7 --format json | jq .digest";

/// Packs a folder of class folders into a new set.
///
/// Labels are the numbers of the class folders in the byte order of their names. Folders are searched to any depth and
/// links are followed. The order of the samples is drawn over the whole set; the same pictures, name, size and seed
/// give the same bytes. Whatever goes wrong, nothing of the set is left behind.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Pack {
    /// Folder with one folder of pictures per class.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Folder for the set: new or empty.
    #[arg(value_name = "DST")]
    destination: PathBuf,
    /// Samples in each shard; the last one has the rest.
    #[arg(long, value_name = "N", default_value = "1000")]
    samples_per_shard: NonZero<u64>,
    /// Seed of the order of the samples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What the shards' names begin with: letters, digits, _ and -.
    #[arg(long, default_value = "train", value_parser = parse_name)]
    name: String,
    /// Threads that read pictures; they do not change the result.
    #[arg(long, value_name = "N", default_value = "4")]
    workers: NonZero<usize>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn parse_name(name: &str) -> Result<String, &'static str> {
    if valid_name(name) { Ok(name.into()) } else { Err("a name has 1 to 64 letters, digits, _ and -") }
}

/// The result for programs.
#[derive(Serialize)]
struct Packed<'a> {
    set: Cow<'a, str>,
    name: &'a str,
    samples: u64,
    classes: usize,
    shards: usize,
    /// Length of all tars in bytes.
    bytes: u64,
    seed: u64,
    digest: &'a str,
    ignored: &'a Ignored,
    seconds: f64,
}

impl Pack {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Stop::on_signals()?;
        let started = Instant::now();
        let bar = self.progress_bar()?;
        let progress = |progress: Progress| {
            if bar.length() != Some(progress.total) {
                bar.disable_steady_tick();
                bar.set_length(progress.total);
                bar.reset_eta();
                bar.set_message("");
                bar.set_style(style());
            }
            bar.set_message(DecimalBytes(progress.bytes).to_string());
            bar.set_position(progress.samples);
        };
        let hooks = Hooks { inspect: &inspect, progress: &progress, stop: stop.flag() };
        let result = pack(&self.source, &self.destination, &self.config(), hooks);
        bar.finish_and_clear();
        match (result, stop.exit_code()) {
            (Err(error @ PackError::Stopped), Some(code)) => {
                eprintln!("mugs-shard: {error}");
                Ok(code)
            }
            (result, _) => self.report(&result?, started.elapsed()),
        }
    }

    fn config(&self) -> PackConfig {
        PackConfig {
            name: self.name.clone(),
            samples_per_shard: self.samples_per_shard,
            seed: self.seed,
            workers: self.workers,
        }
    }

    /// Shows that the source is being listed until the first sample is packed.
    fn progress_bar(&self) -> anyhow::Result<ProgressBar> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}")?);
        bar.set_message(format!("listing {}", self.source.display()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(bar)
    }

    fn report(&self, report: &PackReport, elapsed: Duration) -> anyhow::Result<ExitCode> {
        warn(&report.ignored);
        let manifest = &report.manifest;
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => write_json(&mut out, &self.packed(report, elapsed))?,
            Format::Text => writeln!(
                out,
                "packed {} of {} into {} ({}) in {:.1} s: {}",
                count(manifest.samples, "sample"),
                count(manifest.classes.len() as u64, "class"),
                count(manifest.shards.len() as u64, "shard"),
                DecimalBytes(manifest.bytes()),
                elapsed.as_secs_f64(),
                self.destination.display()
            )?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn packed<'a>(&'a self, report: &'a PackReport, elapsed: Duration) -> Packed<'a> {
        let manifest = &report.manifest;
        Packed {
            set: self.destination.to_string_lossy(),
            name: &manifest.name,
            samples: manifest.samples,
            classes: manifest.classes.len(),
            shards: manifest.shards.len(),
            bytes: manifest.bytes(),
            seed: manifest.seed,
            digest: &report.digest,
            ignored: &report.ignored,
            seconds: elapsed.as_secs_f64(),
        }
    }
}

/// Whether a file's first bytes are those of a picture.
fn inspect(bytes: &[u8]) -> Result<(), String> {
    match mugs_image::sniff(bytes) {
        Some(_) => Ok(()),
        None => Err("its content is not JPEG, PNG, PNM, BMP, TIFF or WebP".into()),
    }
}

fn warn(ignored: &Ignored) {
    if ignored.count == 0 {
        return;
    }
    let mut names: Vec<String> = ignored.first.clone();
    let more = ignored.count - names.len() as u64;
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    let files = count(ignored.count, "file");
    eprintln!("warning: left out {files} not named like a picture of a class: {}", names.join(", "));
}

fn style() -> ProgressStyle {
    let template = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} pictures, {msg}, {rate}, ETA {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // The progress line cannot report an error.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    })
}
