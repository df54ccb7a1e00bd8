//! The `mugs-pipeline` command.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use mugs_pipeline::cli::{Cli, Command};
use mugs_pipeline::run::train_log::{FILE_ONLY, TRAIN_LOG, is_shown};
use mugs_pipeline::{commands, config, train};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

fn main() -> ExitCode {
    let cli = Cli::parse_from(config::normalise_flags(std::env::args_os()));
    start_log(matches!(cli.command, Command::Train(_)));
    let done = match cli.command {
        Command::Train(arguments) => train::train(arguments),
        Command::Bench(arguments) => commands::bench(arguments),
        Command::Doctor(arguments) => commands::doctor(&arguments),
        Command::Crops(arguments) => commands::crops(arguments),
        Command::Inspect(arguments) => commands::inspect(arguments),
        Command::Knn(arguments) => commands::knn(arguments),
        Command::Recipes(arguments) => commands::recipes(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            tracing::error!(target: FILE_ONLY, "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Log lines go to standard error; those of `train` also to `train.log` of the run, once its folder is known.
fn start_log(train: bool) {
    let filter = EnvFilter::try_from_env("MUGS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_filter(filter_fn(is_shown));
    let file = train.then(|| fmt::layer().with_writer(|| &TRAIN_LOG).with_ansi(false).with_target(false));
    tracing_subscriber::registry().with(filter).with(terminal).with(file).init();
}

/// Whether the reader of our output has gone: no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
