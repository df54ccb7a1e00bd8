//! The `mugs-pipeline` command.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use mugs_pipeline::cli::{Cli, Command};
use mugs_pipeline::{commands, config, train};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse_from(config::normalise_flags(std::env::args_os()));
    let filter = EnvFilter::try_from_env("MUGS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let done = match cli.command {
        Command::Train(arguments) => train::train(arguments),
        Command::Bench(arguments) => commands::bench(arguments),
        Command::Crops(arguments) => commands::crops(arguments),
        Command::Knn(arguments) => commands::knn(arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of our output has gone: no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
