//! Normals by vectors: the draws, the logarithm, the sine and the cosine of [`Draws`](crate::Draws), many at once.
//!
//! Each lane does what the scalar code does, operation by operation, so all give the same bits. The scalar code calls
//! `libm`, which evaluates the methods of FreeBSD's msun: [`logf`] in f32, [`sine_and_cosine`] in f64. Here they are
//! without the cases that cannot occur. The tests compare every argument there is.

use mugs_simd::{Kernel, Simd};

use crate::philox::{MULTIPLIERS, ROUNDS, round_keys};

/// As many blocks as the widest vectors draw at once.
const MOST_BLOCKS: usize = 8;

/// Fills `values` with the normals of the blocks from that of `counter` on, four values a block.
pub(crate) struct Normals<'a> {
    /// The first block's counter.
    pub counter: [u32; 4],
    pub key: [u32; 2],
    /// Of whole blocks.
    pub values: &'a mut [f32],
}

impl Kernel for Normals<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let generator = Generator::new(s, self.counter, self.key);
        let blocks = S::BYTES / 8;
        let mut block = self.counter[0];
        let mut whole = self.values.chunks_exact_mut(4 * blocks);
        for values in &mut whole {
            generator.fill(s, block, values);
            block = block.wrapping_add(blocks as u32);
        }
        let rest = whole.into_remainder();
        if !rest.is_empty() {
            let mut values = [0.0; 4 * MOST_BLOCKS];
            generator.fill(s, block, &mut values);
            rest.copy_from_slice(&values[..rest.len()]);
        }
    }
}

/// What all blocks of a fill have in common.
struct Generator<S: Simd> {
    keys: [[S::I; 2]; ROUNDS],
    /// The block of each 64-bit lane, counted from the first lane's.
    lanes: S::I,
    /// The upper three words of the counters.
    address: [S::I; 3],
}

impl<S: Simd> Generator<S> {
    /// Blocks lie in the lanes as `lo32` and `hi32` put them in order: the even lanes have those of the first vector of
    /// values, the odd ones those of the second.
    #[inline(always)]
    fn new(s: S, [_, address @ ..]: [u32; 4], key: [u32; 2]) -> Self {
        let mut lanes = [0; 8 * MOST_BLOCKS];
        for (lane, bytes) in lanes.chunks_exact_mut(8).enumerate() {
            bytes[0] = (lane / 2 + lane % 2 * (S::BYTES / 16)) as u8;
        }
        Generator {
            keys: round_keys(key).map(|key| key.map(|word| s.splat32(word as i32))),
            lanes: s.load(&lanes),
            address: address.map(|word| s.splat32(word as i32)),
        }
    }

    /// The values of as many blocks as there are 64-bit lanes, from `block` on.
    #[inline(always)]
    fn fill(&self, s: S, block: u32, values: &mut [f32]) {
        let [a, b, c, d] = self.words(s, block);
        // The first two words of a block beside its last two: one pair of values a 32-bit lane.
        let lower = s.srl64(s.splat32(-1), 32);
        let radius = radius(s, s.select(lower, a, s.sll64(c, 32)));
        let (sine, cosine) = sine_and_cosine(s, s.select(lower, b, s.sll64(d, 32)));
        let first = s.bits_of(s.mul_f32(radius, cosine));
        let second = s.bits_of(s.mul_f32(radius, sine));
        s.store_f32(s.f32_of(s.lo32(first, second)), values);
        s.store_f32(s.f32_of(s.hi32(first, second)), &mut values[S::BYTES / 4..]);
    }

    /// Philox of one block a 64-bit lane: word i of each in vector i. Only the lower halves of the lanes count.
    #[inline(always)]
    fn words(&self, s: S, block: u32) -> [S::I; 4] {
        let multipliers = MULTIPLIERS.map(|multiplier| s.splat32(multiplier as i32));
        let [mut b, mut c, mut d] = self.address;
        let mut a = s.add32(self.lanes, s.splat32(block as i32));
        for [key_a, key_c] in self.keys {
            let product_a = s.mul_u32(multipliers[0], a);
            let product_c = s.mul_u32(multipliers[1], c);
            a = s.xor(s.srl64(product_c, 32), s.xor(b, key_a));
            c = s.xor(s.srl64(product_a, 32), s.xor(d, key_c));
            (b, d) = (product_c, product_a);
        }
        [a, b, c, d]
    }
}

/// `sqrt(-2 ln(1 - u))`, `u` the uniform number of each word.
#[inline(always)]
fn radius<S: Simd>(s: S, words: S::I) -> S::F {
    let logarithm = logf(s, s.sub_f32(s.splat_f32(1.0), uniform(s, words)));
    s.sqrt_f32(s.mul_f32(s.splat_f32(-2.0), logarithm))
}

/// The upper 24 bits of each word over 2^24.
#[inline(always)]
fn uniform<S: Simd>(s: S, words: S::I) -> S::F {
    s.mul_f32(s.to_f32(s.srl32(words, 8)), s.splat_f32(1.0 / (1_u32 << 24) as f32))
}

