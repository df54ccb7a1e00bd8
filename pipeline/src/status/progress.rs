//! The progress line: where the run is, how fast, and until when.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::run::train_log;

/// How often the line is written where standard error is no terminal.
const QUIET_INTERVAL: Duration = Duration::from_secs(30);

/// What one line says.
#[derive(Clone, Debug, Default)]
pub struct ProgressLine {
    /// Epoch under way, from 0, and their number.
    pub epoch: (usize, usize),
    /// Loss terms of the last step by name, the total first; then the clusters' entropies.
    pub values: Vec<(String, f64)>,
    /// Pictures a second since the process started.
    pub images_per_second: f64,
    /// Share of the time that the training thread waited for data, 0 to 1.
    pub data_wait: f64,
}

impl ProgressLine {
    fn text(&self) -> String {
        let values: String = self.values.iter().map(|(name, value)| format!("{name} {value:.3} ")).collect();
        format!(
            "epoch {}/{} {values}{:.1} images/s, data wait {:.1} %",
            self.epoch.0 + 1,
            self.epoch.1,
            self.images_per_second,
            100.0 * self.data_wait
        )
    }
}

/// A bar on a terminal, a line now and then elsewhere.
pub struct Progress {
    /// Off on all ranks but the first.
    on: bool,
    bar: ProgressBar,
    terminal: bool,
    start: Instant,
    first: u64,
    last: u64,
    written: Instant,
    /// When `train.log` last got a line.
    noted: Instant,
}

impl Progress {
    /// Starts at step `first` of `last`, to be shown if `on`.
    pub fn start(first: u64, last: u64, on: bool) -> Self {
        let terminal = on && std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(4) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(last), target).with_position(first);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}, ETA {eta}") {
            bar.set_style(style);
        }
        bar.reset_eta();
        let now = Instant::now();
        Self { on, bar, terminal, start: now, first, last, written: now, noted: now }
    }

    /// Shows that `step` steps of the run are done.
    pub fn update(&mut self, step: u64, line: impl FnOnce() -> ProgressLine) {
        if !self.on {
            return;
        }
        let ends = step == self.last || step == self.first + 1;
        let due = |since: Instant| ends || since.elapsed() >= QUIET_INTERVAL;
        let (noted, shown) = (due(self.noted), self.terminal || due(self.written));
        if !noted && !shown {
            return;
        }
        let text = line().text();
        let whole = format!("step {step}/{} {text}, ETA {}", self.last, duration(self.eta(step)));
        if noted {
            self.noted = Instant::now();
            train_log::note(format_args!("{whole}"));
        }
        if self.terminal {
            self.bar.set_position(step);
            self.bar.set_message(text);
        } else if shown {
            self.written = Instant::now();
            eprintln!("{whole}");
        }
    }

    fn eta(&self, step: u64) -> Duration {
        let done = step.saturating_sub(self.first).max(1);
        let left = self.last.saturating_sub(step);
        Duration::from_secs_f64(self.start.elapsed().as_secs_f64() / done as f64 * left as f64)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A duration as people say it: `45s`, `3m20s`, `5h12m`, `9d4h`.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let text: Vec<String> =
            [45, 200, 18_720, 792_000].into_iter().map(|s| duration(Duration::from_secs(s))).collect();
        assert_eq!(text, ["45s", "3m20s", "5h12m", "9d4h"]);
    }
}
