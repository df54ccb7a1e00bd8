//! Signals: SIGTERM and SIGINT end a run after a checkpoint, SIGUSR1 asks for a checkpoint and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// A signal that ends the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    signal: i32,
}

impl Stop {
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
        let signals = Self::default();
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal passes the shutdown, still unarmed, and arms it for the second.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&signals.asked))
                .and_then(|_| flag::register(signal, Arc::clone(&signals.asked)))
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
