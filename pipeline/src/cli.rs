//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Allowed, Sources};

/// Self-supervised pretraining of vision transformers with Mugs, streamed from shards.
#[derive(Debug, Parser)]
#[command(name = "mugs-pipeline", version, max_term_width = 110, arg_required_else_help = true)]
// A flag given twice: the last one counts, as in the published trainer.
#[command(args_override_self = true)]
#[command(after_help = "\
Options are spelled with _ or -, as you like. Log lines go to standard error; MUGS_LOG=debug shows more of them.
Exit codes: 0 done, 1 failed, 2 usage, 130 and 143 stopped by SIGINT or SIGTERM after a checkpoint.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network; goes on where the run in --output_dir stopped
    Train(TrainArgs),
    /// Run the data stages alone and say how fast each is and which one holds the others back
    Bench(BenchArgs),
    /// Say what this host has for training, and let its ranks try to exchange tensors
    Doctor(DoctorArgs),
    /// Draw the crops of some pictures as the network sees them into one picture
    Crops(CropsArgs),
    /// Show a run or a checkpoint: options, progress, loss curves, the tensors it holds
    Inspect(InspectArgs),
    /// Classify pictures by their neighbours' classes, with a network's class tokens as features
    Knn(KnnArgs),
    /// List the runs that --recipe knows: their options, and what came out of the published ones
    Recipes(RecipesArgs),
}

/// `train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mugs-pipeline train --data_path imagenet/train --output_dir runs/small --arch vit_small --epochs 100
      --batch_size_per_gpu 64 --warmup_epochs 10 --group_teacher_temp 0.04
  mugs-pipeline train --data_path my-pictures --output_dir runs/mine       packs the pictures first, once
  mugs-pipeline train --data_path imagenet/train --output_dir runs/small --on_bad_sample skip
  mugs-pipeline train --config runs/small/config.toml --max_steps 5000     stops after step 5000, with a checkpoint
  mugs-pipeline train --data_path imagenet/train --output_dir runs/base --recipe vit_base_400ep
  mugs-pipeline train --config runs/small/config.toml --lr 4e-4 --allow_drift lr     goes on with another rate
  mugs-pipeline train --config runs/small/config.toml --dump_batches dump --dump_steps 3 --max_steps 3
  MUGS_DATA_PATH=imagenet/train mugs-pipeline train --output_dir runs/low --set lr=4e-4 --set color_aug=true

Later ones override earlier ones: defaults, --recipe, --config, environment, --set, flags.
SIGTERM and SIGINT write a checkpoint and end the run; SIGUSR1 writes one and goes on. The same command line
goes on with the very next batch.")]
pub struct TrainArgs {
    /// Go on although this option differs from the run's so far, with a warning; may be given several times (--allow_drift lr --allow_drift epochs). What would not fit the checkpoint is refused with the reason
    #[arg(long = "allow_drift", value_name = "OPTION")]
    pub allow_drift: Vec<Allowed>,
    /// Write the state before the first step of this process, and what each of the next --dump_steps steps reads (crops, flags, rates) and gives (losses), into this folder as safetensors files, for another implementation to take the same steps; it must be new or empty and gets a README.md
    #[arg(long = "dump_batches", value_name = "DIR")]
    pub dump_batches: Option<PathBuf>,
    /// With --dump_batches: how many steps
    #[arg(long = "dump_steps", value_name = "N", default_value_t = 10, requires = "dump_batches")]
    pub dump_steps: u64,
    /// The options, and where they come from.
    #[command(flatten)]
    pub sources: Sources,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object, for machines.
    Json,
}

/// `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mugs-pipeline bench --data_path imagenet/train --workers 2 --seconds 20 --format json

The options of train that change crops or reading (--local_crops_number, --prob, --readahead_mb ...) work here too.
CPU seconds are those that the kernel counted for each stage's threads. The mixing is the mean entropy of the classes
in a batch, against the one expected of a batch drawn from the whole set without any order; --shuffle_block and
--streams change it. With --jpeg fast, up to 200 pictures are decoded exactly too, and compared. --profile reads the
clock around every operator, which itself costs about one percent.")]
pub struct BenchArgs {
    /// Threads that decode and crop; 0 takes one per processor
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub workers: usize,
    /// Decode and nothing else: the rate that the crops are held against
    #[arg(long = "decode_only")]
    pub decode_only: bool,
    /// Also print what each operator of the crops costs
    #[arg(long, conflicts_with = "decode_only")]
    pub profile: bool,
    /// How long to measure, after the first batch
    #[arg(long, default_value_t = 20.0, value_name = "S")]
    pub seconds: f64,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The options, and where they come from.
    #[command(flatten)]
    pub sources: Sources,
}

/// `crops`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mugs-pipeline crops --data_path imagenet/train --out crops.png

