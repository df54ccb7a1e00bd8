//! What is typed, and what the commands share.

mod cat;
mod generate;
mod index;
mod ls;
mod pack;
mod pack_bar;
mod pack_text;
mod size;
mod stats;
mod stats_svg;
mod stop;
mod unpack;
mod verify;
mod wids;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 or 143 stopped by a signal.
Results go to stdout, warnings and progress to stderr; progress is shown on a terminal only.";

/// Packs pictures into shard sets, and looks after them.
///
/// A set is a folder of tar files with an index each and a manifest; every byte has a checksum. Python's webdataset
/// and tar read the shards unchanged.
#[derive(Debug, Parser)]
#[command(name = "mugs-shard", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pack(pack::Pack),
    Reshard(pack::Reshard),
    Index(index::Index),
    Verify(verify::Verify),
    Ls(ls::Ls),
    Stats(stats::Stats),
    Cat(cat::Cat),
    Unpack(unpack::Unpack),
    Wids(wids::Wids),
    Completions(generate::Completions),
    Man(generate::Man),
}

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the command that was typed.
pub fn run() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Pack(pack) => pack.run(),
        Command::Reshard(reshard) => reshard.run(),
        Command::Index(index) => index.run(),
        Command::Verify(verify) => verify.run(),
        Command::Ls(ls) => ls.run(),
        Command::Stats(stats) => stats.run(),
        Command::Cat(cat) => cat.run(),
        Command::Unpack(unpack) => unpack.run(),
        Command::Wids(wids) => wids.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

/// Whether the reader of our output went away.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a line of JSON.
fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// `1 shard`, `2 shards`.
fn count(number: u64, thing: &str) -> String {
    let plural = match thing {
        _ if number == 1 => "",
        "class" => "es",
        _ => "s",
    };
    format!("{number} {thing}{plural}")
}

/// ` of 3 classes`, or nothing where there are no labels.
fn of_classes(number: usize) -> String {
    if number == 0 { String::new() } else { format!(" of {}", count(number as u64, "class")) }
}

/// The name of a set, as an option.
fn parse_name(name: &str) -> Result<String, &'static str> {
    if mugs_shards::valid_name(name) { Ok(name.into()) } else { Err("a name has 1 to 64 letters, digits, _ and -") }
}

/// A line that counts the samples of a set, on a terminal.
fn samples_bar(samples: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::with_draw_target(Some(samples), ProgressDrawTarget::stderr());
    let template = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} samples, {per_sec}, ETA {eta}";
    bar.set_style(ProgressStyle::with_template(template)?);
    Ok(bar)
}
