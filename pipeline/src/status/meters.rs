//! The meters of the training thread; handles are made once and only moved afterwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use mugs_data::Dropped;
use mugs_data::bad::BAD_SAMPLE_REASONS;

/// The time of [`TrainMeters::gradient_sync`], which the exporter renders in seconds.
static SYNC_NANOSECONDS: AtomicU64 = AtomicU64::new(0);

/// See [`TrainMeters::gradient_sync`].
pub(super) fn gradient_sync() -> Duration {
    Duration::from_nanos(SYNC_NANOSECONDS.load(Ordering::Relaxed))
}

/// Handles of everything that the training thread reports.
pub struct TrainMeters {
    step: Gauge,
    epoch: Gauge,
    learning_rate: Gauge,
    images: Counter,
    step_duration: Histogram,
    data_wait: Histogram,
    checkpoint: Gauge,
    decode_warnings: Counter,
    fetch_retries: Counter,
    /// By reason.
    dropped: [(&'static str, Counter); BAD_SAMPLE_REASONS.len()],
}

impl TrainMeters {
    /// Registers the families; the recorder must be installed before.
    pub fn register() -> Self {
        describe_gauge!("mugs_train_step", "Optimiser steps done since the start of the run.");
        describe_gauge!("mugs_train_epoch", "Epoch under way, from 0.");
        describe_gauge!("mugs_learning_rate", "Learning rate of the first parameter group.");
        describe_gauge!("mugs_train_loss", "Loss of the last step by term; total is what is minimised.");
        describe_gauge!(
            "mugs_train_cluster_entropy",
            "How evenly the teacher uses the groups, 0 to 1: entropy of the centre, mean entropy of the targets."
        );
        describe_gauge!("mugs_train_loss_scale", "With float16: the factor on the loss.");
        describe_counter!(
            "mugs_train_overflowed_steps_total",
            "With float16: steps whose gradients overflowed, which left the weights as they were."
        );
        describe_counter!("mugs_images_total", "Pictures trained on since this process started.");
        describe_counter!("mugs_fetch_retries_total", "Reads that were tried again, by reason.");
        describe_histogram!("mugs_step_duration_seconds", "Time of one training step, without waiting for data.");
        describe_histogram!("mugs_data_wait_seconds", "Time that the training thread waited for a batch.");
        describe_counter!("mugs_decode_warnings_total", "Pictures delivered although libjpeg warned about them.");
        describe_counter!("mugs_samples_dropped_total", "Bad samples left out of the steps done, by reason.");
        describe_gauge!(
            "mugs_checkpoint_last_success_timestamp_seconds",
            "Unix time of the last checkpoint that was written completely."
        );
        Self {
            step: gauge!("mugs_train_step"),
            epoch: gauge!("mugs_train_epoch"),
            learning_rate: gauge!("mugs_learning_rate"),
            images: counter!("mugs_images_total"),
            step_duration: histogram!("mugs_step_duration_seconds"),
            data_wait: histogram!("mugs_data_wait_seconds"),
            checkpoint: gauge!("mugs_checkpoint_last_success_timestamp_seconds"),
            decode_warnings: counter!("mugs_decode_warnings_total"),
            fetch_retries: counter!("mugs_fetch_retries_total", "reason" => "io"),
            dropped: BAD_SAMPLE_REASONS
                .map(|reason| (reason, counter!("mugs_samples_dropped_total", "reason" => reason))),
        }
    }

    /// Reports one finished step. The number of steps comes last: what is read after it covers as many.
    pub fn step(&self, step: u64, epoch: usize, images: usize, rate: f64, took: Duration, waited: Duration) {
        self.epoch.set(epoch as f64);
        self.learning_rate.set(rate);
        self.images.increment(images as u64);
        self.step_duration.record(took);
        self.data_wait.record(waited);
        self.step.set(step as f64);
    }

    /// Reports how long this rank has waited for the gradients of others since it started.
    pub fn gradient_sync(&self, waited: Duration) {
        SYNC_NANOSECONDS.store(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Reports the loss of a step, one value for each term.
    pub fn losses<'a>(&self, terms: impl Iterator<Item = (&'a str, f64)>) {
        for (term, value) in terms {
            gauge!("mugs_train_loss", "term" => term.to_owned()).set(value);
        }
    }

    /// Reports how evenly the teacher uses the groups, 0 to 1: by the centre, by the targets.
    pub fn cluster_entropy(&self, of: &'static str, share: f64) {
        gauge!("mugs_train_cluster_entropy", "of" => of).set(share);
    }

    /// Reports a step in float16: the factor on the loss from here on, and whether a gradient overflowed.
    pub fn scaled(&self, scale: f64, overflowed: bool) {
        gauge!("mugs_train_loss_scale").set(scale);
        counter!("mugs_train_overflowed_steps_total").increment(u64::from(overflowed));
    }

    /// Reports the data stages' totals: pictures decoded with a warning of libjpeg, reads tried again.
    pub fn data(&self, warnings: u64, retries: u64) {
        self.decode_warnings.absolute(warnings);
        self.fetch_retries.absolute(retries);
    }

    /// Reports bad samples that a batch was to hold.
    pub fn dropped(&self, samples: &[Dropped]) {
        for sample in samples {
            let counter = self.dropped.iter().find(|(reason, _)| *reason == sample.reason);
            if let Some((_, counter)) = counter {
                counter.increment(1);
            }
        }
    }

    /// Reports when a checkpoint was on the disk.
    pub fn checkpoint(&self, at: SystemTime) {
        self.checkpoint.set(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }
}
