//! What is said about each step: meters, the progress line, the sums of the epoch.

use std::time::{Duration, Instant};

use mugs_compute::trainer::StepReport;

use crate::status::{Progress, ProgressLine, TrainMeters};

/// Where a step stands in the run.
pub struct StepPlace {
    /// Steps done, this one included.
    pub done: u64,
    /// Epoch of the step, from 0.
    pub epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Pictures in the step.
    pub images: usize,
    /// Learning rate of the step.
    pub lr: f64,
}

/// Tells people and machines about the steps.
pub struct Reporter {
    meters: TrainMeters,
    progress: Progress,
    start: Instant,
    images: u64,
    waited: Duration,
}

impl Reporter {
    /// Starts with `first` steps done, of `last`.
    pub fn new(meters: TrainMeters, first: u64, last: u64) -> Self {
        let progress = Progress::start(first, last);
        Self { meters, progress, start: Instant::now(), images: 0, waited: Duration::ZERO }
    }

    /// The meters, for what is no step.
    pub fn meters(&self) -> &TrainMeters {
        &self.meters
    }

    /// Reports one step.
    pub fn step(&mut self, place: &StepPlace, report: &StepReport, took: Duration, waited: Duration) {
        self.images += place.images as u64;
        self.waited += waited;
        self.meters.step(place.done, place.epoch, place.images, place.lr, took, waited);
        let terms = || std::iter::once(("total", report.total)).chain(report.terms.iter().map(|(n, v)| (short(n), *v)));
        self.meters.losses(terms());
        let elapsed = self.start.elapsed().as_secs_f64().max(1e-9);
        let (images, waited) = (self.images, self.waited);
        self.progress.update(place.done, || ProgressLine {
            epoch: (place.epoch, place.epochs),
            losses: terms().map(|(name, value)| (name.to_owned(), value)).collect(),
            images_per_second: images as f64 / elapsed,
            data_wait: waited.as_secs_f64() / elapsed,
        });
    }
}

/// `instance-sup.` as people and labels say it: `instance`.
fn short(name: &str) -> &str {
    name.strip_suffix("-sup.").unwrap_or(name)
}
