//! The `mugs-shard` command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        // Whoever read our output has read enough.
        Err(error) if cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mugs-shard: {error:#}");
            ExitCode::FAILURE
        }
    }
}
