//! Brightness, contrast, saturation and gray. Blends are computed in f32, operation by operation as specified.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::Planes;
use super::resize::load;
use crate::image::CHANNELS;

/// Blends from black, in place.
pub fn brightness(vectors: Vectors, planes: &mut Planes, factor: f32) {
    if factor != 1.0 {
        vectors.run(FromGray { planes, gray: 0, factor });
    }
}

/// Blends from the gray `mean`, in place: contrast, when it is the mean luma.
pub fn contrast(vectors: Vectors, planes: &mut Planes, mean: u8, factor: f32) {
    if factor != 1.0 {
        vectors.run(FromGray { planes, gray: mean, factor });
    }
}

/// Blends from each pixel's luma, in place.
pub fn saturation(vectors: Vectors, planes: &mut Planes, factor: f32) {
    if factor != 1.0 {
        vectors.run(FromLuma { planes, factor });
    }
}

/// Replaces every pixel by its luma.
pub fn grayscale(vectors: Vectors, planes: &mut Planes) {
    vectors.run(Grayscale { planes });
}

/// The mean of the lumas, each rounded to a byte first, rounded half up.
pub fn mean_luma(vectors: Vectors, planes: &Planes) -> u8 {
    let sum = vectors.run(SumOfLuma { planes });
    let mean = sum as f64 / (planes.rows() * planes.columns()) as f64;
    (mean + 0.5) as u8
}

/// A vector of each channel.
#[inline(always)]
pub(super) fn load_colours<S: Simd>(s: S, planes: &[&mut [u8]; CHANNELS], at: usize) -> [S::I; CHANNELS] {
    [s.load(&planes[0][at..]), s.load(&planes[1][at..]), s.load(&planes[2][at..])]
}

/// `from` at factor 0, `to` at factor 1: `from + factor * (to - from)`, each step rounded to f32, then truncated.
#[inline(always)]
pub(super) fn blend<S: Simd>(s: S, from: S::I, to: S::I, factor: S::F) -> S::I {
    let (from, to) = (s.widen(from), s.widen(to));
    let mut out = from;
    for part in 0..4 {
        let step = s.mul_f32(factor, s.to_f32(s.sub32(to[part], from[part])));
        out[part] = s.trunc(s.add_f32(s.to_f32(from[part]), step));
    }
    s.narrow(out)
}

/// ITU-R 601-2 luma in 16-bit fixed point, rounded. Green's weight does not fit an i16 and comes in two halves.
#[inline(always)]
pub(super) fn luma<S: Simd>(s: S, [red, green, blue]: [S::I; CHANNELS]) -> S::I {
    let half = s.splat32(0x8000);
    let (red_green, blue_green) = (s.pairs(red, green), s.pairs(blue, green));
    let (first, second) = (s.splat32(19595 | 19235 << 16), s.splat32(7471 | 19235 << 16));
    let mut out = red_green;
    for part in 0..4 {
        let sum = s.dot16(half, red_green[part], first);
        out[part] = s.sra32(s.dot16(sum, blue_green[part], second), 16);
    }
    s.narrow(out)
}

struct FromGray<'a> {
    planes: &'a mut Planes,
    gray: u8,
    factor: f32,
}

impl Kernel for FromGray<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (gray, factor) = (s.splat8(self.gray), s.splat_f32(self.factor));
        let columns = self.planes.columns();
        for row in 0..self.planes.rows() {
            for plane in self.planes.pixels_mut(row) {
                for at in (0..columns).step_by(S::BYTES) {
                    let bytes = &mut plane[at..];
                    s.store(blend(s, gray, s.load(bytes), factor), bytes);
                }
            }
        }
    }
}

struct FromLuma<'a> {
    planes: &'a mut Planes,
    factor: f32,
}

impl Kernel for FromLuma<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat_f32(self.factor);
        let columns = self.planes.columns();
        for row in 0..self.planes.rows() {
            let mut planes = self.planes.pixels_mut(row);
            for at in (0..columns).step_by(S::BYTES) {
                let colours = load_colours(s, &planes, at);
                let gray = luma(s, colours);
                for (plane, colour) in planes.iter_mut().zip(colours) {
                    s.store(blend(s, gray, colour, factor), &mut plane[at..]);
                }
            }
        }
    }
}

struct Grayscale<'a> {
    planes: &'a mut Planes,
}

impl Kernel for Grayscale<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.planes.columns();
        for row in 0..self.planes.rows() {
            let mut planes = self.planes.pixels_mut(row);
            for at in (0..columns).step_by(S::BYTES) {
                let gray = luma(s, load_colours(s, &planes, at));
                for plane in planes.iter_mut() {
                    s.store(gray, &mut plane[at..]);
                }
            }
        }
    }
}

struct SumOfLuma<'a> {
    planes: &'a Planes,
}

impl Kernel for SumOfLuma<'_> {
    type Out = u64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> u64 {
        let columns = self.planes.columns();
        let mut sum = 0;
        for row in 0..self.planes.rows() {
            let planes = [0, 1, 2].map(|channel| self.planes.row(channel, row));
            let whole = columns / S::BYTES * S::BYTES;
            for at in (0..columns).step_by(S::BYTES) {
                let mut colours = [s.load(&planes[0][at..]), s.load(&planes[1][at..]), s.load(&planes[2][at..])];
                if at == whole {
                    // Behind the last column black counts for nothing.
                    for (colour, plane) in colours.iter_mut().zip(planes) {
                        *colour = load(s, &plane[..columns], at);
                    }
                }
                sum += s.sum_u8(luma(s, colours));
            }
        }
        sum
    }
}
