//! Hue rotation through 8-bit HSV, in f32 and integers that give the specification's f32 and f64 results.
//!
//! The tests go through all 2^24 colours. What makes it short:
//!
//! * the smallest channel lies at distance 1 exactly, so the hue in sixths is K ± f with K one of -1, 1, 3, 5 and f the
//!   distance of the middle channel, rounded once;
//! * products of bytes and sums of a few of them are exact in f32;
//! * 255 and 21675 = 255 * 85 are odd, so no quotient by them is a tie, and rounding can be that of f32.

use mugs_simd::{Kernel, Simd, Vectors};

use super::colour::load_colours;
use super::planes::Planes;
use crate::image::CHANNELS;

/// Rotates the hue by `factor` of the full circle, -0.5 to 0.5, in place. Factor 0 still makes the round trip.
pub fn hue(vectors: Vectors, planes: &mut Planes, factor: f64) {
    let shift = (factor * 255.0) as i32 as u8;
    vectors.run(Hue { planes, shift });
}

struct Hue<'a> {
    planes: &'a mut Planes,
    shift: u8,
}

impl Kernel for Hue<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shift = s.splat8(self.shift);
        let columns = self.planes.columns();
        for row in 0..self.planes.rows() {
            let mut planes = self.planes.pixels_mut(row);
            for at in (0..columns).step_by(S::BYTES) {
                let colours = turned(s, load_colours(s, &planes, at), shift);
                for (plane, colour) in planes.iter_mut().zip(colours) {
                    s.store(colour, &mut plane[at..]);
                }
            }
        }
    }
}

#[inline(always)]
fn turned<S: Simd>(s: S, colours: [S::I; CHANNELS], shift: S::I) -> [S::I; CHANNELS] {
    let [red, green, blue] = colours;
    let value = s.max_u8(red, s.max_u8(green, blue));
    let least = s.min_u8(red, s.min_u8(green, blue));
    // Grays have range 0: taken as 1 it gives saturation 0 all the same, as the distances are 0.
    let range = s.sub8(value, least);
    let (hues, saturations) = hue_and_saturation(s, colours, value, least, range);
    let (sectors, parts) = sectors(s, s.add8(hues, shift));
    let (low, middle) = amounts(s, value, saturations, parts);
    let mut is = [sectors; 6];
    for (sector, mask) in is.iter_mut().enumerate() {
        *mask = s.eq8(sectors, s.splat8(sector as u8));
    }
    // Of red, green and blue: the sectors in which it is the highest, and those in which it is the middle one.
    const ROLES: [[usize; 4]; CHANNELS] = [[0, 5, 1, 4], [1, 2, 0, 3], [3, 4, 2, 5]];
    let mut out = [value; CHANNELS];
    for (channel, [first, second, third, fourth]) in out.iter_mut().zip(ROLES) {
        let (highest, mid) = (s.or(is[first], is[second]), s.or(is[third], is[fourth]));
        // What is taken from the value: nothing, the middle channel's amount or the lowest's.
        *channel = s.sub8(value, s.and_not(highest, s.select(mid, middle, low)));
    }
    out
}

/// H and S of every pixel, bytes.
#[inline(always)]
fn hue_and_saturation<S: Simd>(
    s: S,
    [red, green, blue]: [S::I; CHANNELS],
    value: S::I,
    least: S::I,
    range: S::I,
) -> (S::I, S::I) {
    let middle = s.xor(s.xor(s.xor(red, green), blue), s.xor(value, least));
    let distance = s.sub8(value, middle);
    // Red comes before green, green before blue, where channels are equal.
    let is_red = s.eq8(value, red);
    let is_green = s.and_not(is_red, s.eq8(value, green));
    // Whether the least channel is the one whose distance stands with a plus: blue for red, red for green, green for blue.
    let least_next = s.select(is_red, s.eq8(least, blue), s.select(is_green, s.eq8(least, red), s.eq8(least, green)));
    // K + 1: for red 2 or 0, for green 4 or 2, for blue 6 or 4.
    let base = s.select(is_red, s.splat8(0), s.select(is_green, s.splat8(2), s.splat8(4)));
    let base = s.add8(base, s.and(least_next, s.splat8(2)));
    // The distance counts negative where the least channel stands with a plus.
    let negative = s.and(least_next, s.splat8(0x80));

    let (base, negative) = (s.widen(base), s.widen(negative));
    let (distance, range, value) = (s.widen(distance), s.widen(range), s.widen(value));
    let (mut hues, mut saturations) = (base, base);
    let one = s.splat32(1);
    for part in 0..4 {
        let not_zero = s.sub32(range[part], s.eq32(range[part], s.zero()));
        let fraction = s.div_f32(s.to_f32(distance[part]), s.to_f32(not_zero));
        let fraction = s.f32_of(s.xor(s.bits_of(fraction), s.sll32(negative[part], 24)));
        let sixths = s.add_f32(s.to_f32(s.sub32(base[part], one)), fraction);
        hues[part] = hue_of(s, sixths);
        let bright = s.sub32(value[part], s.eq32(value[part], s.zero()));
        let scaled = s.mul_f32(s.to_f32(range[part]), s.splat_f32(255.0));
        saturations[part] = s.trunc(s.div_f32(scaled, s.to_f32(bright)));
    }
    (s.narrow(hues), s.narrow(saturations))
}

