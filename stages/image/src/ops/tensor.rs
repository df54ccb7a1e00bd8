//! Bytes to what the network reads: planar f32, normalised, with an optional rectangle of noise.

use mugs_simd::{Level, Vectors};

use super::Rect;
use crate::fast::ToFloats;
use crate::image::CHANNELS;

/// ImageNet's channel means, of values in [0, 1].
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// ImageNet's channel standard deviations, of values in [0, 1].
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Where in the recipe the noise of an erased rectangle is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Erasing {
    /// In place of values in [0, 1], and normalised with them: the published pretraining (its data prefetcher
    /// normalises whole batches).
    BeforeNormalisation,
    /// In place of normalised values, as is: linear probing.
    AfterNormalisation,
}

/// Turns bytes into normalised values: `v / 255`, minus the mean, by the deviation, each rounded to f32.
#[derive(Debug, Clone)]
pub struct Normaliser {
    mean: [f32; CHANNELS],
    std: [f32; CHANNELS],
    /// The value of every byte, by channel: 256 divisions instead of one per pixel.
    tables: [[f32; 256]; CHANNELS],
    /// The same by arithmetic, where that is exact.
    fast: [Option<ToFloats>; CHANNELS],
}

impl Default for Normaliser {
    /// ImageNet's [`MEAN`] and [`STD`].
    fn default() -> Self {
        Self::new(MEAN, STD)
    }
}

impl Normaliser {
    /// Normalises by channel with `mean` and `std`, of values in [0, 1].
    pub fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let tables = std::array::from_fn(|c| std::array::from_fn(|v| (v as f32 / 255.0 - mean[c]) / std[c]));
        let vectors = Vectors::of(Level::chosen());
        let fast = std::array::from_fn(|c| vectors.and_then(|vectors| ToFloats::new(vectors, mean[c], std[c])));
        Self { mean, std, tables, fast }
    }

    /// Writes interleaved RGB bytes, `[height, width, 3]`, as `[3, height, width]`.
    ///
    /// # Panics
    /// If `out` does not have as many values as there are bytes.
    pub fn write(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(out.len(), pixels.len(), "the tensor does not have the picture's size");
        let area = pixels.len() / CHANNELS;
        let (red, rest) = out.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let [reds, greens, blues] = &self.tables;
        for (((&[r, g, b], red), green), blue) in pixels.as_chunks().0.iter().zip(red).zip(green).zip(blue) {
            *red = reds[usize::from(r)];
            *green = greens[usize::from(g)];
            *blue = blues[usize::from(b)];
        }
    }

    /// Writes bytes that lie channel by channel, `[3, height, width]`, in the same order, on vectors where there are some.
    ///
    /// # Panics
    /// If `out` does not have as many values as there are bytes, or they are not three equal planes.
    pub fn write_planes(&self, vectors: Option<Vectors>, planes: &[u8], out: &mut [f32]) {
        assert_eq!(out.len(), planes.len(), "the tensor does not have the picture's size");
        assert_eq!(planes.len() % CHANNELS, 0, "there are not three planes");
        let area = (planes.len() / CHANNELS).max(1);
        for (channel, (bytes, out)) in planes.chunks_exact(area).zip(out.chunks_exact_mut(area)).enumerate() {
            match vectors.zip(self.fast[channel]) {
                Some((vectors, floats)) => floats.write(vectors, bytes, out),
                None => {
                    let table = &self.tables[channel];
                    out.iter_mut().zip(bytes).for_each(|(value, &byte)| *value = table[usize::from(byte)]);
                }
            }
        }
    }

    /// Interleaved RGB bytes, `[height, width, 3]`, as a new `[3, height, width]`.
    pub fn tensor(&self, pixels: &[u8]) -> Vec<f32> {
        let mut out = vec![0.0; pixels.len()];
        self.write(pixels, &mut out);
        out
    }

    /// Normalises values that lie channel by channel, `[3, height, width]`, as if they were in [0, 1].
    pub fn normalise(&self, planes: &mut [f32]) {
        let area = (planes.len() / CHANNELS).max(1);
        for (channel, plane) in planes.chunks_exact_mut(area).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            plane.iter_mut().for_each(|value| *value = (*value - mean) / std);
        }
    }

    /// Overwrites the rectangle `area` in all channels of `tensor`, `[3, height, width]` with that `width`, by `noise`,
    /// `[3, area.height, area.width]`.
    ///
    /// # Panics
    /// If the rectangle leaves the tensor, or the noise does not have its size.
    pub fn erase(&self, tensor: &mut [f32], width: usize, area: Rect, when: Erasing, noise: &[f32]) {
        let plane = tensor.len() / CHANNELS;
        assert!(area.left + area.width <= width && (area.top + area.height) * width <= plane, "{area:?} does not fit");
        assert_eq!(noise.len(), CHANNELS * area.height * area.width, "the noise does not have the size of {area:?}");
        if noise.is_empty() {
            return;
        }
        let noise = noise.chunks_exact(area.height * area.width);
        for (channel, (values, noise)) in tensor.chunks_exact_mut(plane).zip(noise).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let rows = values.chunks_exact_mut(width).skip(area.top);
            for (row, noise) in rows.zip(noise.chunks_exact(area.width)) {
                for (value, &noise) in row[area.left..area.left + area.width].iter_mut().zip(noise) {
                    *value = match when {
                        Erasing::BeforeNormalisation => (noise - mean) / std,
                        Erasing::AfterNormalisation => noise,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_come_channel_by_channel() {
        let pixels = [0, 51, 255, 255, 102, 0];
        assert_eq!(Normaliser::new([0.0; 3], [1.0; 3]).tensor(&pixels), [0.0, 1.0, 0.2, 0.4, 1.0, 0.0]);
        assert_eq!(Normaliser::default().tensor(&pixels)[1], (1.0 - 0.485_f32) / 0.229);
    }

    #[test]
    fn noise_goes_into_the_rectangle_of_every_channel() {
        let normaliser = Normaliser::new([1.0; 3], [0.5; 3]);
        let area = Rect { top: 1, left: 1, height: 1, width: 2 };
        let mut tensor = vec![9.0; 3 * 2 * 3];
        let noise = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        normaliser.erase(&mut tensor, 3, area, Erasing::AfterNormalisation, &noise);
        assert_eq!(tensor[..6], [9.0, 9.0, 9.0, 9.0, 1.0, 2.0]);
        assert_eq!(tensor[12..], [9.0, 9.0, 9.0, 9.0, 5.0, 6.0]);
        normaliser.erase(&mut tensor, 3, area, Erasing::BeforeNormalisation, &noise);
        assert_eq!(tensor[4..6], [0.0, 2.0]);
    }

    #[test]
    fn bytes_as_floats_are_normalised_like_bytes() {
        let normaliser = Normaliser::default();
        let bytes = [0, 51, 7, 255, 102, 9];
        let mut floats = bytes.map(|byte| f32::from(byte) / 255.0);
        normaliser.normalise(&mut floats);
        let mut expected = [0.0; 6];
        normaliser.write_planes(None, &bytes, &mut expected);
        assert_eq!(floats, expected);
    }
}
