//! Comparing counts of our draws with counts of the reference's.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// Counts by name, as in the golden file.
pub type Counts = BTreeMap<String, u64>;

/// Fewest draws expected in a bin; bins with fewer are merged with their neighbours.
const FEWEST: f64 = 10.0;

/// A histogram of the golden file: equal bins from `lo` to `hi`, which belongs to the last.
#[derive(Deserialize)]
pub struct Histogram {
    lo: f64,
    hi: f64,
    counts: Vec<u64>,
    outside: u64,
}

impl Histogram {
    /// The counts of other values in the same bins, those outside last.
    fn count(&self, values: &[f64]) -> Vec<u64> {
        let bins = self.counts.len();
        let mut counts = vec![0; bins + 1];
        for value in values {
            let at = (value - self.lo) / (self.hi - self.lo) * bins as f64;
            let inside = self.lo <= *value && *value <= self.hi;
            counts[if inside { (at as usize).min(bins - 1) } else { bins }] += 1;
        }
        counts
    }
}

/// Mean and standard deviation of a sample of the reference.
#[derive(Deserialize)]
pub struct Moments {
    n: f64,
    mean: f64,
    std: f64,
}

/// A sample of the reference and ours: how far apart they are, in standard deviations of a normal distribution.
#[derive(Default)]
pub struct Statistics(Vec<(String, f64)>);

impl Statistics {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The statistic that is farthest off, and by how much.
    pub fn worst(&self) -> (&str, f64) {
        let (name, off) = self.0.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        (name, *off)
    }

    /// The farthest off of those whose name has `part` in it.
    pub fn off(&self, part: &str) -> f64 {
        let named = self.0.iter().filter(|(name, _)| name.contains(part)).map(|(_, off)| *off);
        named.fold(f64::NEG_INFINITY, f64::max)
    }

    /// Two-sample chi-square of counts in the same bins.
    pub fn counts(&mut self, name: &str, reference: &[u64], found: &[u64]) {
        assert_eq!(reference.len(), found.len());
        let bins = merged(reference, found);
        if bins.len() < 2 {
            return;
        }
        let [r, f] = [0, 1].map(|side| bins.iter().map(|bin| bin[side]).sum::<f64>());
        let term = |bin: &[f64; 2]| (bin[0] * (f / r).sqrt() - bin[1] * (r / f).sqrt()).powi(2) / (bin[0] + bin[1]);
        self.0.push((name.into(), normal(bins.iter().map(term).sum(), bins.len() as f64 - 1.0)));
    }

    /// How often something happened, of how many; what never or always happened must do so again.
    pub fn share(&mut self, name: &str, reference: [u64; 2], found: [u64; 2]) {
        let [[k, n], [l, m]] = [reference, found];
        if k == 0 || k == n {
            let same = if k == 0 { l == 0 } else { l == m };
            self.0.push((name.into(), if same { 0.0 } else { f64::INFINITY }));
        } else {
            self.counts(name, &[k, n - k], &[l, m - l]);
        }
    }

    pub fn categories(&mut self, name: &str, reference: &Counts, found: &Counts) {
        let keys: BTreeSet<&String> = reference.keys().chain(found.keys()).collect();
        let [reference, found] = [reference, found]
            .map(|counts| keys.iter().map(|&key| counts.get(key).copied().unwrap_or(0)).collect::<Vec<_>>());
        self.counts(name, &reference, &found);
    }

    pub fn histogram(&mut self, name: &str, reference: &Histogram, values: &[f64]) {
        let counts = [&reference.counts[..], &[reference.outside]].concat();
        self.counts(name, &counts, &reference.count(values));
    }

    /// The difference of two means over its standard error.
    pub fn mean(&mut self, name: &str, reference: &Moments, values: &[f64]) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        let error = (reference.std.powi(2) / reference.n + variance / n).sqrt();
        let difference = (mean - reference.mean).abs();
        // Values that are all equal have no error but that of their decimals in the file.
        self.0.push((name.into(), difference / error.max(1e-6 * (1.0 + mean.abs()))));
    }
}

/// Both samples' counts, neighbouring bins merged until each sample expects enough in every one.
fn merged(reference: &[u64], found: &[u64]) -> Vec<[f64; 2]> {
    let sums = [reference, found].map(|counts| counts.iter().sum::<u64>() as f64);
    let share = sums[0].min(sums[1]) / (sums[0] + sums[1]);
    let mut bins: Vec<[f64; 2]> = Vec::new();
    let mut open = [0.0; 2];
    for (&r, &f) in reference.iter().zip(found) {
        open = [open[0] + r as f64, open[1] + f as f64];
        if (open[0] + open[1]) * share >= FEWEST {
            bins.push(std::mem::take(&mut open));
        }
    }
    if let Some(last) = bins.last_mut() {
        *last = [last[0] + open[0], last[1] + open[1]];
    }
    bins
}

/// The normal deviate that is as improbable as a chi-square (E. B. Wilson, M. M. Hilferty, 1931).
fn normal(chi_square: f64, freedom: f64) -> f64 {
    let variance = 2.0 / (9.0 * freedom);
    ((chi_square / freedom).cbrt() - (1.0 - variance)) / variance.sqrt()
}

#[test]
fn known_quantiles_of_the_chi_square() {
    // Upper quantiles 0.001 of 1, 10 and 30 degrees of freedom; that of the normal distribution is 3.090.
    for (chi_square, freedom) in [(10.828, 1.0), (29.588, 10.0), (59.703, 30.0)] {
        assert!((normal(chi_square, freedom) - 3.090).abs() < 0.05, "{freedom}");
    }
}

#[test]
fn equal_samples_agree_and_rare_bins_are_merged() {
    assert_eq!(merged(&[4, 7, 100, 3, 2], &[6, 13, 100, 1, 0]), [[11.0, 19.0], [105.0, 101.0]]);
    let mut statistics = Statistics::default();
    statistics.counts("equal", &[50, 100], &[100, 200]);
    assert!(statistics.worst().1 < 0.0);
    statistics.share("never", [0, 100], [1, 100]);
    assert_eq!(statistics.worst(), ("never", f64::INFINITY));
}
