//! The last data stage: a batch of bytes becomes the floats that the model reads.

use mugs_data::batch::{Batch, Contents, Crops};
use mugs_data::crop::{Erasing, Floats};
use mugs_data::pool::{Buffer, Pool};

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
