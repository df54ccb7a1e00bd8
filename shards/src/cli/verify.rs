//! `mugs-shard verify`.

use std::borrow::Cow;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mugs_image::Decoder;
use mugs_shards::{Problem, ShardSet, VerifyHooks, VerifyReport, verify};
use serde::Serialize;

use super::stop::Stop;
use super::{Format, count, write_json};

const EXAMPLES: &str = "Examples:
  mugs-shard verify shards/train
  mugs-shard verify shards/train --decode --jobs 8
  mugs-shard verify shards/train --format json | jq -r '.problems[].file' | sort -u";

/// Reads every byte of a set again and names each that is not as it was packed.
///
/// Sizes, checksums, headers, index against bytes, counts against the manifest, keys that are there twice, shards that
/// are missing or unexpected. Names the file, the sample and the offset in the file. Exit code 1 if anything is wrong.
/// Other files that do not belong to the set, and an unfinished pack, are named in warnings.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// Folder of the set.
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// Threads; each reads one shard at a time.
    #[arg(long, visible_alias = "workers", value_name = "N", default_value = "2")]
    jobs: NonZero<usize>,
    /// Decode every picture too. Pictures that libjpeg only warns about are named in warnings.
    #[arg(long)]
    decode: bool,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The result for programs.
#[derive(Serialize)]
struct Verified<'a> {
    set: Cow<'a, str>,
    ok: bool,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Stop::on_signals()?;
        let bar = self.progress_bar()?;
        let progress = |bytes| bar.inc(bytes);
        let hooks = VerifyHooks { progress: &progress, stop: stop.flag(), decode: self.decode.then_some(&decode) };
        let report = verify(&self.set, self.jobs.get(), hooks)?;
        bar.finish_and_clear();
        if let Some(code) = stop.exit_code() {
            eprintln!("mugs-shard: stopped before the whole set was read");
            return Ok(code);
        }
        self.report(&report)
    }

    fn progress_bar(&self) -> anyhow::Result<ProgressBar> {
        let bytes = ShardSet::open_partial(&self.set).ok().map(|set| set.manifest().bytes());
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
        let template =
            "{elapsed_precise} {wide_bar} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, ETA {eta}";
        bar.set_style(ProgressStyle::with_template(template)?);
        Ok(bar)
    }

    fn report(&self, report: &VerifyReport) -> anyhow::Result<ExitCode> {
        for warning in &report.warnings {
            eprintln!("warning: {}", line(warning));
        }
        if !report.strays.is_empty() {
            eprintln!("warning: not part of the set: {}", report.strays.join(", "));
        }
        let ok = report.problems.is_empty();
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => write_json(&mut out, &Verified { set: self.set.to_string_lossy(), ok, report })?,
            Format::Text => self.write_text(&mut out, report)?,
        }
        if !ok {
            bail!("{} is damaged: {}", self.set.display(), count(report.problems.len() as u64, "problem"));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn write_text(&self, out: &mut impl Write, report: &VerifyReport) -> io::Result<()> {
        for problem in &report.problems {
            writeln!(out, "{}", line(problem))?;
        }
        if report.problems.is_empty() {
            let (samples, shards) = (count(report.samples, "sample"), count(report.shards as u64, "shard"));
            let bytes = DecimalBytes(report.bytes);
            let set = self.set.display();
            write!(out, "{set}: {samples} in {shards}, {bytes}, each byte as it was packed")?;
            match report.warnings.len() as u64 {
                0 => writeln!(out)?,
                warnings => writeln!(out, "; {}", count(warnings, "warning"))?,
            }
        }
        Ok(())
    }
}

/// Decodes a picture as training does.
fn decode(bytes: &[u8]) -> Result<Option<String>, String> {
    let mut decoder = Decoder::new().map_err(|error| error.to_string())?;
    decoder.decode(bytes).map(|decoded| decoded.warning).map_err(|error| error.to_string())
}

/// `train-000003.tar: sample n01440764_tench: offset 1536: …`
fn line(problem: &Problem) -> String {
    let mut parts = vec![problem.file.clone()];
    parts.extend(problem.key.as_ref().map(|key| format!("sample {key}")));
    parts.extend(problem.offset.map(|offset| format!("offset {offset}")));
    parts.push(problem.what.clone());
    parts.join(": ")
}
