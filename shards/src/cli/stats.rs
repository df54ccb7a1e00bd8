//! `mugs-shard stats`.

use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::DecimalBytes;
use mugs_shards::{ClassCount, Quantiles, SetStats, ShardSet, stats};

use super::stats_svg;
use super::stop::Stop;
use super::{Format, count, samples_bar, write_json};

const EXAMPLES: &str = "Examples:
  mugs-shard stats shards/train
  mugs-shard stats shards/train --svg train.svg --jobs 8
  mugs-shard stats shards/train --format json | jq '.classes | sort_by(.samples) | .[:5]'";

/// Says what is in a set: lengths, formats and sizes of the pictures, classes, duplicates, and odd pictures.
///
/// Reads every picture's header and compares every sample with its checksum. Odd is what is no picture, has more than
/// 50 million pixels, a side of less than 32 or ten times the other, or a name of another format.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Stats {
    /// Folder of the set.
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// Threads; each reads one shard at a time.
    #[arg(long, value_name = "N", default_value = "2")]
    jobs: NonZero<usize>,
    /// Draw the classes and the sizes into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Stats {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Stop::on_signals()?;
        let set = ShardSet::open(&self.set)?;
        let bar = samples_bar(set.manifest().samples)?;
        let found = stats(&set, self.jobs.get(), &|| bar.inc(1), stop.flag())?;
        bar.finish_and_clear();
        let (found, code) = match (found, stop.exit_code()) {
            (Some(found), _) => (found, ExitCode::SUCCESS),
            (None, code) => {
                eprintln!("mugs-shard: stopped before the whole set was read");
                return Ok(code.unwrap_or(ExitCode::FAILURE));
            }
        };
        if let Some(path) = &self.svg {
            std::fs::write(path, stats_svg::draw(&found))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => write_json(&mut out, &found)?,
            Format::Text => text(&mut out, &found)?,
        }
        Ok(code)
    }
}

fn text(out: &mut impl Write, stats: &SetStats) -> io::Result<()> {
    writeln!(out, "{}: {} in {}", stats.name, count(stats.samples, "sample"), count(stats.shards, "shard"))?;
    let bytes = |value: u64| DecimalBytes(value).to_string();
    let pixels = |value: u64| format!("{value} px");
    let row = |out: &mut dyn Write, name: &str, quantiles: &Quantiles, show: &dyn Fn(u64) -> String| {
        let Quantiles { min, median, mean, max, .. } = *quantiles;
        let [min, median, mean, max] = [min, median, mean.round() as u64, max].map(show);
        writeln!(out, "{name:<12} min {min:>10}   median {median:>10}   mean {mean:>10}   max {max:>10}")
    };
    row(out, "file", &stats.bytes, &bytes)?;
    row(out, "short side", &stats.short_side, &pixels)?;
    row(out, "long side", &stats.long_side, &pixels)?;
    let list = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    };
    writeln!(out, "formats      {}", list(&stats.formats))?;
    classes(out, stats)?;
    writeln!(out, "duplicates   {} with the bytes of another", count(stats.duplicates, "picture"))?;
    if stats.odd.is_empty() {
        return writeln!(out, "odd          none");
    }
    writeln!(out, "odd          {}", list(&stats.odd))?;
    for odd in &stats.odd_first {
        writeln!(out, "  {}: {} ({})", odd.key, odd.kind, odd.what)?;
    }
    Ok(())
}

fn classes(out: &mut impl Write, stats: &SetStats) -> io::Result<()> {
    const SHOWN: usize = 3;
    if stats.unlabelled > 0 {
        writeln!(out, "no label     {}", count(stats.unlabelled, "sample"))?;
    }
    if stats.classes.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<&ClassCount> = stats.classes.iter().collect();
    sorted.sort_by_key(|class| class.samples);
    let show = |class: &&ClassCount| format!("{} ({})", class.name, class.samples);
    let smallest: Vec<String> = sorted.iter().take(SHOWN).map(show).collect();
    let largest: Vec<String> = sorted.iter().rev().take(SHOWN).map(show).collect();
    let empty = sorted.iter().filter(|class| class.samples == 0).count() as u64;
    let classes = count(sorted.len() as u64, "class");
    let empty = if empty > 0 { format!(", {empty} without samples") } else { String::new() };
    writeln!(out, "classes      {classes}{empty}; smallest {}; largest {}", smallest.join(", "), largest.join(", "))
}
