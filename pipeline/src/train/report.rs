//! What is said about each step: meters, the progress line, the sums of the epoch.

use std::time::{Duration, Instant};

use mugs_compute::RowAges;
use mugs_compute::trainer::{ClusterEntropy, Rates, StepReport};
use mugs_image::{Image, encode};

use super::alarm;
use crate::status::{Histogram, Progress, ProgressLine, TensorBoard, TensorBoardStep, TrainMeters};

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
    /// Starts with `first` steps done, of `last`; `shown` to people.
    pub fn new(meters: TrainMeters, tensorboard: TensorBoard, first: u64, last: u64, shown: bool) -> Self {
        let progress = Progress::start(first, last, shown);
        Self { meters, progress, tensorboard, start: Instant::now(), images: 0, waited: Duration::ZERO }
    }

    /// The meters, for what is no step.
    pub fn meters(&self) -> &TrainMeters {
        &self.meters
    }

    /// Reports one step. `entropy` waits for the device, and is asked for where it is shown.
    pub fn step(
        &mut self,
        place: &StepPlace,
        report: &StepReport,
        entropy: &dyn Fn() -> Option<ClusterEntropy>,
        took: Duration,
        waited: Duration,
    ) {
        let shares = || entropy().into_iter().flat_map(shares);
        if self.images == 0 || alarm::looks_at(place.done) {
            shares().for_each(|(of, share)| self.meters.cluster_entropy(of, share));
        }
        self.images += place.images as u64;
        self.waited += waited;
        self.meters.step(place.done, place.epoch, place.images, place.rates.lr, took, waited);
        let terms = || std::iter::once(("total", report.total)).chain(report.terms.iter().map(|(n, v)| (short(n), *v)));
        self.meters.losses(terms());
        report.loss_scale.iter().for_each(|scale| self.meters.scaled(*scale, report.overflowed.is_some()));
        let scalars = || {
            let losses = terms().map(|(name, value)| (format!("loss/{}", name.replace('-', "_")), value));
            let shares = shares().map(|(of, share)| (format!("cluster_entropy/{of}"), share));
            losses.chain(rates(&place.rates)).chain(shares).collect()
        };
        let (done, images) = (place.done, place.images);
        self.tensorboard.step(&TensorBoardStep { done, images, waited, scalars: &scalars });
        let elapsed = self.start.elapsed().as_secs_f64().max(1e-9);
        let (images, waited) = (self.images, self.waited);
        self.progress.update(place.done, || ProgressLine {
            epoch: (place.epoch, place.epochs),
            values: (terms().map(|(name, value)| (name.to_owned(), value)))
                .chain(shares().map(|(of, share)| (format!("{of}_entropy"), share)))
                .collect(),
            images_per_second: images as f64 / elapsed,
            data_wait: waited.as_secs_f64() / elapsed,
        });
    }

    /// Shows how old the rows of memories and queues are behind step `step`, where TensorBoard's events are written.
    pub fn ages(&mut self, step: u64, rings: &[(&'static str, RowAges)]) {
        for (ring, ages) in rings {
            let counted: Vec<_> = ages.by_age.iter().map(|(age, rows)| (u64::from(*age), *rows as u64)).collect();
            if let Some(histogram) = Histogram::of(&counted) {
                self.tensorboard.histogram(step, &format!("age/{ring}"), &histogram);
            }
            let share = |rows: usize| rows as f64 / ages.rows().max(1) as f64;
            let apart = [("never_written", ages.never), ("written_before_start", ages.before)];
            let scalars = apart.map(|(name, rows)| (format!("{name}/{ring}"), share(rows)));
            self.tensorboard.scalars(step, &scalars);
        }
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

fn shares(entropy: ClusterEntropy) -> impl Iterator<Item = (&'static str, f64)> {
    [("center", Some(entropy.center)), ("target", entropy.target)]
        .into_iter()
        .filter_map(|(of, share)| Some((of, share?)))
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