/// H of a hue in sixths of the circle, -1 to 5.
#[inline(always)]
fn hue_of<S: Simd>(s: S, sixths: S::F) -> S::I {
    let negative = s.lt_f32(sixths, s.splat_f32(0.0));
    let whole = s.f32_of(s.and(negative, s.bits_of(s.splat_f32(1.0))));
    // The quotient by 6 and what it leaves over, exactly; then what the sum with 1 rounds off is added at the end.
    let sixth = s.splat_f32(1.0 / 6.0);
    let quotient = s.mul_f32(sixths, sixth);
    let rest = s.fma(quotient, s.splat_f32(-6.0), sixths);
    let sum = s.add_f32(whole, quotient);
    let lost = s.sub_f32(quotient, s.sub_f32(sum, whole));
    let turns = s.add_f32(sum, s.fma(rest, sixth, lost));
    let full = s.splat_f32(255.0);
    let hue = s.trunc(s.mul_f32(turns, full));
    // The rounded product may have reached a whole number that the product itself has not.
    let over = s.lt_f32(s.fma(turns, full, s.sub_f32(s.splat_f32(0.0), s.to_f32(hue))), s.splat_f32(0.0));
    s.add32(hue, over)
}

/// Of every H the sector of the circle, 0 to 5, and the part of it in 85ths that the middle channel's amount takes:
/// 85 - g in even sectors, g in odd ones, where 2 H = 85 * sector + g.
#[inline(always)]
fn sectors<S: Simd>(s: S, hues: S::I) -> (S::I, S::I) {
    let zero = s.zero();
    let mut sectors = [s.lo8(hues, zero), s.hi8(hues, zero)];
    let mut parts = sectors;
    for (sector, part) in sectors.iter_mut().zip(&mut parts) {
        let hue = *sector;
        // 1543 / 65536 is 2 / 85 closely enough for a byte.
        *sector = s.mulhi_u16(hue, s.splat16(1543));
        let rest = s.sub16(s.add16(hue, hue), s.mul16(*sector, s.splat16(85)));
        let odd = s.sub16(zero, s.and(*sector, s.splat16(1)));
        *part = s.select(odd, rest, s.sub16(s.splat16(85), rest));
    }
    let parts = s.pack16_u8(parts[0], parts[1]);
    let sectors = s.pack16_u8(sectors[0], sectors[1]);
    // H = 255 closes the circle: sector 6 is sector 0.
    let closed = s.eq8(sectors, s.splat8(6));
    (s.and_not(closed, sectors), parts)
}

/// How much lower than the value the lowest and the middle channel are: V S / 255 and V S part / 21675, rounded.
#[inline(always)]
fn amounts<S: Simd>(s: S, value: S::I, saturation: S::I, part: S::I) -> (S::I, S::I) {
    let (value, saturation, part) = (s.widen(value), s.widen(saturation), s.widen(part));
    let (mut low, mut middle) = (value, value);
    let (whole, inverse) = (s.splat_f32(-21675.0), s.splat_f32(1.0 / 21675.0));
    for lane in 0..4 {
        let both = s.mul_f32(s.to_f32(value[lane]), s.to_f32(saturation[lane]));
        low[lane] = s.nearest(s.mul_f32(both, s.splat_f32(1.0 / 255.0)));
        let product = s.mul_f32(both, s.to_f32(part[lane]));
        let quotient = s.mul_f32(product, inverse);
        let rest = s.fma(quotient, whole, product);
        middle[lane] = s.nearest(s.fma(rest, inverse, quotient));
    }
    (s.narrow(low), s.narrow(middle))
}
