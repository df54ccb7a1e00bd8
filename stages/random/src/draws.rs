//! A sequence of draws at an address, and the mappings from random words to numbers.

use std::f64::consts::TAU;

use mugs_simd::Level;

use crate::normals::Normals;
use crate::philox4x32_10;

/// Where a sequence of draws lies. With the block number inside the sequence it makes up the generator's counter:
///
/// | bits | 127 … 96 | 95 … 48 | 47 … 32 | 31 … 0 |
/// |---|---|---|---|---|
/// | | `epoch` | `position` | `lane` | block of four words |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The epoch, from 0; for draws that belong to none, any number fixed by the caller.
    pub epoch: u32,
    /// The position in the epoch, below 2^48.
    pub position: u64,
    /// Tells apart independent sequences at one position.
    pub lane: u16,
}

/// The draws at one address: 2^32 blocks of four 32-bit words, read in order from block 0 or from where
/// [`seek`](Draws::seek) says. Each method documents which words it takes and what it makes of them.
#[derive(Clone, Debug)]
pub struct Draws {
    key: [u32; 2],
    /// The upper three words of the counter.
    address: [u32; 3],
    /// The block that follows the one in `words`.
    next_block: u32,
    words: [u32; 4],
    /// How many of `words` have been taken.
    taken: usize,
}

impl Draws {
    /// The draws of `seed` at `address`, from block 0 on.
    pub fn at(seed: u64, address: Address) -> Draws {
        debug_assert!(address.position < 1 << 48, "position {} needs more than 48 bits", address.position);
        let middle = (address.position << 16) | u64::from(address.lane);
        Draws {
            key: [seed as u32, (seed >> 32) as u32],
            address: [middle as u32, (middle >> 32) as u32, address.epoch],
            next_block: 0,
            words: [0; 4],
            taken: 4,
        }
    }

    /// Goes to the first word of `block`, forwards or back.
    pub fn seek(&mut self, block: u32) {
        self.next_block = block;
        self.taken = self.words.len();
    }

    /// The next word.
    pub fn next_u32(&mut self) -> u32 {
        if self.taken == self.words.len() {
            self.words = self.next_words();
            self.taken = 0;
        }
        let word = self.words[self.taken];
        self.taken += 1;
        word
    }

