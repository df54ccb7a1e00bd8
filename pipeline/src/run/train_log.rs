//! `train.log`: the lines of a run that people read, with their times and without colours.

use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{Level, Metadata};

/// Target of events that are for the file alone: standard error says the same in another form.
pub const FILE_ONLY: &str = "train_log";

/// The most bytes that wait for the run folder to be known; what comes after them waits in vain.
const MOST_WAITING: usize = 1 << 20;

/// Where the log lines of `train` go beside standard error.
///
/// Lines that come before the run folder is open wait for it. A log that cannot be written is a warning, once: no
/// training ends because of it.
pub struct TrainLog {
    state: Mutex<State>,
}

enum State {
    Waiting(Vec<u8>),
    Open { path: PathBuf, file: File },
    Off,
}

impl TrainLog {
    /// A log that waits for its folder.
    pub const fn new() -> Self {
        Self { state: Mutex::new(State::Waiting(Vec::new())) }
    }

    /// Appends to `train.log` of the run folder from now on, first what has waited.
    pub fn open(&self, folder: &Path) {
        let mut state = self.lock();
        let path = folder.join("train.log");
        let before = std::mem::replace(&mut *state, State::Off);
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => *state = State::Open { path, file },
            Err(error) => return warn(&path, &error),
        }
        if let State::Waiting(lines) = before {
            append(&mut state, &lines);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while it wrote leaves at worst half a line.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for TrainLog {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes one event; the subscriber hands over a whole line at once.
impl Write for &TrainLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        append(&mut self.lock(), line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of this process, as there is one subscriber.
pub static TRAIN_LOG: TrainLog = TrainLog::new();

/// Whether standard error gets warnings and errors alone.
static ONLY_WARNINGS: AtomicBool = AtomicBool::new(false);

/// From now on standard error gets warnings and errors alone: the first of several ranks speaks for all.
pub fn only_warnings() {
    ONLY_WARNINGS.store(true, Ordering::Relaxed);
}

/// Whether standard error gets an event of this kind.
pub fn is_shown(event: &Metadata<'_>) -> bool {
    event.target() != FILE_ONLY && (*event.level() <= Level::WARN || !ONLY_WARNINGS.load(Ordering::Relaxed))
}

/// Says in the file which build starts, and how it was called.
pub fn start() {
    let arguments: Vec<String> = std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect();
    note(format_args!("mugs-pipeline {} ({}): {}", env!("CARGO_PKG_VERSION"), env!("MUGS_GIT"), arguments.join(" ")));
}

/// Writes a line to the file alone.
pub fn note(line: Arguments<'_>) {
    tracing::info!(target: FILE_ONLY, "{line}");
}

fn append(state: &mut State, line: &[u8]) {
    match state {
        State::Waiting(lines) if lines.len() < MOST_WAITING => lines.extend_from_slice(line),
        State::Open { path, file } => {
            if let Err(error) = file.write_all(line) {
                warn(path, &error);
                *state = State::Off;
            }
        }
        State::Waiting(_) | State::Off => {}
    }
}

/// Not as an event: that would come back here.
fn warn(path: &Path, error: &io::Error) {
    eprintln!("warning: {} is no longer written: {error}; the run goes on", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(folder: &Path) -> String {
        std::fs::read_to_string(folder.join("train.log")).unwrap()
    }

    #[test]
    fn lines_wait_for_the_folder_and_every_start_appends() {
        let folder = tempfile::tempdir().unwrap();
        let first = TrainLog::new();
        (&first).write_all(b"before\n").unwrap();
        first.open(folder.path());
        (&first).write_all(b"after\n").unwrap();
        assert_eq!(text(folder.path()), "before\nafter\n");

        let second = TrainLog::new();
        second.open(folder.path());
        (&second).write_all(b"again\n").unwrap();
        assert_eq!(text(folder.path()), "before\nafter\nagain\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_ends_the_log_and_nothing_else() {
        let log = TrainLog::new();
        *log.lock() =
            State::Open { path: "/dev/full".into(), file: File::options().write(true).open("/dev/full").unwrap() };
        (&log).write_all(b"lost\n").unwrap();
        assert!(matches!(*log.lock(), State::Off));
        (&log).write_all(b"lost too\n").unwrap();

        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("train.log")).unwrap();
        let log = TrainLog::new();
        log.open(folder.path());
        (&log).write_all(b"lost\n").unwrap();
        assert!(matches!(*log.lock(), State::Off));
    }

    #[test]
    fn what_waits_is_bounded() {
        let log = TrainLog::new();
        for _ in 0..3 {
            (&log).write_all(&vec![b'x'; MOST_WAITING]).unwrap();
        }
        assert!(matches!(&*log.lock(), State::Waiting(lines) if lines.len() == MOST_WAITING));
    }
}
