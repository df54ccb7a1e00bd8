//! Gaussian blur as three extended box filters each way (P. Gwosdek and others: "Theoretical foundations of Gaussian
//! convolution by extended box filtering", 2011).

use crate::Image;
use crate::image::CHANNELS;

/// Box filters each way.
const PASSES: usize = 3;

/// A box filter of whole and fractional width in 24-bit fixed point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxBlur {
    /// Half-width in pixels, with its fraction.
    pub radius: f32,
    /// Pixels on each side that count in full.
    pub whole: usize,
    /// Weight of each of those, and of the middle.
    pub weight: u32,
    /// Weight of one more pixel on each side.
    pub edge_weight: u32,
}

impl BoxBlur {
    /// The box whose three-fold use comes nearest to a Gaussian of standard deviation `sigma` pixels (f32 throughout).
    pub fn for_sigma(sigma: f32) -> Self {
        let variance = sigma * sigma / PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let l = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let numerator = (2.0 * l + 1.0) * (l * (l + 1.0) - 3.0 * variance);
        let radius = l + numerator / (6.0 * (variance - (l + 1.0) * (l + 1.0)));
        let whole = radius as u32;
        let weight = (16_777_216.0 / (radius * 2.0 + 1.0)) as u32;
        let edge_weight = (1_u32 << 24).wrapping_sub((2 * whole + 1).wrapping_mul(weight)) / 2;
        Self { radius, whole: whole as usize, weight, edge_weight }
    }

    /// One output: `inside` is the sum over the box, `outside` that of the two pixels next to it.
    fn value(&self, inside: u32, outside: u32) -> u8 {
        let sum = inside.wrapping_mul(self.weight).wrapping_add(outside.wrapping_mul(self.edge_weight));
        (sum.wrapping_add(1 << 23) >> 24) as u8
    }
}

/// Blurs with a standard deviation of `radius` pixels (rounded to f32); 0 changes nothing. Edge pixels repeat outwards.
pub fn gaussian_blur(image: &mut Image, radius: f64) {
    let blur = BoxBlur::for_sigma(radius as f32);
    if blur.radius == 0.0 {
        return;
    }
    let mut scratch = image.clone();
    for pass in 0..2 * PASSES {
        if pass < PASSES {
            across(image, &mut scratch, &blur)
        } else {
            down(image, &mut scratch, &blur)
        }
        std::mem::swap(image, &mut scratch);
    }
}

/// Filters every row. The sum over the box runs along: one pixel enters, one leaves.
fn across(source: &Image, target: &mut Image, blur: &BoxBlur) {
    let (width, reach) = (source.width, blur.whole);
    let margin = reach + 1;
    let mut line = vec![[0; CHANNELS]; width + 2 * margin];
    for y in 0..source.height {
        let row = source.row(y).as_chunks::<CHANNELS>().0;
        line[..margin].fill(row[0]);
        line[margin..margin + width].copy_from_slice(row);
        line[margin + width..].fill(row[width - 1]);
        let mut inside = [0_u32; CHANNELS];
        for &colour in &line[1..=2 * reach + 1] {
            add(&mut inside, colour);
        }
        let (before, leaving, after) = (&line[..], &line[1..], &line[2 * margin..]);
        let neighbours = before.iter().zip(leaving).zip(after);
        for (pixel, ((before, leaving), after)) in
            target.row_mut(y).as_chunks_mut::<CHANNELS>().0.iter_mut().zip(neighbours)
        {
            *pixel = std::array::from_fn(|c| blur.value(inside[c], u32::from(before[c]) + u32::from(after[c])));
            for c in 0..CHANNELS {
                inside[c] = inside[c] + u32::from(after[c]) - u32::from(leaving[c]);
            }
        }
    }
}

fn add(sums: &mut [u32; CHANNELS], colour: [u8; CHANNELS]) {
    for (sum, value) in sums.iter_mut().zip(colour) {
        *sum += u32::from(value);
    }
}

/// An index into a line of `length` pixels, whose edge pixels repeat outwards.
fn clamped(at: isize, length: usize) -> usize {
    at.clamp(0, length as isize - 1) as usize
}

/// Filters every column, all of them row by row: whole rows enter and leave the sums.
fn down(source: &Image, target: &mut Image, blur: &BoxBlur) {
    let (height, reach) = (source.height, blur.whole as isize);
    let row = |at: isize| source.row(clamped(at, height));
    let mut inside = vec![0_u32; source.width * CHANNELS];
    for at in -reach..=reach {
        for (sum, &value) in inside.iter_mut().zip(row(at)) {
            *sum += u32::from(value);
        }
    }
    for y in 0..height {
        let at = y as isize;
        let (before, after, leaving) = (row(at - reach - 1), row(at + reach + 1), row(at - reach));
        let neighbours = before.iter().zip(after).zip(leaving);
        for ((to, sum), ((&before, &after), &leaving)) in target.row_mut(y).iter_mut().zip(&mut inside).zip(neighbours)
        {
            *to = blur.value(*sum, u32::from(before) + u32::from(after));
            *sum = *sum + u32::from(after) - u32::from(leaving);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: every sum anew.
    fn slow(line: &[u8], blur: &BoxBlur) -> Vec<u8> {
        let at = |x: isize| u32::from(line[clamped(x, line.len())]);
        let reach = blur.whole as isize;
        (0..line.len() as isize)
            .map(|x| {
                let inside = (-reach..=reach).map(|d| at(x + d)).sum();
                blur.value(inside, at(x - reach - 1) + at(x + reach + 1))
            })
            .collect()
    }

    #[test]
    fn running_sums_equal_the_definition() {
        let line: Vec<u8> = (0..23_u32).map(|x| (x * x * 37 + 11 * x) as u8).collect();
        for length in [1, 2, 3, 7, 23] {
            for sigma in [0.1, 0.7, 1.3, 2.0, 5.0, 30.0] {
                let blur = BoxBlur::for_sigma(sigma);
                let line = &line[..length];
                let pixels: Vec<u8> = line.iter().flat_map(|&v| [v; 3]).collect();
                let wanted: Vec<u8> = slow(line, &blur).iter().flat_map(|&v| [v; 3]).collect();
                let lying = Image::new(length, 1, pixels.clone()).unwrap();
                let standing = Image::new(1, length, pixels).unwrap();
                let (mut row, mut column) = (lying.clone(), standing.clone());
                across(&lying, &mut row, &blur);
                down(&standing, &mut column, &blur);
                assert_eq!((&row.pixels, &column.pixels), (&wanted, &wanted), "sigma {sigma}, length {length}");
            }
        }
    }
}
