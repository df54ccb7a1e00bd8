//! Where the crop stage's time goes, operator by operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What time is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Drawing a picture's plan.
    Plan,
    /// Putting the decoded picture into planes.
    Planes,
    /// Crop, bicubic resize and mirroring.
    Resize,
    /// Brightness of weak crops.
    Brightness,
    /// Contrast of weak crops, with the mean luma.
    Contrast,
    /// Saturation, and Color of strong crops.
    Saturation,
    /// Hue.
    Hue,
    /// Gray.
    Grayscale,
    /// Gaussian blur.
    Blur,
    /// Counts of values and mean lumas of whole pictures.
    Statistics,
    /// Operators that are tables: AutoContrast, Equalize, Invert, Solarize, Posterize …
    LookUp,
    /// Sharpness.
    Sharpness,
    /// Shears and translations.
    Shear,
    /// Rotations.
    Rotate,
    /// Copying finished crops to their place.
    Finish,
}

impl Task {
    /// All of them, in the order of the recipe.
    pub const ALL: [Task; 15] = [
        Task::Plan,
        Task::Planes,
        Task::Resize,
        Task::Brightness,
        Task::Contrast,
        Task::Saturation,
        Task::Hue,
        Task::Grayscale,
        Task::Blur,
        Task::Statistics,
        Task::LookUp,
        Task::Sharpness,
        Task::Shear,
        Task::Rotate,
        Task::Finish,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Task::Plan => "plan",
            Task::Planes => "planes",
            Task::Resize => "resize",
            Task::Brightness => "brightness",
            Task::Contrast => "contrast",
            Task::Saturation => "saturation",
            Task::Hue => "hue",
            Task::Grayscale => "grayscale",
            Task::Blur => "blur",
            Task::Statistics => "statistics",
            Task::LookUp => "look-up",
            Task::Sharpness => "sharpness",
            Task::Shear => "shear, translate",
            Task::Rotate => "rotate",
            Task::Finish => "finish",
        }
    }
}

/// Counts calls and time; clones count together. Switched off it costs one branch a call.
#[derive(Debug, Clone, Default)]
pub struct Profile(Option<Arc<[Counter; Task::ALL.len()]>>);

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Profile {
    /// One that counts. ([`Profile::default`] does not.)
    pub fn counting() -> Self {
        Self(Some(Arc::default()))
    }

    /// Runs work and counts it.
    #[inline]
    pub(super) fn run<T>(&self, task: Task, work: impl FnOnce() -> T) -> T {
        let Some(counters) = &self.0 else { return work() };
        let start = Instant::now();
        let out = work();
        let counter = &counters[task as usize];
        counter.calls.fetch_add(1, Ordering::Relaxed);
        counter.nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        out
    }

    /// Calls and time so far, in the order of [`Task::ALL`].
    pub fn totals(&self) -> Vec<(Task, u64, Duration)> {
        let Some(counters) = &self.0 else { return Vec::new() };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let total = |task: Task, counter: &Counter| {
            (task, read(&counter.calls), Duration::from_nanos(read(&counter.nanoseconds)))
        };
        Task::ALL.into_iter().zip(&**counters).map(|(task, counter)| total(task, counter)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together_and_the_default_counts_nothing() {
        let profile = Profile::counting();
        assert_eq!(profile.clone().run(Task::Hue, || 7), 7);
        profile.run(Task::Hue, || std::thread::sleep(Duration::from_millis(2)));
        let (task, calls, time) = profile.totals()[Task::Hue as usize];
        assert_eq!((task, calls), (Task::Hue, 2));
        assert!(time >= Duration::from_millis(2));
        assert!(Profile::default().totals().is_empty());
    }

    #[test]
    fn tasks_stand_at_their_own_place() {
        for (place, task) in Task::ALL.into_iter().enumerate() {
            assert_eq!(task as usize, place);
        }
    }
}
