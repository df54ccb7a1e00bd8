//! `train`: the thread at the end of the data stages.

mod alarm;
mod crops_picture;
mod dump;
mod input;
mod published;
mod report;
mod restore;
mod tensor_file;
mod training;

pub(crate) use self::training::steps_per_epoch;
pub use self::training::train_config;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use mugs_data::crop::Profile;
use mugs_flow::StopHandle;

use self::training::Training;
use crate::cli::TrainArgs;
use crate::config::{Resolved, RunConfig};
use crate::data::{self, Data};
use crate::run::{RunFolder, Signals, train_log};
use crate::status::{Exporter, Server, TrainMeters, serve};
use crate::topology;

/// Runs the command.
pub fn train(arguments: TrainArgs) -> Result<ExitCode> {
    let Resolved { config, recipe } = arguments.sources.resolve()?;
    ensure!(!config.output_dir.is_empty(), "--output_dir is missing: the folder for checkpoints and logs");
    config.announce_jpeg()?;
    config.announce_limits();
    config.announce_mends();
    if let Some(recipe) = recipe {
        recipe.announce(&config)?;
    }
    crate::process::keep_freed_memory();
    let chosen = crate::device::choose(&config)?;
    let data = data::find(&config)?;
    let signals = Signals::install()?;
    tch::set_num_threads(i32::try_from(config.step_threads())?);
    let folder = RunFolder::open(Path::new(&config.output_dir))?;
    train_log::TRAIN_LOG.open(folder.path());
    train_log::start();
    chosen.announce();

    let set = match data {
        Data::Set(set) => set,
        Data::Pictures(pictures) => match data::pack(&pictures, &config, folder.path(), signals.flag())? {
            Some(set) => set,
            None => return Ok(stopped(&signals, "while the pictures were packed")),
        },
    };
    let mut training = Training::open(config, &arguments.allow_drift, &set, folder, chosen.device)?;
    if training.is_done() {
        tracing::info!("nothing is left to do: step {} is done", training.steps_done());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = &arguments.dump_batches {
        training.dump(folder, arguments.dump_steps)?;
    }
    let stages = topology::start(
        training.config(),
        set,
        training.cursor(),
        training.config().epochs as u32,
        &Profile::default(),
    )?;
    let exporter = Exporter::install(stages.batches.meters())?;
    let meters = TrainMeters::register();
    let _server = status(training.config(), exporter)?;
    let _watch = Watch::start(signals.clone(), stages.batches.stop_handle())?;
    match training.run(stages, &signals, meters)? {
        Some(_) => Ok(stopped(&signals, &format!("after step {}", training.steps_done()))),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Says that a signal ended the run, and gives its exit code.
fn stopped(signals: &Signals, when: &str) -> ExitCode {
    let Some(stop) = signals.stop() else { return ExitCode::FAILURE };
    tracing::info!("stopped by {} {when}; the same command goes on", stop.name());
    ExitCode::from(stop.exit_code())
}

fn status(config: &RunConfig, exporter: Exporter) -> Result<Option<Server>> {
    serve(&config.metrics_addr, exporter)
}

/// Wakes the training thread from its wait for data when a signal asks the run to end.
struct Watch {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(signals: Signals, flow: StopHandle) -> Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            while !seen.load(Ordering::Acquire) {
                if signals.stop().is_some() {
                    flow.stop();
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
        })?;
        Ok(Self { done, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