    /// The next two words, the first as the lower half.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        low | (u64::from(self.next_u32()) << 32)
    }

    /// Uniform on [0, 1): the upper 24 bits of one word over 2^24, every value exact.
    pub fn uniform_f32(&mut self) -> f32 {
        unit_f32(self.next_u32())
    }

    /// Uniform on [0, 1): the upper 53 bits of two words over 2^53, every value exact.
    pub fn uniform_f64(&mut self) -> f64 {
        unit_f64(self.next_u64())
    }

    /// Uniform between `low` and `high`: `low + (high - low) * u` in f32, with `u` from [`uniform_f32`](Self::uniform_f32).
    /// `high` itself is reached only by rounding.
    pub fn range_f32(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform_f32()
    }

    /// Uniform between `low` and `high`: `low + (high - low) * u` in f64, with `u` from [`uniform_f64`](Self::uniform_f64).
    /// `high` itself is reached only by rounding.
    pub fn range_f64(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform_f64()
    }

    /// Uniform on 0, 1, … n - 1 without bias; 0 where `n` is 0 or 1, which takes words all the same.
    ///
    /// The upper half of the product of `n` and two words. A product whose lower half is below 2^64 mod n is drawn
    /// again, with the next two words (D. Lemire: "Fast random integer generation in an interval", TOMACS 2019).
    pub fn below(&mut self, n: u64) -> u64 {
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            let low = product as u64;
            // The threshold is below n: the division is needed only where it can matter.
            if low >= n || low >= n.wrapping_neg().checked_rem(n).unwrap_or(0) {
                return (product >> 64) as u64;
            }
        }
    }

    /// True with probability `p`: [`uniform_f64`](Self::uniform_f64) is below `p`; never for 0, always for 1.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform_f64() < p
    }

    /// Standard normal, by Box and Muller from four words: `sqrt(-2 ln(1 - u)) * cos(2 pi v)`, where `u`, then `v` come
    /// from [`uniform_f64`](Self::uniform_f64). At most 8.6 in magnitude.
    pub fn normal_f64(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.uniform_f64())).sqrt();
        radius * libm::cos(TAU * self.uniform_f64())
    }

    /// Standard normal in f32 from two words: the first of the two values of [`fill_normal_f32`](Self::fill_normal_f32).
    pub fn normal_f32(&mut self) -> f32 {
        self.normal_pair().0
    }

    /// Fills `values` with standard normals, two from every two words, one from the last two where their number is odd.
    ///
    /// With `u`, then `v` as in [`uniform_f32`](Self::uniform_f32), all in f32: the radius `sqrt(-2 ln(1 - u))` times
    /// `cos(2 pi v)` and times `sin(2 pi v)`. At most 5.8 in magnitude. From the start of a block on, value i comes from
    /// block i div 4, so a device can compute any of them alone.
    ///
    /// From an even word of a block on, the vectors of [`Level::chosen`] fill whole blocks, with the same bits.
    pub fn fill_normal_f32(&mut self, values: &mut [f32]) {
        self.fill_normal_f32_by(Level::chosen(), values);
    }

    /// [`fill_normal_f32`](Self::fill_normal_f32) with the vectors of `level`, or none where the processor lacks them.
    pub fn fill_normal_f32_by(&mut self, level: Level, values: &mut [f32]) {
        let left = self.words.len() - self.taken;
        if left % 2 == 1 {
            // Pairs lie across the blocks' ends for ever.
            return self.fill_normal_pairs(values);
        }
        let (begun, values) = values.split_at_mut(left.min(values.len()));
        self.fill_normal_pairs(begun);
        let (whole, rest) = values.split_at_mut(values.len() / 4 * 4);
        let (blocks, counter) = ((whole.len() / 4) as u32, self.counter());
        if blocks > 1 && level.run(Normals { counter, key: self.key, values: whole }).is_some() {
            self.seek(self.next_block.wrapping_add(blocks));
        } else {
            self.fill_normal_pairs(whole);
        }
        self.fill_normal_pairs(rest);
    }

    fn fill_normal_pairs(&mut self, values: &mut [f32]) {
        for pair in values.chunks_mut(2) {
            let (first, second) = self.normal_pair();
            pair[0] = first;
            if let Some(last) = pair.get_mut(1) {
                *last = second;
            }
        }
    }

    fn normal_pair(&mut self) -> (f32, f32) {
        let radius = (-2.0 * libm::logf(1.0 - self.uniform_f32())).sqrt();
        let (sin, cos) = libm::sincosf(TAU as f32 * self.uniform_f32());
        (radius * cos, radius * sin)
    }

    fn next_words(&mut self) -> [u32; 4] {
        let words = philox4x32_10(self.counter(), self.key);
        self.next_block = self.next_block.wrapping_add(1);
        words
    }

    /// That of the next block.
    fn counter(&self) -> [u32; 4] {
        let [low, high, epoch] = self.address;
        [self.next_block, low, high, epoch]
    }
}

fn unit_f32(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1_u32 << 24) as f32)
}

