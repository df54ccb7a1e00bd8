//! `mugs-shard pack`.

use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::DecimalBytes;
use mugs_shards::{
    CheckLevel, Dots, Hooks, OnBadImage, PackConfig, PackError, PackPlan, PackReport, PictureCheck, Resume, SourceKind,
    SourceOptions, pack, plan,
};

use super::pack_bar::PackBar;
use super::stop::Stop;
use super::{Format, count, of_classes, pack_text, parse_name, size, write_json};

const EXAMPLES: &str = "Examples:
  # a folder of class folders (or of pictures without labels)
  mugs-shard pack imagenet/train shards/train
  # ImageNet's own tars: nothing is unpacked to disk
  mugs-shard pack ILSVRC2012_img_train.tar shards/train
  mugs-shard pack ILSVRC2012_img_val.tar shards/val --name val --labels LOC_val_solution.csv
  mugs-shard pack ILSVRC2012_img_val.tar shards/val --name val \\
      --labels ILSVRC2012_validation_ground_truth.txt --synsets synsets.txt
  # a list: path, label and perhaps key, as TSV or JSON lines
  mugs-shard pack pictures.tsv shards/photos --on-bad-image skip
  # shards of any WebDataset, with other sizes or compressed
  mugs-shard pack 'old/imagenet-train-{000000..001281}.tar' shards/train --shard-size 500MB
  mugs-shard pack shards/train shards/small --limit 10000 --max-side 256 --zstd 3
  # what it would be
  mugs-shard pack imagenet/train shards/train --dry-run";

/// Packs pictures into a new set.
///
/// SRC is a folder of class folders, a flat folder, ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar with its labels,
/// a list file, or an existing WebDataset (ours or anyone's). Labels are the numbers of the classes in the byte order
/// of their names, or as --classes says.
///
/// The order of the samples follows from their keys and the seed: the same samples and options give the same bytes,
/// whatever the workers, and whether they come from a tar or from folders. Everything is written into DST/.packing and
/// moved into place at the end. Killed at any moment and started again, packing goes on and the result is the same.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Pack {
    /// What to pack.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Folder for the set: new, empty, or with an unfinished pack of the same source.
    #[arg(value_name = "DST")]
    destination: PathBuf,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pictures: PictureOptions,
    /// Whether to go on with an unfinished pack in DST.
    #[arg(long, value_enum, default_value_t = Resume::Auto)]
    resume: Resume,
    /// Say what would be packed and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Threads that read and check pictures; they do not change the result.
    #[arg(long, value_name = "N", default_value = "4")]
    workers: NonZero<usize>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const RESHARD_EXAMPLES: &str = "Examples:
  mugs-shard reshard shards/train shards/large --shard-size 1GB
  mugs-shard reshard shards/train shards/small --limit 10000 --max-side 256
  mugs-shard reshard 'old/imagenet-train-{000000..001281}.tar' shards/train --zstd 3";

/// Packs an existing WebDataset anew: other sizes, another order, compressed, or fewer samples.
///
/// The same as pack of a set or of tars, with the same options. All members of each sample are kept, and the checksums
/// of our own sets are compared.
#[derive(Debug, Args)]
#[command(after_help = RESHARD_EXAMPLES)]
pub(super) struct Reshard {
    #[command(flatten)]
    pack: Pack,
}

impl Reshard {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        if self.pack.input.kind == SourceKind::Auto {
            self.pack.input.kind = SourceKind::WebDataset;
        }
        self.pack.run()
    }
}

/// What the source is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
struct Input {
    /// What SRC is.
    #[arg(long, value_enum, default_value_t = SourceKind::Auto)]
    kind: SourceKind,
    /// Labels of ILSVRC2012_img_val.tar: the devkit's ground truth (with --synsets) or Kaggle's LOC_val_solution.csv.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The synset of each ILSVRC2012_ID, line by line, for the devkit's ground truth.
    #[arg(long, value_name = "FILE")]
    synsets: Option<PathBuf>,
    /// Names of the classes in the order of their numbers: one in each line, or a JSON list.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Where the key of a WebDataset's member ends: at the first dot of its name (as webdataset reads it) or the last.
    #[arg(long, value_enum, default_value_t = Dots::First)]
    dots: Dots,
    /// Pack only the first N samples of the shuffled order.
    #[arg(long, value_name = "N")]
    limit: Option<NonZero<u64>>,
}

