//! `train`: the thread at the end of the data stages.

mod alarm;
mod arguments;
mod crops_picture;
mod dump;
mod input;
mod published;
mod report;
mod restore;
mod tensor_file;
mod training;

pub(crate) use self::training::steps_per_epoch;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use mugs_data::crop::Profile;
use mugs_flow::StopHandle;
use mugs_shards::ShardSet;

use self::training::Training;
use crate::cli::TrainArgs;
use crate::config::{Resolved, RunConfig};
use crate::data::{self, Data};
use crate::device::{self, Chosen};
use crate::launch::{self, Launcher, Role};
use crate::run::{RunFolder, Signals, Stop, train_log};
use crate::status::{Exporter, Server, TrainMeters, serve};
use crate::team::Team;
use crate::topology;

/// Runs the command: as one rank, or as the supervisor of several.
pub fn train(arguments: TrainArgs) -> Result<ExitCode> {
    let Resolved { config, recipe } = arguments.sources.resolve()?;
    ensure!(!config.output_dir.is_empty(), "--output_dir is missing: the folder for checkpoints and logs");
    config.check_training()?;
    let launch = match launch::detect(&config)? {
        Role::Supervisor { processes } => return launch::local::supervise(processes, config.sync_timeout),
        Role::Rank(launch) => launch,
    };
    if launch.rank > 0 {
        train_log::only_warnings();
    }
    let config = config.on(&launch);
    config.announce_jpeg()?;
    config.announce_limits();
    config.announce_mends();
    if let Some(recipe) = recipe {
        recipe.announce(&config)?;
    }
    launch.announce();
    crate::process::keep_freed_memory();
    // Before anything else of libtorch, but an error is one that the other ranks must hear of.
    let chosen = device::choose(&config, launch.local_rank);
    let signals = match launch.launcher {
        Launcher::Alone => Signals::install()?,
        _ => Signals::install_under_launcher()?,
    };
    tch::set_num_threads(i32::try_from(config.step_threads_on(launch.sharers()))?);
    let team = Arc::new(Team::meet(&launch, Duration::from_secs_f64(config.sync_timeout))?);
    let rank = Rank { config, sharers: launch.sharers(), team: Arc::clone(&team), signals };
    let ended = unless_it_panics(|| rank.run(&arguments, chosen)).map_err(|error| team.first_cause(error));
    match (ended, team.leave()) {
        (Ok(_), Err(cause)) => Err(cause),
        (ended, _) => ended,
    }
}

/// Makes an error of a panic, so that the other ranks hear of it too.
fn unless_it_panics<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("a fault in the program, or a library that gave up: {}", text.unwrap_or("a panic")))
    })
}

/// One rank of a run, or the only one.
struct Rank {
    config: RunConfig,
    /// Processes that share this host's processors.
    sharers: u32,
    team: Arc<Team>,
    signals: Signals,
}

impl Rank {
    fn run(self, arguments: &TrainArgs, chosen: Result<Chosen>) -> Result<ExitCode> {
        let Rank { config, sharers, team, signals } = self;
        let (chosen, data) = (chosen?, data::find(&config)?);
        let folder = Path::new(&config.output_dir);
        let folder = if team.is_first() { RunFolder::open(folder)? } else { RunFolder::join(folder) };
        if team.is_first() {
            train_log::TRAIN_LOG.open(folder.path());
        }
        train_log::start();
        chosen.announce();

        let set = match data {
            Data::Set(set) => set,
            Data::Pictures(pictures) => match packed(&pictures, &config, folder.path(), &signals, &team)? {
                Ok(set) => set,
                Err(stop) => return Ok(stopped(stop, "while the pictures were packed")),
            },
        };
        let one_rank = arguments.dump_batches.is_none() || team.world() == 1;
        ensure!(one_rank, "--dump_batches writes down the batches of one rank: start without the others");
        let mut training =
            Training::open(config, &arguments.allow_drift, &set, folder, Arc::clone(&team), chosen.device)?;
        if training.is_done() {
            tracing::info!("nothing is left to do: step {} is done", training.steps_done());
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(folder) = &arguments.dump_batches {
            training.dump(folder, arguments.dump_steps)?;
        }
        let epochs = training.config().epochs as u32;
        let stages = topology::start(training.config(), set, training.cursor(), epochs, sharers, &Profile::default())?;
        let exporter = Exporter::install(stages.batches.meters())?;
        let meters = TrainMeters::register();
        let _server = if team.is_first() { status(training.config(), exporter)? } else { None };
        let flow = stages.batches.stop_handle();
        // A stopped flow is how the training thread hears of it while it waits for data; several ranks stop at a step.
        let _watch = if team.world() == 1 { Some(Watch::start(signals.clone(), flow.clone())?) } else { None };
        team.on_fault(move || flow.stop());
        match training.run(stages, &signals, meters)? {
            Some(stop) => Ok(stopped(stop, &format!("after step {}", training.steps_done()))),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// The set of the pictures in a folder, which rank 0 packs; or the signal that stopped it.
fn packed(
    pictures: &Path,
    config: &RunConfig,
    output: &Path,
    signals: &Signals,
    team: &Team,
) -> Result<Result<ShardSet, Stop>> {
    const KEY: &str = "packed";
    if !team.is_first() {
        let word = team.hear(KEY)?;
        return match word.strip_prefix(b"/") {
            Some(_) => Ok(Ok(data::open(Path::new(OsStr::from_bytes(&word)))?)),
            None => Ok(Err(Stop::of(String::from_utf8_lossy(&word).parse().unwrap_or(libc::SIGTERM)))),
        };
    }
    match (data::pack(pictures, config, output, signals.flag())?, signals.stop()) {
        (Some(set), _) => {
            team.tell(KEY, std::fs::canonicalize(set.folder())?.as_os_str().as_bytes())?;
            Ok(Ok(set))
        }
        (None, stop) => {
            let stop = stop.unwrap_or(Stop::of(libc::SIGTERM));
            team.tell(KEY, stop.signal().to_string().as_bytes())?;
            Ok(Err(stop))
        }
    }
}

/// Says that a signal ended the run, and gives its exit code.
fn stopped(stop: Stop, when: &str) -> ExitCode {
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
