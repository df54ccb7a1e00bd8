//! Rates that change during a run: learning rate, weight decay, teacher momentum and teacher temperature.
//!
//! The rules are those of section 6 (per iteration) and section 5 (temperature, per epoch) of the method: a linear
//! warm-up whose end points are both included, then a half cosine that starts again at the peak. Everything is
//! computed in float64 from the iteration's number alone, so a resumed run needs no state.

use std::f64::consts::PI;

/// Why a schedule cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// The warm-up is longer than the run.
    #[error(
        "a warm-up of {warmup} epochs (`warmup_epochs`) does not fit into a run of {epochs}; shorten it or train longer"
    )]
    WarmupTooLong {
        /// Warm-up epochs asked for.
        warmup: u32,
        /// Epochs of the run.
        epochs: u32,
    },
    /// There is nothing to schedule.
    #[error("a run of {epochs} epochs of {iterations} iterations has no step")]
    Empty {
        /// Epochs of the run.
        epochs: u32,
        /// Iterations in each epoch.
        iterations: u64,
    },
    /// A rate is outside its range, infinite or not a number.
    #[error("`{option}` is {value}, but must be a finite number {range}")]
    Rate {
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed, in words.
        range: &'static str,
    },
}

/// A linear warm-up from 0 followed by a half cosine, by iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cosine {
    base: f64,
    end: f64,
    warmup: u64,
    total: u64,
}

impl Cosine {
    /// A schedule over `total` iterations that rises from 0 to `base` in the first `warmup` of them (the last of
    /// which is at `base`) and then falls from `base` towards `end`, which it does not reach.
    pub fn new(base: f64, end: f64, warmup: u64, total: u64) -> Self {
        Self { base, end, warmup: warmup.min(total), total }
    }

    /// The value at an iteration counted from 0. Past the end of the run it is the end value.
    pub fn at(&self, iteration: u64) -> f64 {
        if iteration < self.warmup {
            return linear(0.0, self.base, iteration, self.warmup);
        }
        if iteration >= self.total {
            return self.end;
        }
        let done = (iteration - self.warmup) as f64;
        let length = (self.total - self.warmup) as f64;
        self.end + 0.5 * (self.base - self.end) * (1.0 + (PI * done / length).cos())
    }
}

/// Point `index` of `count` equally spaced points from `start` to `end`, both included; a single point is the start.
fn linear(start: f64, end: f64, index: u64, count: u64) -> f64 {
    match count {
        0 | 1 => start,
        _ if index + 1 >= count => end,
        _ => start + index as f64 * ((end - start) / (count - 1) as f64),
    }
}

/// The temperature of the teacher's group assignments, by epoch: a linear warm-up, then constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TeacherTemperature {
    /// Temperature of epoch 0, for example 0.04.
    pub start: f64,
    /// Temperature after the warm-up, for example 0.07.
    pub end: f64,
    /// Epochs of the warm-up; its last epoch is already at `end`. 0 for none.
    pub warmup_epochs: u32,
}

impl TeacherTemperature {
    /// The temperature in an epoch counted from 0.
    pub fn at(&self, epoch: u32) -> f64 {
        if epoch >= self.warmup_epochs {
            return self.end;
        }
        linear(self.start, self.end, epoch.into(), self.warmup_epochs.into())
    }
}

/// What the schedules of a run are made from. The names are those of the published options.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleConfig {
    /// Epochs of the whole run. `--max_steps` ends a run early but does not change this.
    pub epochs: u32,
    /// Steps of one epoch.
    pub steps_per_epoch: u64,
    /// Images in one step over all ranks; the learning rate is scaled by it.
    pub global_batch: u64,
    /// Learning rate for 256 images.
    pub lr: f64,
    /// Learning rate at the end, not scaled.
    pub min_lr: f64,
    /// Epochs in which the learning rate rises.
    pub warmup_epochs: u32,
    /// Weight decay at the start.
    pub weight_decay: f64,
    /// Weight decay at the end.
    pub weight_decay_end: f64,
    /// Teacher momentum at the start; it ends at 1.
    pub momentum_teacher: f64,
    /// Teacher temperature.
    pub teacher_temp: TeacherTemperature,
    /// Epochs in which the group head's last layer gets no gradient.
    pub freeze_last_layer: u32,
    /// L2 norm to which each parameter's gradient is clipped; 0 switches clipping off.
    pub clip_grad: f64,
    /// Whether `clip_grad` falls to a tenth after epoch 100, as published for vit_large.
    pub clips_harder_late: bool,
}

/// The rates of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rate, before the patch embedding's multiplier.
    pub lr: f64,
    /// Weight decay of the decayed groups.
    pub weight_decay: f64,
    /// Momentum of the teacher's average.
    pub momentum: f64,
    /// Temperature of the teacher's cluster assignments.
    pub teacher_temp: f64,
    /// Whether the group head's last layer stays as it is.
    pub freeze_last_layer: bool,
    /// L2 norm to which each parameter's gradient is clipped; 0 switches clipping off.
    pub clip_grad: f64,
}

/// Up to this epoch, counted from 0, `clip_grad` stays as it is; then it may fall to a tenth (method.md, section 6).
const LAST_LOOSE_EPOCH: u32 = 100;

/// All schedules of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedules {
    steps_per_epoch: u64,
    lr: Cosine,
    weight_decay: Cosine,
    momentum: Cosine,
    teacher_temp: TeacherTemperature,
    freeze_last_layer: u32,
    clip_grad: f64,
    clips_harder_late: bool,
}