One row per picture: the picture, the teacher's two crops, the student's two large ones, the local ones. A blue frame
is the teacher's crop, a green one a weak, an orange one a strong crop of the student.")]
pub struct CropsArgs {
    /// The PNG file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Pictures to show: the first ones of the first epoch
    #[arg(long, default_value_t = 6, value_name = "N")]
    pub pictures: usize,
    /// The options, and where they come from.
    #[command(flatten)]
    pub sources: Sources,
}

/// `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mugs-pipeline doctor
  mugs-pipeline doctor --collectives --nproc 2
  srun mugs-pipeline doctor --collectives             under the very launcher that a run will have

With --collectives the ranks meet as those of a run do, sum, gather and send tensors whose values are checked, and
measure how many bytes a second an all-reduce moves. A rank alone tries NCCL on its GPU, if it has one.
Exit code 1 if something that was tried does not work.")]
pub struct DoctorArgs {
    /// Meet the other ranks and exchange tensors with them
    #[arg(long)]
    pub collectives: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The options, and where they come from.
    #[command(flatten)]
    pub sources: Sources,
}

/// `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mugs-pipeline inspect runs/small
  mugs-pipeline inspect runs/small --svg losses.svg --against published/log.txt
  mugs-pipeline inspect published/checkpoint.pth --tensors                 names, shapes, types and sizes
  mugs-pipeline inspect runs/small --format json | jq .progress

Of a folder the newest checkpoint is read, config.toml and log.txt; of a checkpoint also the log.txt beside it. Nothing
in a checkpoint is executed: objects of other classes than tensors are named and not made. Losses are means over the
steps of an epoch, in nats; epochs count from 0. Sizes are those of the values, without what the file adds.")]
pub struct InspectArgs {
    /// The folder of a run, or a checkpoint: ours or a published one
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Draw the losses, the learning rate and the weight decay by epoch into an SVG file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Show the losses of other runs too: their log.txt, or their folders
    #[arg(long, num_args = 1.., value_name = "LOG")]
    pub against: Vec<PathBuf>,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Features that need no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Baseline {
    /// The normalised pixels.
    Pixels,
    /// How often each of 512 colours is there, under the root.
    Histogram,
}

/// `knn`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mugs-pipeline knn --checkpoint runs/small/checkpoint.pth --data_path imagenet/train --val_path imagenet/val
  mugs-pipeline knn --config runs/small/config.toml --untrained --data_path ... --val_path ...
  mugs-pipeline knn --baseline pixels --data_path imagenet/train --val_path imagenet/val")]
pub struct KnnArgs {
    /// The checkpoint whose network gives the features; it brings its own configuration
    #[arg(long, value_name = "FILE", required_unless_present_any = ["untrained", "baseline"],
        conflicts_with_all = ["config", "recipe"])]
    pub checkpoint: Option<PathBuf>,
    /// Take the network as it is before the first step, from the configuration and its seed
    #[arg(long, conflicts_with = "checkpoint")]
    pub untrained: bool,
    /// Take no network, but the pictures as they are at 32 pixels: what a network's features should be better than
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with_all = ["checkpoint", "untrained", "student"])]
    pub baseline: Option<Baseline>,
    /// The shard set whose pictures are classified; --data_path is the one whose classes are known
    #[arg(long = "val_path", value_name = "SET")]
    pub val_path: PathBuf,
    /// Neighbours that vote; several give several rows
    #[arg(long, num_args = 1.., default_values_t = [10, 20], value_name = "K")]
    pub k: Vec<usize>,
    /// Temperature of the votes
    #[arg(long, default_value_t = 0.05)]
    pub temperature: f64,
    /// Take the student's network instead of the teacher's
    #[arg(long)]
    pub student: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The options, and where they come from.
    #[command(flatten)]
    pub sources: Sources,
}

/// `recipes`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mugs-pipeline recipes --format json

Accuracies are those of the published runs, on ImageNet-1K. Options that a recipe does not set have their published
values by default.")]
pub struct RecipesArgs {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::normalise_flags;

    fn train(arguments: &[&str]) -> TrainArgs {
        let words = ["mugs-pipeline", "train"].iter().chain(arguments).map(std::ffi::OsString::from);
        match Cli::try_parse_from(normalise_flags(words)).unwrap().command {
            Command::Train(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_a_flag_given_twice_the_last_counts_and_lists_of_names_grow() {
        let numbers = ["--lr=1", "--loss_weights", "1", "1", "1", "--local_crops_scale", "0.1", "0.2"];
        let again = ["--lr=2", "--loss_weights", "1", "0", "1", "--local-crops-scale", "0.3", "0.4"];
        let options = train(&[numbers, again].concat()).sources.options;
        assert_eq!((options.lr, options.loss_weights), (Some(2.0), Some(vec![1.0, 0.0, 1.0])));
        assert_eq!((options.local_crops_scale, options.global_crops_scale), (Some(vec![0.3, 0.4]), None));

        let names = train(&["--fix", "strong_prob", "--allow_drift=lr", "--fix=policy_inc", "--allow_drift", "epochs"]);
        assert_eq!((names.sources.options.fix.unwrap().len(), names.allow_drift.len()), (2, 2));
    }
}
