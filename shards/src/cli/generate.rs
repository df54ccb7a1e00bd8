//! `mugs-shard completions` and `mugs-shard man`: made from the same definitions as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

const COMPLETIONS: &str = "Examples:
  mugs-shard completions bash > ~/.local/share/bash-completion/completions/mugs-shard
  mugs-shard completions zsh > ~/.zfunc/_mugs-shard
  mugs-shard completions fish > ~/.config/fish/completions/mugs-shard.fish";

/// Writes completions for a shell to stdout.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // The generator cannot report that a reader went away, so it writes to memory.
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "mugs-shard", &mut text);
        io::stdout().lock().write_all(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

const MAN: &str = "Examples:
  mugs-shard man | man -l -
  mugs-shard man --out ~/.local/share/man/man1";

/// Writes the manual: the main page to stdout, or a page of each command into a folder.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub(super) struct Man {
    /// Folder for mugs-shard.1, mugs-shard-pack.1, …
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut command = Cli::command();
        command.build();
        let Some(folder) = &self.out else {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text)?;
            io::stdout().lock().write_all(&text)?;
            return Ok(ExitCode::SUCCESS);
        };
        fs::create_dir_all(folder).with_context(|| format!("cannot write {}", folder.display()))?;
        write_page(folder, "mugs-shard", &command)?;
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            write_page(folder, &format!("mugs-shard-{}", sub.get_name()), sub)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write_page(folder: &Path, name: &str, command: &clap::Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut text)?;
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
