//! Decoding on the CPU.

use mugs_image::Decoder;
use mugs_image::decode::DecoderConfig;

use super::{Decode, Warnings};
use crate::error::DataError;
use crate::item::{Fetched, Picture};

/// Decodes JPEG with libjpeg-turbo, PNG, PNM, BMP, TIFF and WebP with Rust decoders; the content says which.
pub struct CpuDecode {
    decoder: Decoder,
    warnings: Warnings,
}

impl CpuDecode {
    /// A decoder for one worker, which counts its warnings in `warnings`.
    ///
    /// # Errors
    /// libjpeg-turbo has no memory for it.
    pub fn new(config: DecoderConfig, warnings: Warnings) -> Result<Self, DataError> {
        Ok(Self { decoder: Decoder::with_config(config).map_err(DataError::Decoder)?, warnings })
    }
}

impl Decode for CpuDecode {
    fn decode(&mut self, sample: Fetched) -> Result<Picture, DataError> {
        let Fetched { origin, image } = sample;
        let decoded = match self.decoder.decode(&image) {
            Ok(decoded) => decoded,
            Err(cause) => return Err(DataError::Decode { origin: Box::new(origin), cause }),
        };
        if let Some(warning) = decoded.warning {
            self.warnings.add();
            tracing::warn!(key = %origin.key, shard = %origin.shard, offset = origin.offset, warning, "damaged picture");
        }
        Ok(Picture { origin, image: decoded.image })
    }
}
