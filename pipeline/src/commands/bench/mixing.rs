//! How well mixed batches are: the entropy of their classes, against that of batches drawn without any order.
//!
//! A batch of B pictures of which k_c are of class c has the entropy H = log2 B - (1/B) sum k_c log2 k_c, in bits. Drawn
//! from the whole set without order, k_c is hypergeometric, so that the expected H has a closed form; it is below the
//! set's own entropy, since B pictures show few classes. Blocks of neighbours that share a class lie below it.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use mugs_shards::ShardSet;
use serde::Serialize;

/// The classes of the batches that were seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    batches: u64,
    /// Their entropies, added up.
    bits: f64,
}

impl Seen {
    /// Adds a batch. Pictures without a label count as a class; [`Mixing::of`] says nothing of such sets.
    pub fn add(&mut self, labels: &[Option<u32>]) {
        let mut counts = BTreeMap::<Option<u32>, u64>::new();
        labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
        self.batches += 1;
        self.bits += entropy(counts.values().copied());
    }
}

/// What can be said about the mixing.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Mixing {
    /// Not every sample of the set has a label. In JSON the text `no labels`.
    Unknown(&'static str),
    /// Every sample has one.
    Known(Entropies),
}

/// Class entropies of batches, in bits.
#[derive(Debug, PartialEq, Serialize)]
pub struct Entropies {
    /// Pictures of a batch.
    batch_size: u64,
    /// Batches seen.
    batches: u64,
    /// Their mean entropy.
    mean_entropy_bits: f64,
    /// The expected entropy of a batch of that size, drawn from the set without order.
    ideal_entropy_bits: f64,
    /// The options that they are the result of.
    shuffle_block: u64,
    streams: u64,
}

impl Mixing {
    /// Compares the batches seen, of `batch_size` pictures each, with the classes of the set.
    pub fn of(seen: &Seen, set: &ShardSet, batch_size: u64, shuffle_block: u64, streams: u64) -> Result<Self> {
        let Some(classes) = class_counts(set)? else { return Ok(Self::Unknown("no labels")) };
        Ok(Self::Known(Entropies {
            batch_size,
            batches: seen.batches,
            mean_entropy_bits: seen.bits / seen.batches.max(1) as f64,
            ideal_entropy_bits: expected_entropy(&classes, batch_size),
            shuffle_block,
            streams,
        }))
    }
}

impl fmt::Display for Mixing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entropies {
            batch_size,
            batches,
            mean_entropy_bits: mean,
            ideal_entropy_bits: ideal,
            shuffle_block,
            streams,
        } = match self {
            Self::Unknown(why) => return write!(f, "mixing of the batches: {why}"),
            Self::Known(entropies) => entropies,
        };
        write!(
            f,
            "mixing of the batches: {mean:.3} bits of class entropy in {batch_size} pictures (mean of {batches} \
             batches), {ideal:.3} expected without any order; shuffle_block {shuffle_block}, streams {streams}"
        )
    }
}

/// How many samples each class has; none if a sample has no label.
///
/// The indices know the checksum of each label's text, and the same text is the same class: no label is read. (In tars
/// made elsewhere a class whose number is written in two ways would count as two.)
fn class_counts(set: &ShardSet) -> Result<Option<Vec<u64>>> {
    let mut counts = BTreeMap::<u128, u64>::new();
    for number in 0..set.manifest().shards.len() {
        for entry in set.open_shard(number)?.entries() {
            let Some(label) = entry.label() else { return Ok(None) };
            *counts.entry(label.xxh3.value()).or_default() += 1;
        }
    }
    Ok(Some(counts.into_values().collect()))
}

/// The entropy in bits of a batch with so many pictures of each class.
fn entropy(counts: impl Iterator<Item = u64> + Clone) -> f64 {
    let all: u64 = counts.clone().sum();
    (all as f64).log2() - counts.map(x_log_x).sum::<f64>() / all as f64
}

