//! Crops of bytes to what the model reads: normalised floats, with noise where a crop is erased.

use mugs_image::ops::Rect;
use mugs_image::ops::tensor::{Erasing, Normaliser};
use mugs_simd::{Level, Vectors};

use super::plan::Erase;
use crate::batch::Crops;

/// Makes floats of crops: `v / 255`, minus ImageNet's mean, by its deviation, each rounded to f32.
#[derive(Debug)]
pub struct Floats {
    normaliser: Normaliser,
    vectors: Option<Vectors>,
    when: Erasing,
    /// Whether what comes out is normalised once more.
    twice: bool,
    /// Noise of the rectangle at hand, kept to be filled again.
    patch: Vec<f32>,
}

impl Floats {
    /// `when` is [`Erasing::BeforeNormalisation`] for the published pretraining, where the noise is normalised like a
    /// pixel, and [`Erasing::AfterNormalisation`] for linear probing, where it stays standard normal.
    pub fn new(when: Erasing) -> Self {
        Self::on(Level::chosen(), when)
    }

    /// The same, on a path of one's choice.
    pub fn on(level: Level, when: Erasing) -> Self {
        let (normaliser, vectors) = (Normaliser::default(), Vectors::of(level));
        Self { normaliser, vectors, when, twice: false, patch: Vec::new() }
    }

    /// The same, but all that comes out, noise included, is normalised once more: what the published pretraining does
    /// without its prefetcher, whose crops are normalised, then erased, by then.
    pub fn normalised_again(self) -> Self {
        Self { twice: true, ..self }
    }

    /// Writes a batch's crops of one size as `[C * B, 3, S, S]` f32, numbered as they are. The noise is a function of
    /// the addresses that travel with the rectangles.
    ///
    /// # Panics
    /// If `out` does not have `C * B * 3 * S * S` values, or a rectangle leaves its crop.
    pub fn crops(&mut self, crops: &Crops, out: &mut [f32]) {
        let values = 3 * crops.size * crops.size;
        assert_eq!(out.len(), crops.len() * values, "{} crops of side {} need more room", crops.len(), crops.size);
        for (number, erase) in crops.erase.iter().enumerate() {
            let out = &mut out[number * values..(number + 1) * values];
            self.crop(crops.crop(number), crops.size, erase.as_ref(), out, |erase, patch| erase.noise.fill(patch));
        }
    }

    /// Writes one crop, `[3, S, S]` u8, as `[3, S, S]` f32. `noise` fills the patch of an erased rectangle,
    /// `[3, height, width]`, with standard normals.
    ///
    /// # Panics
    /// If `pixels` or `out` do not have `3 * S * S` values, or the rectangle leaves the crop.
    pub fn crop(
        &mut self,
        pixels: &[u8],
        size: usize,
        erase: Option<&Erase>,
        out: &mut [f32],
        noise: impl FnOnce(&Erase, &mut [f32]),
    ) {
        assert_eq!(pixels.len(), 3 * size * size, "a crop of side {size} has other pixels");
        self.normaliser.write_planes(self.vectors, pixels, out);
        if let Some(erase) = erase {
            let &Erase { top, left, height, width, .. } = erase;
            self.patch.resize(3 * height * width, 0.0);
            noise(erase, &mut self.patch);
            self.normaliser.erase(out, size, Rect { top, left, height, width }, self.when, &self.patch);
        }
        if self.twice {
            self.normaliser.normalise(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mugs_flow::Group as _;

    use super::*;
    use crate::batch::{Batch, BatchConfig, Batcher};
    use crate::crop::Noise;
    use crate::item::{CropSet, Cropped, Origin};
    use crate::pool::Pool;

    fn erase(lane: u16) -> Erase {
        Erase { top: 1, left: 0, height: 2, width: 3, noise: Noise { seed: 5, epoch: 1, position: 9, lane } }
    }

    /// A batch of one picture with four crops, the third erased.
    fn crops(lane: u16) -> Crops {
        let key: Arc<str> = "key".into();
        let shard = "a.tar".into();
        let origin = Origin { epoch: 1, position: 9, key, shard, offset: 0, label: None, stands_in_for: None };
        let crops = CropSet::new(&Pool::default(), vec![4; 4], |bytes| {
            for (crop, bytes) in bytes.chunks_exact_mut(48).enumerate() {
                bytes
                    .chunks_exact_mut(16)
                    .zip([10 * crop as u8, 128, 255])
                    .for_each(|(plane, value)| plane.fill(value));
            }
        });
        let item = Cropped { origin, weak: false, crops, erase: vec![None, None, Some(erase(lane)), None] };
        let mut batcher = Batcher::new(&BatchConfig { batch_size_per_gpu: 1 }).unwrap();
        match batcher.push(item).unwrap() {
            Some(Batch::Host(batch)) => batch.global,
            other => panic!("no host batch: {other:?}"),
        }
    }

    fn floats(when: Erasing, lane: u16) -> Vec<f32> {
        let mut out = vec![0.0; 4 * 48];
        Floats::new(when).crops(&crops(lane), &mut out);
        out
    }

    #[test]
    fn each_crop_has_its_planes_and_only_the_rectangle_is_noise() {
        let out = floats(Erasing::AfterNormalisation, 7);
        let red = |value: f32| (value / 255.0 - 0.485) / 0.229;
        assert_eq!(out[..16], [red(0.0); 16]);
        assert_eq!(out[48..64], [red(10.0); 16]);
        let third = &out[96..112];
        assert_eq!((third[..4].to_vec(), third[7], third[12]), (vec![red(20.0); 4], red(20.0), red(20.0)));
        let mut patch = [0.0; 18];
        erase(7).noise.fill(&mut patch);
        assert_eq!((&third[4..7], &third[8..11]), (&patch[..3], &patch[3..6]));
        assert_eq!(out[96 + 16 + 4..][..3], patch[6..9]);
    }

    #[test]
    fn noise_before_normalisation_is_normalised() {
        let (before, after) = (floats(Erasing::BeforeNormalisation, 7), floats(Erasing::AfterNormalisation, 7));
        for at in [100, 106] {
            assert_eq!(before[at], (after[at] - 0.485) / 0.229);
        }
        assert_eq!(before[..96], after[..96]);
    }

    #[test]
    fn the_noise_follows_its_address() {
        assert_eq!(floats(Erasing::BeforeNormalisation, 7), floats(Erasing::BeforeNormalisation, 7));
        assert_ne!(floats(Erasing::BeforeNormalisation, 7)[100], floats(Erasing::BeforeNormalisation, 8)[100]);
    }

    #[test]
    fn normalised_again_pixels_are_normalised_twice_and_noise_once() {
        let mut twice = vec![0.0; 4 * 48];
        Floats::new(Erasing::AfterNormalisation).normalised_again().crops(&crops(7), &mut twice);
        let (once, noise) = (floats(Erasing::AfterNormalisation, 7), floats(Erasing::BeforeNormalisation, 7));
        // Red of the first pixel of the first crop, green of the second crop's.
        assert_eq!(twice[0], (once[0] - 0.485) / 0.229);
        assert_eq!(twice[48 + 16], (once[48 + 16] - 0.456) / 0.224);
        // In the rectangle of the third crop.
        assert_eq!(twice[96 + 4], noise[96 + 4]);
    }
}
