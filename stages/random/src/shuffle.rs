//! Permutations, and independent keys for other purposes.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Address, Draws};

/// A seed for another purpose than that of `seed` itself (shuffling, the initial values of a tensor by its name, …):
/// XXH3-64 of the text's UTF-8 bytes under `seed`. Draws under different purposes are independent, at equal addresses too.
pub fn derive(seed: u64, purpose: &str) -> u64 {
    xxh3_64_with_seed(purpose.as_bytes(), seed)
}

/// A uniform permutation of 0, 1, … n - 1: [`shuffle`] with the draws of `seed` at epoch, position `stream` and lane.
///
/// `stream` is below 2^48 and `n` at most 2^32. Give a [derived](derive) seed, so that the draws meet no others.
pub fn permutation(seed: u64, epoch: u32, stream: u64, lane: u16, n: usize) -> Vec<u32> {
    debug_assert!(n as u64 <= 1 << 32, "{n} items cannot be numbered in 32 bits");
    let mut order: Vec<u32> = (0..n).map(|index| index as u32).collect();
    shuffle(&mut order, &mut Draws::at(seed, Address { epoch, position: stream, lane }));
    order
}

/// Shuffles in place (Fisher and Yates, from the last item down); takes `items.len() - 1` draws of [`Draws::below`].
pub fn shuffle<T>(items: &mut [T], draws: &mut Draws) {
    for last in (1..items.len()).rev() {
        items.swap(last, draws.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn derived_seeds_stay_what_they_are() {
        assert_eq!(derive(42, "shuffle"), 2_759_674_197_765_350_077);
        assert_eq!(permutation(derive(42, "shuffle"), 1, 2, 3, 8), [0, 6, 7, 3, 2, 1, 5, 4]);
    }

    #[test]
    fn derived_seeds_differ_by_seed_and_purpose() {
        let seeds = [derive(1, "shards"), derive(2, "shards"), derive(1, "blocks"), derive(1, "")];
        for (index, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..index].contains(seed));
        }
    }

    /// A chi-square with 23 degrees of freedom exceeds 63.0 about once in 80 000 draws.
    #[test]
    fn all_orders_are_equally_likely() {
        let mut counts: HashMap<Vec<u32>, u32> = HashMap::new();
        for stream in 0..48_000 {
            *counts.entry(permutation(9, 0, stream, 0, 4)).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        let chi_square: f64 = counts.values().map(|&count| (f64::from(count) - 2e3).powi(2) / 2e3).sum();
        assert!(chi_square < 63.0, "{counts:?}");
    }

    proptest! {
        #[test]
        fn a_permutation_holds_every_index_once(seed: u64, epoch: u32, stream in 0_u64..1 << 48, lane: u16, n in 0_usize..300) {
            let mut order = permutation(seed, epoch, stream, lane, n);
            order.sort_unstable();
            prop_assert!(order.iter().copied().eq(0..n as u32));
        }
    }
}
