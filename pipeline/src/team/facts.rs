//! What must be equal on all ranks before the first step.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use mugs_compute::state::TrainState;
use mugs_shards::Checksum;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::config::{FREE_ON_RESUME, RunConfig};

/// Options that may differ in time but not between ranks.
const EQUAL_ON_RANKS: &[&str] = &[
    "batch_size_per_gpu",
    "accumulate",
    "max_steps",
    "on_bad_sample",
    "max_bad_samples",
    // It decides which samples are bad.
    "max_pixels",
    "checkpoint_activations",
    "backend",
    "bucket_mb",
];

/// The name of the fact that follows from all others.
pub const STATE: &str = "the state";

/// Names and values that ranks compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    /// The options that decide what is computed, and which build computes it.
    pub fn of(config: &RunConfig) -> Result<Facts> {
        let serde_json::Value::Object(options) = serde_json::to_value(config)? else { return Ok(Facts::default()) };
        let counts = |name: &str| !FREE_ON_RESUME.contains(&name) || EQUAL_ON_RANKS.contains(&name);
        let mut facts: BTreeMap<String, String> = options
            .into_iter()
            .filter(|(name, _)| counts(name))
            .map(|(name, value)| (format!("--{name}"), value.to_string()))
            .collect();
        facts.insert("the program".into(), format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("MUGS_GIT")));
        Ok(Facts(facts))
    }

    /// The same with one more.
    pub fn with(mut self, name: &str, value: impl ToString) -> Facts {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    pub(super) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    pub(super) fn from_json(text: &[u8]) -> Result<Facts> {
        serde_json::from_slice(text).context("another rank runs another version of this program")
    }
}

/// What differs between ranks, in words: the values of each name, with the ranks that have them.
pub(super) fn differences(ranks: &[Facts]) -> Option<String> {
    let names: std::collections::BTreeSet<&String> = ranks.iter().flat_map(|facts| facts.0.keys()).collect();
    let differs = |name: &str| ranks.iter().any(|facts| facts.0.get(name) != ranks[0].0.get(name));
    let follows = names.iter().any(|name| *name != STATE && differs(name));
    // What was asked for says more than what it leads to.
    let names = names.into_iter().filter(|name| *name != STATE || !follows);
    let different = names.into_iter().filter_map(|name| {
        let mut by_value: Vec<(&str, Vec<usize>)> = Vec::new();
        for (rank, facts) in ranks.iter().enumerate() {
            let value = facts.0.get(name).map_or("missing", String::as_str);
            match by_value.iter_mut().find(|(other, _)| *other == value) {
                Some((_, ranks)) => ranks.push(rank),
                None => by_value.push((value, vec![rank])),
            }
        }
        (by_value.len() > 1).then(|| {
            let values = by_value.iter().map(|(value, ranks)| format!("{value} on {}", ranks_in_words(ranks)));
            format!("{name} is {}", values.collect::<Vec<_>>().join(", "))
        })
    });
    let all: Vec<String> = different.collect();
    (!all.is_empty()).then(|| format!("the ranks do not agree: {}", all.join("; ")))
}

/// `rank 3`, `ranks 0, 2-5`.
pub(super) fn ranks_in_words(ranks: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &rank in ranks {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == rank => *last = rank,
            _ => runs.push((rank, rank)),
        }
    }
    let words =
        runs.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    let words: Vec<String> = words.collect();
    format!("{} {}", if ranks.len() == 1 { "rank" } else { "ranks" }, words.join(", "))
}

/// A digest of every tensor of a state, bit by bit.
pub fn state_digest(state: &TrainState) -> String {
    let digest = |tensor: &Tensor| {
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Checksum::of(&bytes).to_string()
    };
    let networks = [&state.student, &state.teacher, &state.student_memory, &state.teacher_memory];
    let lists = networks.into_iter().chain(state.losses.iter().map(|(_, tensors)| tensors));
    let mut all: String = lists.flatten().map(|(name, tensor)| format!("{name} {}\n", digest(tensor))).collect();
    for (name, moments) in &state.optimizer.moments {
        all += &format!("{name} {} {} {}\n", moments.step, digest(&moments.exp_avg), digest(&moments.exp_avg_sq));
    }
    for (name, momentum) in &state.optimizer.momentum {
        all += &format!("{name} {}\n", digest(momentum));
    }
    Checksum::of(all.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_options_are_named_with_their_ranks() {
        let facts = |lr: f64| {
            Facts::of(&RunConfig { lr, num_workers: 1 + lr as usize, ..RunConfig::default() })
                .unwrap()
                .with("the data", 7)
        };
        assert_eq!(differences(&[facts(1.0), facts(1.0)]), None);
        let own = facts(1.0).with("the data", 8);
        let text = differences(&[facts(1.0), facts(2.0), facts(1.0), own, facts(2.0)]).unwrap();
        assert_eq!(
            text,
            "the ranks do not agree: --lr is 1.0 on ranks 0, 2-3, 2.0 on ranks 1, 4; the data is 7 on ranks 0-2, 4, 8 on \
             rank 3"
        );
        // Where and how fast it is computed is each rank's own.
        assert_eq!(
            differences(&[
                facts(1.0),
                Facts::of(&RunConfig { lr: 1.0, threads: 7, ..RunConfig::default() }).unwrap().with("the data", 7)
            ]),
            None
        );
        let states = [1, 2].map(|state| facts(1.0).with(STATE, state));
        assert_eq!(differences(&states).unwrap(), "the ranks do not agree: the state is 1 on rank 0, 2 on rank 1");
        let both = [facts(1.0).with(STATE, 1), facts(2.0).with(STATE, 2)];
        assert!(!differences(&both).unwrap().contains("state"));
        let round = Facts::from_json(facts(1.0).to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(round, facts(1.0));
    }
}