/// The expected entropy in bits of `batch` samples drawn without order and without putting back from classes of
/// `classes` samples, which are at least `batch` in all.
fn expected_entropy(classes: &[u64], batch: u64) -> f64 {
    let all = classes.iter().sum();
    let mut alike = BTreeMap::<u64, u64>::new();
    classes.iter().for_each(|class| *alike.entry(*class).or_default() += 1);
    let of_class = |(class, times): (u64, u64)| times as f64 * expected_x_log_x(class, all, batch);
    (batch as f64).log2() - alike.into_iter().map(of_class).sum::<f64>() / batch as f64
}

/// The expectation of k log2 k, where k of the `batch` samples drawn from `all` are among the `class` ones of a class.
///
/// The probabilities follow from that of the likeliest k by the ratios of neighbours, which neither overflow nor cancel.
fn expected_x_log_x(class: u64, all: u64, batch: u64) -> f64 {
    let (least, most) = ((class + batch).saturating_sub(all), class.min(batch));
    let likeliest = ((batch + 1) * (class + 1) / (all + 2)).clamp(least, most);
    // P(k + 1) / P(k)
    let ratio = |k: u64| {
        let (drawn, others) = ((class - k) as f64 * (batch - k) as f64, (all + k + 1 - class - batch) as f64);
        drawn / ((k + 1) as f64 * others)
    };
    let mut total = 1.0;
    let mut sum = x_log_x(likeliest);
    let mut add = |k, weight: f64| {
        total += weight;
        sum += weight * x_log_x(k);
    };
    let mut weight = 1.0;
    for k in likeliest..most {
        weight *= ratio(k);
        add(k + 1, weight);
    }
    weight = 1.0;
    for k in (least..likeliest).rev() {
        weight /= ratio(k);
        add(k, weight);
    }
    sum / total
}

fn x_log_x(x: u64) -> f64 {
    if x == 0 { 0.0 } else { x as f64 * (x as f64).log2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value}, expected {expected}");
    }

    #[test]
    fn entropies_of_batches_computed_by_hand() {
        let of = |counts: &[u64]| entropy(counts.iter().copied());
        close(of(&[4]), 0.0);
        close(of(&[1, 1]), 1.0);
        close(of(&[2, 1, 1]), 1.5);
        close(of(&[8; 8]), 3.0);
        // -3/4 log2(3/4) - 1/4 log2(1/4)
        close(of(&[3, 1]), 0.811_278_124_459_132_8);
    }

    #[test]
    fn batches_are_averaged() {
        let mut seen = Seen::default();
        seen.add(&[Some(7); 4]);
        seen.add(&[Some(7), Some(9), Some(7), Some(9)]);
        seen.add(&[Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(seen.batches, 3);
        close(seen.bits, 3.0);
    }

    #[test]
    fn expected_entropies_computed_by_hand() {
        // The second of a pair is of the other class with probability 2/3: 1 bit, else 0.
        close(expected_entropy(&[2, 2], 2), 2.0 / 3.0);
        // Of 3 + 1 samples, a pair holds the single one with probability 1/2.
        close(expected_entropy(&[3, 1], 2), 0.5);
        // Three of 2 + 2 + 2: each another class with probability 8/20 (log2 3), else 2 + 1.
        let (three, two_one) = (3f64.log2(), 3f64.log2() - 2.0 / 3.0);
        close(expected_entropy(&[2, 2, 2], 3), 0.4 * three + 0.6 * two_one);
        // One picture has no entropy, and all of them the set's.
        close(expected_entropy(&[5, 3, 9], 1), 0.0);
        close(expected_entropy(&[3, 1], 4), 0.811_278_124_459_132_8);
        close(expected_entropy(&[12], 5), 0.0);
    }

    #[test]
    fn a_set_as_large_as_imagenet_is_no_trouble() {
        // A batch of 64 out of 1000 classes: nearly 6 bits, less what the few pairs of a class take.
        let expected = expected_entropy(&[1281; 1000], 64);
        assert!((5.9..6.0).contains(&expected), "{expected}");
        // Pairs: 64 * 63 / 2 / 1000 of them, each takes 2 / 64 bits.
        assert!((expected - (6.0 - 2.016 / 32.0)).abs() < 2e-3, "{expected}");
    }
}