/// The natural logarithm of normal positive numbers, by `x = 2^k (1 + f)` with `1 + f` between the roots of 1/2 and 2,
/// and a polynomial in `f / (2 + f)`. (At 1, which `libm` handles apart, all terms are zeros.)
#[inline(always)]
fn logf<S: Simd>(s: S, x: S::F) -> S::F {
    const ROOT_HALF: i32 = 0x3F35_04F3;
    const ONE: i32 = 0x3F80_0000;
    let (add, mul, constant) = (|a, b| s.add_f32(a, b), |a, b| s.mul_f32(a, b), |value| s.splat_f32(value));

    let bits = s.add32(s.bits_of(x), s.splat32(ONE - ROOT_HALF));
    let k = s.to_f32(s.sub32(s.srl32(bits, 23), s.splat32(127)));
    let fraction = s.add32(s.and(bits, s.splat32(0x007F_FFFF)), s.splat32(ROOT_HALF));
    let f = s.sub_f32(s.f32_of(fraction), constant(1.0));

    let ratio = s.div_f32(f, add(constant(2.0), f));
    let z = mul(ratio, ratio);
    let w = mul(z, z);
    let even = mul(w, add(constant(0.400_009_72), mul(w, constant(0.242_790_79))));
    let odd = mul(z, add(constant(0.666_666_6), mul(w, constant(0.284_987_87))));
    let half_square = mul(mul(constant(0.5), f), f);
    let sum = add(mul(ratio, add(half_square, add(odd, even))), mul(k, constant(0.000_009_058_001)));
    add(add(s.sub_f32(sum, half_square), f), mul(k, constant(0.693_138_1)))
}

/// Sine and cosine of `2 pi v`, `v` the uniform number of each word.
///
/// `libm` takes the multiple of pi/2 from comparisons of the angle. Its bounds lie where `v` is an odd multiple of 1/8,
/// so here the multiple comes from the word.
#[inline(always)]
fn sine_and_cosine<S: Simd>(s: S, words: S::I) -> (S::F, S::F) {
    const HALF_PI: f64 = std::f64::consts::FRAC_PI_2;
    let angle = s.mul_f32(s.splat_f32(std::f32::consts::TAU), uniform(s, words));
    let quarters = s.srl32(s.add32(s.srl32(words, 8), s.splat32(1 << 21)), 22);

    let (angles, turns) = (s.widen_f32(angle), s.widen_f32(s.to_f32(quarters)));
    let (mut sines, mut cosines) = (angles, angles);
    for part in 0..2 {
        let rest = s.sub_f64(angles[part], s.mul_f64(turns[part], s.splat_f64(HALF_PI)));
        (sines[part], cosines[part]) = polynomials(s, rest);
    }
    let (sine, cosine) = (s.bits_of(s.narrow_f64(sines)), s.bits_of(s.narrow_f64(cosines)));

    // sin, cos, -sin, -cos, sin; the cosine is a quarter ahead.
    let swapped = s.sra32(s.sll32(quarters, 31), 31);
    let sign = |quarters| s.and(s.sll32(quarters, 30), s.splat32(i32::MIN));
    let sine_out = s.xor(s.select(swapped, cosine, sine), sign(quarters));
    let cosine_out = s.xor(s.select(swapped, sine, cosine), sign(s.add32(quarters, s.splat32(1))));
    (s.f32_of(sine_out), s.f32_of(cosine_out))
}

/// Sine and cosine up to about pi/4 in magnitude, good to the bits of f32.
#[inline(always)]
fn polynomials<S: Simd>(s: S, x: S::D) -> (S::D, S::D) {
    let (add, mul, constant) = (|a, b| s.add_f64(a, b), |a, b| s.mul_f64(a, b), |value| s.splat_f64(value));
    let z = mul(x, x);
    let w = mul(z, z);

    let cube = mul(z, x);
    let low = mul(cube, add(constant(-0.166_666_666_416_265_24), mul(z, constant(0.008_333_329_385_889_463))));
    let high = add(constant(-0.000_198_393_348_360_966_32), mul(z, constant(0.000_002_718_311_493_989_822)));
    let sine = add(add(x, low), mul(mul(cube, w), high));

    let low = add(constant(1.0), mul(z, constant(-0.499_999_997_251_031)));
    let high = add(constant(-0.001_388_676_377_460_993), mul(z, constant(0.000_024_390_448_796_277_41)));
    let cosine = add(add(low, mul(w, constant(0.041_666_623_323_739_06))), mul(mul(w, z), high));
    (sine, cosine)
}

#[cfg(test)]
mod tests {
    use mugs_simd::Level;
    use proptest::prelude::*;

    use super::*;
    use crate::{Address, Draws, philox4x32_10};

    const MOST_LANES: usize = 2 * MOST_BLOCKS;

    /// How many of the words with the 24 bits that count differ from `libm`: radius, then sine or cosine.
    struct Differences;

