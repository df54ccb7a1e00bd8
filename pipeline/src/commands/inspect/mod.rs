//! `inspect`: what a run or a checkpoint is, how far it is, and how its losses went.

mod chart;
mod contents;
mod log;
mod place;
mod plot;
mod svg;
mod text;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use mugs_compute::checkpoint::load_value;
use serde::Serialize;

use self::chart::Panel;
use self::contents::Contents;
use self::log::Log;
use self::place::{Files, Options, Progress};
use crate::cli::{Format, InspectArgs};

/// Columns of the report where standard output is no terminal.
const COLUMNS: usize = 100;

/// All that is known of a run; parts that it does not have are none.
#[derive(Debug, Serialize)]
struct Report {
    path: String,
    progress: Option<Progress>,
    options: Option<Options>,
    log: Option<Log>,
    /// Logs that it is compared with.
    against: Vec<Log>,
    checkpoint: Option<Contents>,
}

impl Report {
    fn read(arguments: &InspectArgs) -> Result<Report> {
        let run = &arguments.run;
        let files = Files::of(run)?;
        let root = files.checkpoint.as_deref().map(load_value).transpose().with_context(|| others(run))?;
        let options = Options::of(&files, root.as_ref())?;
        let values = options.as_ref().map(|options| &options.values);
        let folder = if run.is_dir() { run } else { run.parent().unwrap_or(Path::new(".")) };
        let contents = files.checkpoint.as_deref().zip(root.as_ref());
        Ok(Report {
            path: run.display().to_string(),
            progress: root.as_ref().and_then(|root| Progress::of(root, values, folder)),
            log: files.log.as_deref().map(Log::read).transpose()?,
            against: arguments.against.iter().map(|path| Log::read_other(path)).collect::<Result<_>>()?,
            checkpoint: contents.map(|(path, root)| Contents::of(path, root, arguments.tensors)).transpose()?,
            options,
        })
    }

    /// The run's own log, then the others.
    fn logs(&self) -> Vec<&Log> {
        self.log.iter().chain(&self.against).collect()
    }
}

/// Runs the command.
pub fn inspect(arguments: InspectArgs) -> Result<ExitCode> {
    let report = Report::read(&arguments)?;
    if let Some(path) = &arguments.svg {
        let panels = Panel::of(&report.logs(), true);
        if panels.is_empty() {
            bail!("there is nothing to draw into {}: no log has a finished epoch", path.display());
        }
        let names: Vec<&str> = report.logs().into_iter().map(|log| &*log.path).collect();
        let drawn = svg::draw(&report.path, &names, &panels);
        std::fs::write(path, drawn).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = match arguments.format {
        Format::Text => text::text(&report, columns()),
        Format::Json => serde_json::to_string(&report)? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What else there is to look at when the newest checkpoint cannot be read.
fn others(run: &Path) -> String {
    let numbered = |name: &str| name.starts_with("checkpoint") && name.ends_with(".pth") && name != "checkpoint.pth";
    let names = std::fs::read_dir(run).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| numbered(name)).collect();
    names.sort_unstable();
    match names.last() {
        Some(name) => format!("cannot inspect {}; it also has {name}", run.display()),
        None => format!("cannot inspect {}", run.display()),
    }
}

/// The width of the terminal.
fn columns() -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))).unwrap_or(COLUMNS)
}
