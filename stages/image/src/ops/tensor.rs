//! Bytes to what the network reads: planar f32, normalised, with an optional rectangle of noise.

use super::Rect;
use crate::Image;
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
        Self { mean, std, tables }
    }

    /// Writes a picture as `[3, height, width]`.
    ///
    /// # Panics
    /// If `out` does not have `3 * height * width` values.
    pub fn write(&self, image: &Image, out: &mut [f32]) {
        let area = image.width * image.height;
        assert_eq!(out.len(), CHANNELS * area, "the tensor does not have the picture's size");
        let (red, rest) = out.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let [reds, greens, blues] = &self.tables;
        for (((&[r, g, b], red), green), blue) in image.colours().iter().zip(red).zip(green).zip(blue) {
            *red = reds[usize::from(r)];
            *green = greens[usize::from(g)];
            *blue = blues[usize::from(b)];
        }
    }

    /// A picture as `[3, height, width]`.
    pub fn tensor(&self, image: &Image) -> Vec<f32> {
        let mut out = vec![0.0; CHANNELS * image.width * image.height];
        self.write(image, &mut out);
        out
    }

    /// Overwrites the rectangle `area` in all channels of `tensor`, `[3, height, width]` with that `width`.
    ///
    /// `noise` is called once for each value, channel by channel and row by row, and gives standard normal values in
    /// training.
    ///
    /// # Panics
    /// If the rectangle leaves the tensor.
    pub fn erase(&self, tensor: &mut [f32], width: usize, area: Rect, when: Erasing, mut noise: impl FnMut() -> f32) {
        let plane = tensor.len() / CHANNELS;
        assert!(area.left + area.width <= width && (area.top + area.height) * width <= plane, "{area:?} does not fit");
        for (channel, values) in tensor.chunks_exact_mut(plane).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            for row in values.chunks_exact_mut(width).skip(area.top).take(area.height) {
                for value in &mut row[area.left..area.left + area.width] {
                    *value = match when {
                        Erasing::BeforeNormalisation => (noise() - mean) / std,
                        Erasing::AfterNormalisation => noise(),
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
        let image = Image::new(2, 1, vec![0, 51, 255, 255, 102, 0]).unwrap();
        let tensor = Normaliser::new([0.0; 3], [1.0; 3]).tensor(&image);
        assert_eq!(tensor, [0.0, 1.0, 0.2, 0.4, 1.0, 0.0]);
        let tensor = Normaliser::default().tensor(&image);
        assert_eq!(tensor[1], (1.0 - 0.485_f32) / 0.229);
    }

    #[test]
    fn noise_goes_into_the_rectangle_of_every_channel() {
        let normaliser = Normaliser::new([1.0; 3], [0.5; 3]);
        let area = Rect { top: 1, left: 1, height: 1, width: 2 };
        let mut tensor = vec![9.0; 3 * 2 * 3];
        let mut next = 0.0;
        let mut noise = || {
            next += 1.0;
            next
        };
        normaliser.erase(&mut tensor, 3, area, Erasing::AfterNormalisation, &mut noise);
        assert_eq!(tensor[..6], [9.0, 9.0, 9.0, 9.0, 1.0, 2.0]);
        assert_eq!(tensor[12..], [9.0, 9.0, 9.0, 9.0, 5.0, 6.0]);
        normaliser.erase(&mut tensor, 3, area, Erasing::BeforeNormalisation, || 2.0);
        assert_eq!(tensor[4..6], [2.0, 2.0]);
    }
}