    impl Kernel for Differences {
        type Out = (u32, u32);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> (u32, u32) {
            let lanes = S::BYTES / 4;
            let (mut of_radius, mut of_angle) = (0, 0);
            let [mut radii, mut sines, mut cosines] = [[0.0; MOST_LANES]; 3];
            for first in (0..1 << 24).step_by(lanes) {
                // The lower 8 bits must not matter.
                let word = |lane: usize| ((first + lane) as u32) << 8 | (lane as u32 * 90 % 256);
                let bytes: [u8; 4 * MOST_LANES] = std::array::from_fn(|at| word(at / 4).to_le_bytes()[at % 4]);
                let words = s.load(&bytes);
                s.store_f32(radius(s, words), &mut radii);
                let (sine, cosine) = sine_and_cosine(s, words);
                s.store_f32(sine, &mut sines);
                s.store_f32(cosine, &mut cosines);
                for lane in 0..lanes {
                    let uniform = (first + lane) as f32 / (1 << 24) as f32;
                    let radius = (-2.0 * libm::logf(1.0 - uniform)).sqrt();
                    of_radius += u32::from(radii[lane].to_bits() != radius.to_bits());
                    let pair = libm::sincosf(std::f64::consts::TAU as f32 * uniform);
                    let bits = (sines[lane].to_bits(), cosines[lane].to_bits());
                    of_angle += u32::from(bits != (pair.0.to_bits(), pair.1.to_bits()));
                }
            }
            (of_radius, of_angle)
        }
    }

    #[test]
    fn every_radius_and_angle_has_the_bits_of_libm() {
        for level in Level::available().filter(|&level| level != Level::Scalar) {
            assert_eq!(level.run(Differences), Some((0, 0)), "{level}");
        }
    }

    /// Philox's words, block after block, of as many blocks as there are 64-bit lanes.
    struct Words([u32; 4], [u32; 2]);

    impl Kernel for Words {
        type Out = Vec<[u32; 4]>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<[u32; 4]> {
            let vectors = Generator::new(s, self.0, self.1).words(s, self.0[0]);
            let mut bytes = [[0; 8 * MOST_BLOCKS]; 4];
            for (vector, bytes) in vectors.into_iter().zip(&mut bytes) {
                s.store(vector, bytes);
            }
            let blocks = S::BYTES / 8;
            let lane = |block| 8 * (block % (blocks / 2) * 2 + block / (blocks / 2));
            let word = |bytes: &[u8], at| u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
            (0..blocks).map(|block| [0, 1, 2, 3].map(|number| word(&bytes[number], lane(block)))).collect()
        }
    }

    #[test]
    fn all_lanes_fill_alike_at_every_length_and_start() {
        for level in Level::available() {
            for start in 0..9 {
                for length in 0..200 {
                    let mut scalar = Draws::at(5, Address { epoch: 1, position: 1 << 47, lane: 9 });
                    (0..start).for_each(|_| _ = scalar.next_u32());
                    let mut vectors = scalar.clone();
                    let (mut expected, mut found) = (vec![0.0; length], vec![0.0; length]);
                    for pair in expected.chunks_mut(2) {
                        let before = scalar.clone();
                        pair[0] = scalar.normal_f32();
                        if let [_, second] = pair {
                            *second = second_of(before);
                        }
                    }
                    vectors.fill_normal_f32_by(level, &mut found);
                    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&found), bits(&expected), "{level}, start {start}, length {length}");
                    assert_eq!(vectors.next_u64(), scalar.next_u64(), "{level}, start {start}, length {length}");
                }
            }
        }
    }

    /// The second value of the pair that follows, as documented.
    fn second_of(mut draws: Draws) -> f32 {
        let radius = (-2.0 * libm::logf(1.0 - draws.uniform_f32())).sqrt();
        radius * libm::sinf(std::f32::consts::TAU * draws.uniform_f32())
    }

    proptest! {
        #[test]
        fn every_lane_has_the_words_of_its_block(counter: [u32; 4], key: [u32; 2], wraps: bool) {
            let [block, address @ ..] = counter;
            let first = if wraps { 0_u32.wrapping_sub(block % 9) } else { block };
            for level in Level::available().filter(|&level| level != Level::Scalar) {
                let [low, high, epoch] = address;
                for (at, words) in level.run(Words([first, low, high, epoch], key)).unwrap().into_iter().enumerate() {
                    let counter = [first.wrapping_add(at as u32), low, high, epoch];
                    prop_assert_eq!(words, philox4x32_10(counter, key), "{}, block {}", level, at);
                }
            }
        }

        #[test]
        fn fills_go_on_past_the_last_block(seed: u64, back in 0_u32..40, length in 0_usize..300) {
            let mut filled = [vec![0.0; length], vec![0.0; length]];
            for (level, values) in [Level::Scalar, Level::best()].into_iter().zip(&mut filled) {
                let mut draws = Draws::at(seed, Address { epoch: 0, position: 0, lane: 0 });
                draws.seek(0_u32.wrapping_sub(back));
                draws.fill_normal_f32_by(level, values);
            }
            prop_assert_eq!(&filled[0], &filled[1]);
        }
    }
}
