//! Sharpness on a window.

use mugs_simd::{Kernel, Simd, Vectors};

use super::colour::blend;
use super::planes::{LINE, Planes, View, Window};
use super::resize::load;
use crate::image::CHANNELS;

/// Blends from the smoothed picture, on a window of it. The view holds the window and one pixel more on each side, as
/// far as the picture goes.
///
/// Smoothing is symmetrical, so it does not matter whether the picture is turned; its sum of f32 thirteenths is nowhere
/// nearer than 1/26 to a whole number, so it is `(sum of the nine + 4 * middle + 6) / 13` in integers.
pub fn sharpness(vectors: Vectors, view: &View<'_>, window: &Window, factor: f32, out: &mut Planes) {
    out.reshape(window.rows.len(), window.columns.len());
    vectors.run(Sharpness { view, window, factor, out });
}

struct Sharpness<'a> {
    view: &'a View<'a>,
    window: &'a Window,
    factor: f32,
    out: &'a mut Planes,
}

impl Kernel for Sharpness<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { view, window, factor, out } = self;
        let plain = factor == 1.0;
        let factor = s.splat_f32(factor);
        let columns = window.columns.len();
        let small = view.rows < 3 || view.columns < 3;
        for channel in 0..CHANNELS {
            for row in window.rows.clone() {
                let target = out.row_mut(channel, row - window.rows.start);
                let from = view.from(channel, row, window.columns.start);
                target[..columns].copy_from_slice(&from[..columns]);
                if small || row == 0 || row == view.rows - 1 || plain {
                    continue;
                }
                // The picture's first and last column stay.
                let first = window.columns.start.max(1);
                let last = window.columns.end.min(view.columns - 1);
                let lines = [row - 1, row, row + 1].map(|row| view.from(channel, row, first - 1));
                let mut at = first;
                while at < last {
                    let count = (last - at).min(S::BYTES);
                    let sharp = sharpened(
                        s,
                        [&lines[0][at - first..], &lines[1][at - first..], &lines[2][at - first..]],
                        factor,
                    );
                    let target = &mut target[at - window.columns.start..];
                    if count == S::BYTES {
                        s.store(sharp, target);
                    } else {
                        let mut bytes = [0; LINE];
                        s.store(sharp, &mut bytes);
                        target[..count].copy_from_slice(&bytes[..count]);
                    }
                    at += count;
                }
            }
        }
    }
}

/// A vector of pixels whose left neighbours begin three lines.
#[inline(always)]
fn sharpened<S: Simd>(s: S, lines: [&[u8]; 3], factor: S::F) -> S::I {
    let zero = s.zero();
    let mut sums = [s.splat16(6); 2];
    let mut middle = zero;
    for (number, line) in lines.into_iter().enumerate() {
        for step in 0..3 {
            let bytes = load(s, line, step.min(line.len()));
            sums = [s.add16(sums[0], s.lo8(bytes, zero)), s.add16(sums[1], s.hi8(bytes, zero))];
            if number == 1 && step == 1 {
                middle = bytes;
            }
        }
    }
    let mut own = [s.lo8(middle, zero), s.hi8(middle, zero)];
    for (own, sum) in own.iter_mut().zip(sums) {
        let twice = s.add16(*own, *own);
        // 5042 / 65536 is one thirteenth closely enough for sums up to 6553.
        *own = s.mulhi_u16(s.add16(sum, s.add16(twice, twice)), s.splat16(5042));
    }
    let soft = s.pack16_u8(own[0], own[1]);
    blend(s, soft, middle, factor)
}
