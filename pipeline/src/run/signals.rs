//! Signals: SIGTERM and SIGINT end a run after a checkpoint, SIGUSR1 asks for a checkpoint and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level};

/// How soon a second SIGINT or SIGTERM is taken for the first one, in a process that a launcher started.
const ECHO: Duration = Duration::from_secs(2);

/// A signal that ends the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    signal: i32,
}

impl Stop {
    /// The stop that a signal of this number asks for.
    pub fn of(signal: i32) -> Self {
        Self { signal }
    }

    /// The signal's number.
    pub fn signal(self) -> i32 {
        self.signal
    }

    /// What the process exits with: 128 and the signal's number, as shells count.
    pub fn exit_code(self) -> u8 {
        128 + self.signal as u8
    }

    /// The signal's name.
    pub fn name(self) -> &'static str {
        if self.signal == SIGINT { "SIGINT" } else { "SIGTERM" }
    }
}

/// What signals have asked for so far.
#[derive(Clone, Default)]
pub struct Signals {
    stop: Arc<AtomicUsize>,
    /// Set with `stop`, for code that looks at a flag.
    asked: Arc<AtomicBool>,
    save: Arc<AtomicBool>,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGUSR1 of this process. A second SIGINT or SIGTERM ends it at once.
    pub fn install() -> Result<Self> {
        Self::install_with(Duration::ZERO)
    }

    /// The same for a process that a launcher started, which may get one signal twice: from a scheduler or a container's
    /// manager that signals every process, and from the launcher among them, which passes its own on. So a second signal
    /// within two seconds of the first does nothing; a later one ends the process at once.
    pub fn install_under_launcher() -> Result<Self> {
        Self::install_with(ECHO)
    }

    fn install_with(echo: Duration) -> Result<Self> {
        let signals = Self::default();
        let first = Arc::new(AtomicU64::new(0));
        for signal in [SIGTERM, SIGINT] {
            end_on_second(signal, echo, Arc::clone(&first))
                .and_then(|()| flag::register(signal, Arc::clone(&signals.asked)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&signals.stop), signal as usize))
                .context("the signal handlers cannot be installed")?;
        }
        flag::register(SIGUSR1, Arc::clone(&signals.save)).context("the signal handlers cannot be installed")?;
        Ok(signals)
    }

    /// The signal that asked the run to end, if one did.
    pub fn stop(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            signal => Some(Stop { signal: signal as i32 }),
        }
    }

    /// True once a signal asked the run to end.
    pub fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// Whether a checkpoint was asked for since the last call.
    pub fn take_save(&self) -> bool {
        self.save.swap(false, Ordering::AcqRel)
    }
}

/// Ends the process on a signal that comes `echo` or later after the `first` one, whose time is noted there.
fn end_on_second(signal: i32, echo: Duration, first: Arc<AtomicU64>) -> std::io::Result<()> {
    let echo = u64::try_from(echo.as_nanos()).unwrap_or(u64::MAX);
    let handler = move || {
        let now = nanoseconds();
        if let Err(first) = first.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire)
            && now.saturating_sub(first) >= echo
        {
            low_level::exit(128 + signal);
        }
    };
    // SAFETY: the handler reads a clock, compares numbers and may leave by _exit: nothing that a signal must not do.
    unsafe { low_level::register(signal, handler).map(drop) }
}

/// Time on a clock that only goes forward, more than 0. Unlike `Instant` it is a number, which fits an atomic.
fn nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec, which lives here, and may be called in signal handlers.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test of this binary that signals the process itself.
    #[test]
    fn a_signal_delivered_twice_asks_once() {
        let signals = Signals::install_with(Duration::from_secs(3600)).unwrap();
        assert!(signals.stop().is_none() && !signals.take_save());
        for signal in [SIGUSR1, SIGTERM, SIGTERM] {
            low_level::raise(signal).unwrap();
        }
        let stop = signals.stop().unwrap();
        assert_eq!((stop.name(), stop.exit_code()), ("SIGTERM", 143));
        assert!(signals.take_save() && !signals.take_save());
    }
}