/// What the set is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Set")]
struct Output {
    /// Samples in each shard; the last one has the rest.
    #[arg(long, value_name = "N", default_value = "1000")]
    samples_per_shard: NonZero<u64>,
    /// The most bytes of a shard before it is compressed, as 500MB or 1GiB, instead of a number of samples.
    #[arg(long, value_name = "SIZE", conflicts_with = "samples_per_shard", value_parser = size::parse)]
    shard_size: Option<NonZero<u64>>,
    /// Seed of the order of the samples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What the shards' names begin with: letters, digits, _ and -.
    #[arg(long, default_value = "train", value_parser = parse_name)]
    name: String,
    /// Give each sample a member .json with its file name, class name, label, width and height.
    #[arg(long)]
    json: bool,
    /// Compress the shards with zstd (.tar.zst), level 1 to 22. Single samples can still be read.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=22))]
    zstd: Option<i32>,
}

/// What is done with pictures.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pictures")]
struct PictureOptions {
    /// How closely pictures are looked at.
    #[arg(long, value_enum, default_value_t = CheckLevel::Header)]
    check: CheckLevel,
    /// What is done with a picture that is no good, or a key that is there twice.
    #[arg(long, value_enum, default_value_t = OnBadImage::Fail)]
    on_bad_image: OnBadImage,
    /// A picture of more pixels is no good.
    #[arg(long, value_name = "PIXELS", default_value_t = PictureCheck::default().pixel_limit)]
    pixel_limit: u64,
    /// Make pictures whose longer side has more pixels smaller, and encode them anew as JPEG.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_side: Option<u32>,
    /// JPEG quality of pictures that are encoded anew, 1 to 100.
    #[arg(long, value_name = "Q", default_value_t = PictureCheck::default().quality, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
}

impl Pack {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Stop::on_signals()?;
        let started = Instant::now();
        let check = self.check();
        let config = self.config(&check)?;
        let bar = PackBar::new(&self.source)?;
        let progress = |progress| bar.show(progress);
        let hooks = Hooks { pictures: &check, progress: &progress, stop: stop.flag() };
        let (source, destination) = (&self.source, &self.destination);
        let done = match self.dry_run {
            true => plan(source, &config, hooks).map(Box::new).map(Done::Planned),
            false => pack(source, destination, &config, self.resume, hooks).map(Box::new).map(Done::Packed),
        };
        bar.clear();
        match (done, stop.exit_code()) {
            (Err(error @ PackError::Stopped), Some(code)) => {
                eprintln!("mugs-shard: {error}");
                Ok(code)
            }
            (Ok(Done::Planned(plan)), _) => self.report_plan(&plan),
            (Ok(Done::Packed(report)), _) => self.report(&report, started.elapsed()),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn check(&self) -> PictureCheck {
        let PictureOptions { check, pixel_limit, max_side, quality, .. } = self.pictures;
        PictureCheck { check, pixel_limit, max_side, quality }
    }

    fn config(&self, check: &PictureCheck) -> anyhow::Result<PackConfig> {
        let Input { kind, labels, synsets, classes, dots, limit } = &self.input;
        let (labels, synsets, classes) = (labels.clone(), synsets.clone(), classes.clone());
        Ok(PackConfig {
            name: self.output.name.clone(),
            samples_per_shard: self.output.samples_per_shard,
            shard_size: self.output.shard_size,
            seed: self.output.seed,
            source: SourceOptions { kind: *kind, labels, synsets, classes, dots: *dots },
            on_bad_image: self.pictures.on_bad_image,
            json: self.output.json,
            zstd: self.output.zstd,
            limit: *limit,
            pictures: check.describe()?,
            workers: self.workers,
        })
    }

    fn report_plan(&self, plan: &PackPlan) -> anyhow::Result<ExitCode> {
        pack_text::warn(&plan.ignored, &plan.warnings);
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => write_json(&mut out, plan)?,
            Format::Text => writeln!(
                out,
                "would pack {}{} into {}: {} of pictures, {} of tars; nothing was written",
                count(plan.samples, "sample"),
                of_classes(plan.classes as usize),
                count(plan.shards, "shard"),
                DecimalBytes(plan.picture_bytes),
                DecimalBytes(plan.bytes),
            )?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn report(&self, report: &PackReport, elapsed: Duration) -> anyhow::Result<ExitCode> {
        pack_text::warn(&report.ignored, &report.warnings);
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => write_json(&mut out, &pack_text::packed(&self.destination, report, elapsed))?,
            Format::Text => pack_text::write(&mut out, &self.destination, report, elapsed)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

enum Done {
    Planned(Box<PackPlan>),
    Packed(Box<PackReport>),
}
