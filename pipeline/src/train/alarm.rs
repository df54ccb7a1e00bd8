//! Losses that stay where chance puts them, and groups of which one takes all or none is told from another: the signs
//! of a network that has collapsed or does not learn.
//!
//! Outputs that are all alike make the contrastive losses ln(K + 1), K the keys in the queue, and the group loss the
//! logarithm of the number of groups. A run begins there; one that is still there after a thousand steps is worth a
//! look. The group loss alone does not tell how it collapses, the teacher's entropies do: that of its centre is near 0
//! where one group takes all, that of its targets near 1 where they tell no group from another.

use std::fmt::Write;

use mugs_compute::loss::LOSS_NAMES;
use mugs_compute::trainer::{ClusterEntropy, StepReport};

use crate::config::RunConfig;

/// Steps of this process before anything is said, and between two looks.
const PATIENCE: u64 = 1000;
/// Steps that a mean reaches back, about.
const WINDOW: f64 = 100.0;
/// How near to chance, as a share of it, counts as being there.
const NEAR: f64 = 0.005;

/// Steps from one look at the entropies to the next: each waits for the device.
const LOOK: u64 = 10;
/// The entropy of the centre, as a share of that of equal groups, below which one group takes all.
const ONE_TAKES_ALL: f64 = 0.02;

/// Whether the entropies are looked at behind the step of this number, from 1.
pub fn looks_at(step: u64) -> bool {
    step.is_multiple_of(LOOK)
}

/// Watches the losses of a run, and how evenly its teacher uses the groups.
pub struct CollapseAlarm {
    watched: Vec<Watched>,
    groups: i64,
    /// Of the centre and of the targets.
    entropies: [Option<f64>; 2],
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
        let watch = |(name, outcomes): (_, i64)| {
            let outcomes = outcomes.max(1) as u64;
            Watched { name, chance: (outcomes as f64).ln(), outcomes, mean: None }
        };
        let losses = LOSS_NAMES.into_iter().zip(outcomes).zip(&config.loss_weights);
        let watched = losses.filter(|(_, weight)| **weight > 0.0).map(|(loss, _)| watch(loss));
        Self { watched: watched.collect(), groups: config.group_out_dim, entropies: [None; 2], steps: 0 }
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

    /// Takes a step, with the entropies where they [were looked at](looks_at); what is to be said, if something is.
    pub fn step(&mut self, report: &StepReport, entropy: Option<ClusterEntropy>) -> Option<String> {
        self.steps += 1;
        for (name, loss) in &report.terms {
            if let Some(watched) = self.watched.iter_mut().find(|watched| watched.name == *name) {
                follow(&mut watched.mean, *loss, WINDOW);
            }
        }
        if let Some(ClusterEntropy { center, target }) = entropy {
            for (mean, share) in self.entropies.iter_mut().zip([Some(center), target]) {
                share.into_iter().for_each(|share| follow(mean, share, WINDOW / LOOK as f64));
            }
        }
        if !self.steps.is_multiple_of(PATIENCE) {
            return None;
        }
        let stuck: Vec<String> = self.watched.iter().filter_map(Watched::stuck).chain(self.uneven()).collect();
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

impl CollapseAlarm {
    /// What the entropies say of the groups.
    fn uneven(&self) -> impl Iterator<Item = String> {
        let (groups, [center, target]) = (self.groups, self.entropies);
        let one = center.filter(|share| *share < ONE_TAKES_ALL).map(|share| {
            format!("the centre's entropy has stayed at {share:.3} of ln({groups}), so one group takes nearly all")
        });
        let equal = target.filter(|share| *share > 1.0 - NEAR).map(|share| {
            format!("the targets' entropy has stayed at {share:.3} of ln({groups}), so no group is told from another")
        });
        one.into_iter().chain(equal)
    }
}

/// Moves a mean over the last `window` values or so.
fn follow(mean: &mut Option<f64>, value: f64, window: f64) {
    let before = mean.unwrap_or(value);
    *mean = Some(before + (value - before) / window);
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
        (0..steps)
            .filter_map(|_| alarm.step(&StepReport { total: 1.0, terms: terms.clone(), ..StepReport::default() }, None))
            .collect()
    }

    /// The same of the groups' entropies, with losses away from chance.
    fn said_of_groups(alarm: &mut CollapseAlarm, steps: u64, center: f64, target: f64) -> Vec<String> {
        let report = StepReport { total: 1.0, terms: vec![("group-sup.", 3.0)], ..StepReport::default() };
        let entropy = |step| looks_at(step).then_some(ClusterEntropy { center, target: Some(target) });
        (1..=steps).filter_map(|step| alarm.step(&report, entropy(step))).collect()
    }

    #[test]
    fn says_what_is_expected_by_chance() {
        let expected = "instance-sup. ln(4096) = 8.32, local-group-sup. ln(65537) = 11.09, group-sup. ln(1024) = 6.93";
        assert_eq!(alarm().expected(), expected);
    }

    #[test]
    fn a_loss_that_is_switched_off_is_not_expected() {
        let config = RunConfig { loss_weights: vec![1.0, 0.0, 1.0], ..RunConfig::default() };
        assert_eq!(
            CollapseAlarm::new(&config).expected(),
            "instance-sup. ln(65537) = 11.09, group-sup. ln(65536) = 11.09"
        );
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

    #[test]
    fn one_group_that_takes_all_and_groups_that_are_all_alike_are_named() {
        let mut alarm = alarm();
        assert!(said_of_groups(&mut alarm, 999, 0.01, 0.3).is_empty(), "it waits");
        let one = said_of_groups(&mut alarm, 1, 0.01, 0.3);
        let sentence =
            "the centre's entropy has stayed at 0.010 of ln(1024), so one group takes nearly all for 1000 steps";
        assert!(one.len() == 1 && one[0].starts_with(sentence), "{one:?}");
        assert!(said_of_groups(&mut alarm, 1000, 0.8, 0.3).is_empty(), "it has recovered");
        let alike = said_of_groups(&mut alarm, 2000, 0.8, 0.999);
        let sentence = "the targets' entropy has stayed at 0.999 of ln(1024), so no group is told from another";
        assert!(alike.len() == 2 && alike[1].starts_with(sentence), "{alike:?}");
        // Both may be seen at once: what the centre takes away is all that there was.
        let both = said_of_groups(&mut alarm, 1000, 0.0, 1.0);
        assert!(both[0].contains("takes nearly all and the targets' entropy"), "{both:?}");
    }
}