impl Schedules {
    /// Makes the schedules of a run, or says which option cannot be right.
    pub fn new(config: &ScheduleConfig) -> Result<Self, ScheduleError> {
        check(config)?;
        let warmup = u64::from(config.warmup_epochs) * config.steps_per_epoch;
        let total = u64::from(config.epochs) * config.steps_per_epoch;
        let peak = config.lr * config.global_batch as f64 / 256.0;
        Ok(Self {
            steps_per_epoch: config.steps_per_epoch,
            lr: Cosine::new(peak, config.min_lr, warmup, total),
            weight_decay: Cosine::new(config.weight_decay, config.weight_decay_end, 0, total),
            momentum: Cosine::new(config.momentum_teacher, 1.0, 0, total),
            teacher_temp: config.teacher_temp,
            freeze_last_layer: config.freeze_last_layer,
            clip_grad: config.clip_grad,
            clips_harder_late: config.clips_harder_late,
        })
    }

    /// The rates of a step counted from 0 in an epoch counted from 0.
    pub fn at(&self, epoch: u32, step: u64) -> Rates {
        let iteration = u64::from(epoch) * self.steps_per_epoch + step;
        Rates {
            lr: self.lr.at(iteration),
            weight_decay: self.weight_decay.at(iteration),
            momentum: self.momentum.at(iteration),
            teacher_temp: self.teacher_temp.at(epoch),
            freeze_last_layer: epoch < self.freeze_last_layer,
            clip_grad: if self.clips_harder_late && epoch > LAST_LOOSE_EPOCH {
                self.clip_grad / 10.0
            } else {
                self.clip_grad
            },
        }
    }
}

fn check(config: &ScheduleConfig) -> Result<(), ScheduleError> {
    let ScheduleConfig { epochs, steps_per_epoch: iterations, .. } = *config;
    if epochs == 0 || iterations == 0 {
        return Err(ScheduleError::Empty { epochs, iterations });
    }
    if config.warmup_epochs > epochs {
        return Err(ScheduleError::WarmupTooLong { warmup: config.warmup_epochs, epochs });
    }
    let temperature = config.teacher_temp;
    let rates = [
        ("lr", config.lr, 0.0..=f64::MAX, "0 or above"),
        ("min_lr", config.min_lr, 0.0..=f64::MAX, "0 or above"),
        ("weight_decay", config.weight_decay, 0.0..=f64::MAX, "0 or above"),
        ("weight_decay_end", config.weight_decay_end, 0.0..=f64::MAX, "0 or above"),
        ("clip_grad", config.clip_grad, 0.0..=f64::MAX, "0 or above"),
        ("momentum_teacher", config.momentum_teacher, 0.0..=1.0, "between 0 and 1"),
        ("group_warmup_teacher_temp", temperature.start, f64::MIN_POSITIVE..=f64::MAX, "above 0"),
        ("group_teacher_temp", temperature.end, f64::MIN_POSITIVE..=f64::MAX, "above 0"),
    ];
    match rates.into_iter().find(|(_, value, range, _)| !range.contains(value)) {
        Some((option, value, _, range)) => Err(ScheduleError::Rate { option, value, range }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ScheduleConfig {
        ScheduleConfig {
            epochs: 4,
            steps_per_epoch: 3,
            global_batch: 512,
            lr: 1e-3,
            min_lr: 1e-5,
            warmup_epochs: 1,
            weight_decay: 0.04,
            weight_decay_end: 0.4,
            momentum_teacher: 0.996,
            teacher_temp: TeacherTemperature { start: 0.04, end: 0.07, warmup_epochs: 2 },
            freeze_last_layer: 1,
            clip_grad: 3.0,
            clips_harder_late: false,
        }
    }

    #[test]
    fn clipping_gets_harder_after_epoch_100_only_where_it_is_asked_for() {
        let limits = |clips_harder_late| {
            let schedules = Schedules::new(&ScheduleConfig { epochs: 250, clips_harder_late, ..config() }).unwrap();
            [0, 100, 101, 249].map(|epoch| schedules.at(epoch, 2).clip_grad)
        };
        assert_eq!(limits(false), [3.0; 4]);
        assert_eq!(limits(true), [3.0, 3.0, 3.0 / 10.0, 3.0 / 10.0]);
    }

    #[test]
    fn the_peak_comes_twice_and_a_thaw_once() {
        let schedules = Schedules::new(&config()).unwrap();
        let first = schedules.at(0, 0);
        assert_eq!((first.lr, first.teacher_temp, first.freeze_last_layer), (0.0, 0.04, true));
        assert_eq!(schedules.at(0, 2).lr, 2e-3);
        let second = schedules.at(1, 0);
        assert_eq!((second.lr, second.teacher_temp, second.freeze_last_layer), (2e-3, 0.07, false));
        assert!(schedules.at(3, 2).lr > 1e-5);
        // Past the end nothing moves on.
        assert_eq!((schedules.at(9, 0).lr, schedules.at(9, 0).momentum), (1e-5, 1.0));
    }

    #[test]
    fn impossible_options_are_named() {
        let message = |change: fn(&mut ScheduleConfig)| {
            let mut config = config();
            change(&mut config);
            Schedules::new(&config).unwrap_err().to_string()
        };
        assert!(message(|config| config.epochs = 0).contains("no step"));
        assert!(message(|config| config.warmup_epochs = 5).contains("warm-up of 5 epochs"));
        assert!(message(|config| config.lr = f64::NAN).contains("`lr` is NaN"));
        assert!(message(|config| config.momentum_teacher = 1.5).contains("between 0 and 1"));
        assert!(message(|config| config.teacher_temp.end = 0.0).contains("`group_teacher_temp` is 0"));
    }
}
