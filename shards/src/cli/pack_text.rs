//! What `pack` says of its result.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::DecimalBytes;
use mugs_shards::{Counts, Ignored, PackReport};
use serde::Serialize;

use super::{count, of_classes};

/// The result for programs.
#[derive(Serialize)]
pub(super) struct Packed<'a> {
    set: Cow<'a, str>,
    name: &'a str,
    samples: u64,
    classes: usize,
    shards: usize,
    /// Length of all shards in bytes.
    bytes: u64,
    seed: u64,
    #[serde(flatten)]
    report: &'a PackReport,
    seconds: f64,
}

pub(super) fn packed<'a>(set: &'a Path, report: &'a PackReport, elapsed: Duration) -> Packed<'a> {
    let manifest = &report.manifest;
    Packed {
        set: set.to_string_lossy(),
        name: &manifest.name,
        samples: manifest.samples,
        classes: manifest.classes.len(),
        shards: manifest.shards.len(),
        bytes: manifest.bytes(),
        seed: manifest.seed,
        report,
        seconds: elapsed.as_secs_f64(),
    }
}

/// The result for people.
pub(super) fn write(out: &mut impl Write, set: &Path, report: &PackReport, elapsed: Duration) -> io::Result<()> {
    let manifest = &report.manifest;
    let resumed = match report.resumed {
        0 => String::new(),
        samples => format!(", {samples} of them by an earlier run"),
    };
    writeln!(
        out,
        "packed {}{}{resumed} into {} ({}) in {:.1} s: {}",
        count(manifest.samples, "sample"),
        of_classes(manifest.classes.len()),
        count(manifest.shards.len() as u64, "shard"),
        DecimalBytes(manifest.bytes()),
        elapsed.as_secs_f64(),
        set.display()
    )?;
    counts(out, &report.counts)?;
    match &report.report {
        Some(path) => writeln!(out, "each of these is named in {}", path.display()),
        None => Ok(()),
    }
}

fn counts(out: &mut impl Write, counts: &Counts) -> io::Result<()> {
    for (action, kinds) in [("left out", &counts.skipped), ("kept although bad", &counts.kept)] {
        if !kinds.is_empty() {
            let total = count(kinds.values().sum(), "sample");
            let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            writeln!(out, "{action}: {total} ({})", kinds.join(", "))?;
        }
    }
    if counts.duplicate_content > 0 {
        writeln!(out, "the same picture as another one: {}", count(counts.duplicate_content, "sample"))?;
    }
    if counts.reencoded > 0 {
        let (from, to) = (counts.reencoded_from, counts.reencoded_to);
        let saved = 100.0 * (1.0 - to as f64 / from.max(1) as f64);
        let (pictures, from, to) = (count(counts.reencoded, "picture"), DecimalBytes(from), DecimalBytes(to));
        writeln!(out, "made smaller: {pictures}, {from} before, {to} now: {saved:.0} % saved")?;
    }
    Ok(())
}

/// Names what is odd and the files that are not packed.
pub(super) fn warn(ignored: &Ignored, warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
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
