//! What is said about each step: meters, the progress line, the sums of the epoch.

use std::time::{Duration, Instant};

use mugs_compute::trainer::{Rates, StepReport};
use mugs_image::{Image, encode};

use crate::status::{Progress, ProgressLine, TensorBoard, TensorBoardStep, TrainMeters};

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
    /// Rates of the step.
    pub rates: Rates,
}

/// Tells people and machines about the steps.
pub struct Reporter {
    meters: TrainMeters,
    progress: Progress,
    tensorboard: TensorBoard,
    start: Instant,
    images: u64,
    waited: Duration,
}

impl Reporter {
    /// Starts with `first` steps done, of `last`.
    pub fn new(meters: TrainMeters, tensorboard: TensorBoard, first: u64, last: u64) -> Self {
        let progress = Progress::start(first, last);
        Self { meters, progress, tensorboard, start: Instant::now(), images: 0, waited: Duration::ZERO }
    }

    /// The meters, for what is no step.
    pub fn meters(&self) -> &TrainMeters {
        &self.meters
    }

    /// Reports one step.
    pub fn step(&mut self, place: &StepPlace, report: &StepReport, took: Duration, waited: Duration) {
        self.images += place.images as u64;
        self.waited += waited;
        self.meters.step(place.done, place.epoch, place.images, place.rates.lr, took, waited);
        let terms = || std::iter::once(("total", report.total)).chain(report.terms.iter().map(|(n, v)| (short(n), *v)));
        self.meters.losses(terms());
        let scalars = || {
            let losses = terms().map(|(name, value)| (format!("loss/{}", name.replace('-', "_")), value));
            losses.chain(rates(&place.rates)).collect()
        };
        let (done, images) = (place.done, place.images);
        self.tensorboard.step(&TensorBoardStep { done, images, waited, scalars: &scalars });
        let elapsed = self.start.elapsed().as_secs_f64().max(1e-9);
        let (images, waited) = (self.images, self.waited);
        self.progress.update(place.done, || ProgressLine {
            epoch: (place.epoch, place.epochs),
            losses: terms().map(|(name, value)| (name.to_owned(), value)).collect(),
            images_per_second: images as f64 / elapsed,
            data_wait: waited.as_secs_f64() / elapsed,
        });
    }

    /// Shows the crops that step `step` begins an epoch with, where TensorBoard's events are written.
    pub fn crops(&mut self, step: u64, draw: impl FnOnce() -> Image) {
        if self.tensorboard.is_on() {
            let image = draw();
            match encode::png(&image) {
                Ok(png) => self.tensorboard.image(step, "crops", (image.width, image.height), &png),
                Err(error) => tracing::warn!("no picture of the crops of step {step}: {error}"),
            }
        }
    }
}

fn rates(rates: &Rates) -> impl Iterator<Item = (String, f64)> {
    let named = [
        ("lr", rates.lr),
        ("wd", rates.weight_decay),
        ("momentum", rates.momentum),
        ("teacher_temp", rates.teacher_temp),
    ];
    named.into_iter().map(|(name, rate)| (name.to_owned(), rate))
}

/// `instance-sup.` as people and labels say it: `instance`.
fn short(name: &str) -> &str {
    name.strip_suffix("-sup.").unwrap_or(name)
}