fn unit_f64(words: u64) -> f64 {
    (words >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Address = Address { epoch: 7, position: 0x1234_5678_9abc, lane: 0xdef0 };

    #[test]
    fn the_counter_is_epoch_position_lane_block() {
        let mut draws = Draws::at(0x299f_31d0_a409_3822, HERE);
        draws.seek(5);
        let counter = [5, 0x9abc_def0, 0x1234_5678, 7];
        let expected = philox4x32_10(counter, [0xa409_3822, 0x299f_31d0]);
        assert_eq!([(); 4].map(|()| draws.next_u32()), expected);
    }

    #[test]
    fn unit_mappings_cover_the_half_open_interval() {
        assert_eq!((unit_f32(0), unit_f64(0)), (0.0, 0.0));
        assert_eq!(unit_f32(u32::MAX), 1.0 - f32::EPSILON / 2.0);
        assert_eq!(unit_f64(u64::MAX), 1.0 - f64::EPSILON / 2.0);
        assert_eq!((unit_f32(1 << 31), unit_f64(1 << 63)), (0.5, 0.5));
    }

    /// Pins every mapping, as a change of any would change every crop of every run. The values were computed apart, in
    /// Python and NumPy from the documentation.
    #[test]
    fn draws_stay_what_they_are() {
        let mut draws = Draws::at(42, Address { epoch: 1, position: 2, lane: 3 });
        assert_eq!(draws.next_u32(), 2_049_559_736);
        assert_eq!(draws.next_u64(), 10_548_664_263_655_284_520);
        assert_eq!(draws.below(1000), 314);
        assert_eq!(draws.range_f32(-1.0, 1.0).to_bits(), 3_207_691_108);
        assert_eq!(draws.range_f64(-1.0, 1.0).to_bits(), 13_829_615_117_139_730_424);
        assert_eq!(draws.normal_f32().to_bits(), 1_068_091_966);
        assert_eq!(draws.normal_f64().to_bits(), 13_826_614_043_732_090_471);
    }

    #[test]
    fn normals_have_the_moments_of_the_normal_distribution() {
        let count = 200_000;
        let mut draws = Draws::at(1, HERE);
        let mut singles = vec![0.0; count];
        draws.fill_normal_f32(&mut singles);
        let singles: Vec<f64> = singles.into_iter().map(f64::from).collect();
        let doubles: Vec<f64> = (0..count).map(|_| draws.normal_f64()).collect();
        for values in [singles, doubles] {
            let moment = |power| values.iter().map(|value: &f64| value.powi(power)).sum::<f64>() / count as f64;
            // Five standard errors of each moment: sqrt(1, 2, 15, 96) / sqrt(count).
            for (power, expected, error) in [(1, 0.0, 0.0112), (2, 1.0, 0.0159), (3, 0.0, 0.0434), (4, 3.0, 0.1096)] {
                let found = moment(power);
                assert!((found - expected).abs() < error, "moment {power} is {found}, not {expected}");
            }
        }
    }

    #[test]
    fn neighbouring_values_of_a_fill_are_independent() {
        let mut values = vec![0.0; 200_000];
        Draws::at(2, HERE).fill_normal_f32(&mut values);
        let products: f32 = values.windows(2).map(|pair| pair[0] * pair[1]).sum();
        assert!((products / values.len() as f32).abs() < 0.0112);
    }

    /// A chi-square with 9 degrees of freedom exceeds 38.0 once in 60 000 draws.
    #[test]
    fn below_is_uniform() {
        let mut draws = Draws::at(3, HERE);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[draws.below(10) as usize] += 1;
        }
        let chi_square: f64 = counts.iter().map(|&count| (f64::from(count) - 1e4).powi(2) / 1e4).sum();
        assert!(chi_square < 38.0, "{counts:?}");
    }

    proptest! {
        #[test]
        fn seeking_reads_what_reading_on_reads(seed: u64, block in 0_u32..50, ahead in 0_usize..20) {
            let mut straight = Draws::at(seed, HERE);
            for _ in 0..4 * block {
                straight.next_u32();
            }
            let mut sought = Draws::at(seed, HERE);
            for _ in 0..ahead {
                sought.next_u32();
            }
            sought.seek(block);
            prop_assert_eq!([(); 9].map(|()| straight.next_u32()), [(); 9].map(|()| sought.next_u32()));
        }

        #[test]
        fn every_part_of_the_address_matters(seed: u64, epoch: u32, position in 0_u64..1 << 48, lane: u16, bit in 0_u32..160) {
            let here = Address { epoch, position, lane };
            let (mut other_seed, mut there) = (seed, here);
            match bit {
                0..64 => other_seed ^= 1 << bit,
                64..96 => there.epoch ^= 1 << (bit - 64),
                96..144 => there.position ^= 1 << (bit - 96),
                _ => there.lane ^= 1 << (bit - 144),
            }
            prop_assert_ne!(Draws::at(seed, here).next_u64(), Draws::at(other_seed, there).next_u64());
        }

        #[test]
        fn ranges_are_kept(seed: u64, low in -1e6_f64..1e6, width in 0.0_f64..1e6, n in 1_u64..) {
            let mut draws = Draws::at(seed, HERE);
            let high = low + width;
            let wide = draws.range_f64(low, high);
            prop_assert!(low <= wide && wide <= high);
            let narrow = draws.range_f32(low as f32, high as f32);
            prop_assert!(low as f32 <= narrow && narrow <= high as f32);
            prop_assert!(draws.below(n) < n);
        }

        #[test]
        fn degenerate_draws_are_certain(seed: u64) {
            let mut draws = Draws::at(seed, HERE);
            prop_assert_eq!((draws.below(0), draws.below(1)), (0, 0));
            prop_assert!(!draws.chance(0.0) && draws.chance(1.0));
        }

        #[test]
        fn an_odd_fill_starts_as_an_even_one(seed: u64, count in 0_usize..40) {
            let mut whole = [0.0; 40];
            Draws::at(seed, HERE).fill_normal_f32(&mut whole);
            let mut part = vec![0.0; count];
            Draws::at(seed, HERE).fill_normal_f32(&mut part);
            prop_assert_eq!(&part[..], &whole[..count]);
            prop_assert_eq!(Draws::at(seed, HERE).normal_f32(), whole[0]);
        }
    }
}
