//! The last data stage: a batch of bytes becomes the floats that the model reads.

use mugs_data::batch::{Batch, Contents, Crops};
use mugs_data::crop::{Erasing, Floats};
use mugs_data::pool::{Buffer, Pool};

use crate::config::{Fix, RunConfig};

/// A batch as the model reads it, on the host.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// What it is made of.
    pub contents: Contents,
    /// The large crops, `[4 * B, 3, S, S]`: t1 of all pictures, then t2, s1, s2.
    pub global: Planes,
    /// The local crops, `[L * B, 3, s, s]`, crop by crop; empty without local crops.
    pub local: Planes,
}

impl Rendered {
    /// Bytes of the floats.
    pub fn bytes(&self) -> usize {
        4 * (self.global.values.len() + self.local.values.len())
    }
}

/// Crops of one size: normalised f32, one plane per channel.
#[derive(Debug, Clone)]
pub struct Planes {
    /// Number of crops.
    pub count: usize,
    /// Their side in pixels, S.
    pub size: usize,
    /// `[count, 3, S, S]` f32, row-major.
    pub values: Buffer<f32>,
}

/// Why a batch cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The batch lies on a device, and this stage works on the host.
    #[error("a batch on CUDA device {device} reached the host's renderer; device batches go to the step as they are")]
    Device {
        /// The device's number.
        device: usize,
    },
}

/// Renders batch after batch.
pub struct Renderer {
    floats: Floats,
    pool: Pool<f32>,
}

impl Renderer {
    /// For pretraining: erasing noise is normalised like a pixel, as the published prefetcher does.
    pub fn new() -> Self {
        Self { floats: Floats::new(Erasing::BeforeNormalisation), pool: Pool::default() }
    }

    /// For a run. Without its prefetcher the published trainer normalises crops before they are erased, and then again
    /// (which the mend leaves out).
    pub fn of(config: &RunConfig) -> Self {
        let floats = || Floats::new(Erasing::AfterNormalisation);
        let floats = match (config.use_prefetcher, config.mends(Fix::NormaliseOnce)) {
            (true, _) => Floats::new(Erasing::BeforeNormalisation),
            (false, false) => floats().normalised_again(),
            (false, true) => floats(),
        };
        Self { floats, pool: Pool::default() }
    }

    /// The floats of a batch.
    pub fn render(&mut self, batch: Batch) -> Result<Rendered, RenderError> {
        match batch {
            Batch::Host(batch) => Ok(Rendered {
                global: self.planes(&batch.global),
                local: self.planes(&batch.local),
                contents: batch.contents,
            }),
            Batch::Device(batch) => Err(RenderError::Device { device: batch.device }),
        }
    }

    fn planes(&mut self, crops: &Crops) -> Planes {
        let (count, size) = (crops.len(), crops.size);
        let mut values = self.pool.take(count * 3 * size * size);
        self.floats.crops(crops, &mut values);
        Planes { count, size, values }
    }
}

impl Default for Renderer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mugs_data::batch::{BatchConfig, Batcher};
    use mugs_data::crop::{Erase, Noise};
    use mugs_data::{CropSet, Cropped, Origin};
    use mugs_flow::Group as _;

    use super::*;

    /// Red of a pixel and of a rectangle's noise, as a run renders crops of bytes 200.
    fn red(config: &RunConfig) -> [f32; 2] {
        let (key, shard) = (Arc::from("key"), "a.tar".into());
        let origin = Origin { epoch: 1, position: 9, key, shard, offset: 0, label: None, stands_in_for: None };
        let crops = CropSet::new(&Pool::default(), vec![4; 4], |bytes| bytes.fill(200));
        let noise = Noise { seed: 5, epoch: 1, position: 9, lane: 7 };
        let erase = Erase { top: 1, left: 0, height: 2, width: 3, noise };
        let item = Cropped { origin, weak: false, crops, erase: vec![Some(erase), None, None, None] };
        let batch = Batcher::new(&BatchConfig { batch_size_per_gpu: 1 }).unwrap().push(item).unwrap().unwrap();
        let values = Renderer::of(config).render(batch).unwrap().global.values;
        [values[0], values[4]]
    }

    #[test]
    fn crops_are_normalised_once_or_as_published_without_the_prefetcher_twice() {
        let usual = RunConfig::default();
        let without = RunConfig { use_prefetcher: false, ..RunConfig::default() };
        let mended = RunConfig { fix: vec![Fix::NormaliseOnce], ..without.clone() };
        let normalised = |value: f32| (value - 0.485) / 0.229;
        let once = normalised(200.0 / 255.0);
        let [usual, without, mended] = [usual, without, mended].map(|config| red(&config));
        assert_eq!([usual[0], without[0], mended[0]], [once, normalised(once), once]);
        // Noise is normalised by what comes behind the erasing.
        assert_eq!([usual[1], without[1]], [normalised(mended[1]); 2]);
    }
}
