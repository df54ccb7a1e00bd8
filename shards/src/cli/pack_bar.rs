//! How far `pack` has come.

use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use mugs_shards::{Phase, Progress};

/// A line on a terminal; nothing elsewhere.
pub(super) struct PackBar {
    bar: ProgressBar,
    phase: Cell<Option<Phase>>,
}

impl PackBar {
    /// Shows that the source is being listed until the first sample is done.
    pub(super) fn new(source: &Path) -> anyhow::Result<Self> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}")?);
        bar.set_message(format!("listing {}", source.display()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self { bar, phase: Cell::new(None) })
    }

    pub(super) fn show(&self, progress: Progress) {
        let Progress { phase, samples, total, bytes, total_bytes } = progress;
        let first = self.phase.replace(Some(phase)) != Some(phase);
        let (length, position) = match phase {
            Phase::Reading => (total_bytes, bytes),
            Phase::Packing => (total, samples),
        };
        if first {
            self.bar.disable_steady_tick();
            self.bar.set_length(length);
            // What an earlier run did is no rate.
            self.bar.reset_eta();
            self.bar.set_style(style(phase));
        }
        match phase {
            Phase::Reading => self.bar.set_message(format!("{samples} pictures")),
            Phase::Packing => self.bar.set_message(DecimalBytes(bytes).to_string()),
        }
        self.bar.set_position(position);
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(phase: Phase) -> ProgressStyle {
    let template = match phase {
        Phase::Reading => {
            "{elapsed_precise} reading {wide_bar} {decimal_bytes}/{decimal_total_bytes}, {msg}, {decimal_bytes_per_sec}, ETA {eta}"
        }
        Phase::Packing => {
            "{elapsed_precise} packing {wide_bar} {human_pos}/{human_len} pictures, {msg}, {rate}, ETA {eta}"
        }
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // The progress line cannot report an error.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    })
}
