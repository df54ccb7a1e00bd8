//! Losses that stay where chance puts them: the sign of a network that has collapsed or does not learn.
//!
//! Outputs that are all alike make the contrastive losses ln(K + 1), K the keys in the queue, and the group loss the
//! logarithm of the number of groups. A run begins there; one that is still there after a thousand steps is worth a
//! look.

use std::fmt::Write;

use mugs_compute::loss::LOSS_NAMES;
use mugs_compute::trainer::StepReport;

use crate::config::RunConfig;

/// Steps of this process before anything is said, and between two looks.
const PATIENCE: u64 = 1000;
/// Steps that a mean reaches back, about.
const WINDOW: f64 = 100.0;
/// How near to chance, as a share of it, counts as being there.
const NEAR: f64 = 0.005;

/// Watches the losses of a run.
pub struct CollapseAlarm {
    watched: Vec<Watched>,
    steps: u64,
}

struct Watched {
    /// The published name.
    name: &'static str,
    chance: f64,
    /// What the chance value is the logarithm of.
    outcomes: u64,
    mean: Option<f64>,
}

impl CollapseAlarm {
    /// For the losses that a configuration has.
    pub fn new(config: &RunConfig) -> Self {
        let outcomes = [config.instance_queue_size + 1, config.local_group_queue_size + 1, config.group_out_dim];
        let watched = LOSS_NAMES.into_iter().zip(outcomes).map(|(name, outcomes)| {
            let outcomes = outcomes.max(1) as u64;
            Watched { name, chance: (outcomes as f64).ln(), outcomes, mean: None }
        });
        Self { watched: watched.collect(), steps: 0 }
    }

    /// The values that losses have by chance, where a fresh run begins.
    pub fn expected(&self) -> String {
        let mut text = String::new();
        for Watched { name, chance, outcomes, .. } in &self.watched {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{name} ln({outcomes}) = {chance:.2}");
        }
        text
    }

    /// Takes a step; what is to be said, if something is.
    pub fn step(&mut self, report: &StepReport) -> Option<String> {
        self.steps += 1;
        for (name, loss) in &report.terms {
            if let Some(watched) = self.watched.iter_mut().find(|watched| watched.name == *name) {
                let mean = watched.mean.unwrap_or(*loss);
                watched.mean = Some(mean + (loss - mean) / WINDOW);
            }
        }
        if !self.steps.is_multiple_of(PATIENCE) {
            return None;
        }
        let stuck: Vec<String> = self.watched.iter().filter_map(Watched::stuck).collect();
        (!stuck.is_empty()).then(|| {
            format!(
                "{} for {} steps: the outputs may have collapsed, or nothing is learnt; look at lr, the teacher's \
                 temperature and the crops",
                stuck.join(" and "),
                self.steps
            )
        })
    }
}

impl Watched {
    fn stuck(&self) -> Option<String> {
        let mean = self.mean?;
        let near = (mean - self.chance).abs() <= NEAR * self.chance;
        near.then(|| format!("{} has stayed at {mean:.3}, its value by chance (ln {})", self.name, self.outcomes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm() -> CollapseAlarm {
        let small = RunConfig { instance_queue_size: 4095, group_out_dim: 1024, ..RunConfig::default() };
        CollapseAlarm::new(&small)
    }

    /// What is said in some steps of two losses.
    fn said(alarm: &mut CollapseAlarm, steps: u64, instance: f64, group: f64) -> Vec<String> {
        let terms = vec![("instance-sup.", instance), ("group-sup.", group)];
        (0..steps).filter_map(|_| alarm.step(&StepReport { total: 1.0, terms: terms.clone() })).collect()
    }

    #[test]
    fn says_what_is_expected_by_chance() {
        let expected = "instance-sup. ln(4096) = 8.32, local-group-sup. ln(65537) = 11.09, group-sup. ln(1024) = 6.93";
        assert_eq!(alarm().expected(), expected);
    }

    #[test]
    fn a_loss_that_stays_at_chance_is_named_and_one_that_moves_is_not() {
        let mut alarm = alarm();
        let (instance, group) = (4096_f64.ln(), 1024_f64.ln());
        assert!(said(&mut alarm, 999, instance, group - 0.5).is_empty());
        let first = said(&mut alarm, 1, instance, group - 0.5);
        assert_eq!(first.len(), 1);
        assert!(
            first[0].starts_with("instance-sup. has stayed at 8.318, its value by chance (ln 4096) for 1000 steps")
        );
        // It learns at last; the other collapses to equal groups.
        let second = said(&mut alarm, 1000, instance - 1.0, group * 0.998);
        assert_eq!(second.len(), 1);
        assert!(second[0].starts_with("group-sup. has stayed at 6.918"), "{second:?}");
        assert!(said(&mut alarm, 1000, instance - 1.0, group - 1.0).is_empty());
    }
}
