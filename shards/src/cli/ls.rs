//! `mugs-shard ls`.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::DecimalBytes;
use mugs_shards::{Checksum, Manifest, Member, SampleEntry, ShardSet};
use serde::Serialize;

use super::{Format, count, of_classes, write_json};

const EXAMPLES: &str = "Examples:
  mugs-shard ls shards/train
  mugs-shard ls shards/train --samples | grep n01440764
  mugs-shard ls shards/train --format json | jq .samples";

/// Lists what a set holds.
///
/// By default its manifest: the classes' count, and each shard with its samples and size. With --samples one line per
/// file of a sample: shard, key, extension, offset and length in bytes; in JSON one object per sample.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ls {
    /// Folder of the set.
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// List the samples too.
    #[arg(long)]
    samples: bool,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A set for programs.
#[derive(Serialize)]
struct Listed<'a> {
    set: Cow<'a, str>,
    digest: String,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

/// A sample for programs.
#[derive(Serialize)]
struct ListedSample<'a> {
    shard: &'a str,
    key: &'a str,
    members: Vec<ListedMember<'a>>,
}

#[derive(Serialize)]
struct ListedMember<'a> {
    extension: &'a str,
    offset: u64,
    length: u64,
    xxh3: Checksum,
}

impl Ls {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // A set whose shards are cut can still be looked at.
        let set = ShardSet::open_partial(&self.set)?;
        let mut out = BufWriter::new(io::stdout().lock());
        match (self.samples, self.format) {
            (true, _) => self.samples(&mut out, &set)?,
            (false, Format::Text) => shards(&mut out, &set)?,
            (false, Format::Json) => {
                write_json(
                    &mut out,
                    &Listed { set: self.set.to_string_lossy(), digest: set.digest(), manifest: set.manifest() },
                )?;
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    fn samples(&self, out: &mut impl Write, set: &ShardSet) -> anyhow::Result<()> {
        for number in 0..set.manifest().shards.len() {
            let shard = set.open_shard(number)?;
            for entry in shard.entries() {
                match self.format {
                    Format::Text => sample_lines(out, shard.name(), entry)?,
                    Format::Json => write_json(out, &listed_sample(shard.name(), entry))?,
                }
            }
        }
        Ok(())
    }
}

fn shards(out: &mut impl Write, set: &ShardSet) -> io::Result<()> {
    let manifest = set.manifest();
    let samples = count(manifest.samples, "sample");
    let classes = of_classes(manifest.classes.len());
    let shards = count(manifest.shards.len() as u64, "shard");
    let (bytes, seed) = (DecimalBytes(manifest.bytes()), manifest.seed);
    writeln!(out, "{}: {samples}{classes} in {shards}, {bytes}, seed {seed}", manifest.name)?;
    writeln!(out, "digest {}", set.digest())?;
    for shard in &manifest.shards {
        writeln!(out, "{}\t{}\t{} bytes\t{}", shard.file, count(shard.samples, "sample"), shard.bytes, shard.xxh3)?;
    }
    Ok(())
}

fn sample_lines(out: &mut impl Write, shard: &str, entry: &SampleEntry) -> io::Result<()> {
    for Member { extension, offset, length, .. } in &entry.members {
        writeln!(out, "{shard}\t{}\t{extension}\t{offset}\t{length}", entry.key)?;
    }
    Ok(())
}

fn listed_sample<'a>(shard: &'a str, entry: &'a SampleEntry) -> ListedSample<'a> {
    let member = |member: &'a Member| ListedMember {
        extension: &member.extension,
        offset: member.offset,
        length: member.length,
        xxh3: member.xxh3,
    };
    ListedSample { shard, key: &entry.key, members: entry.members.iter().map(member).collect() }
}
