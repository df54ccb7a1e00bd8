//! Files to RGB pictures, as the published pipeline sees them.
//!
//! The format is found from the content. Orientation, profiles, gamma and resolution are ignored, and alpha is
//! dropped: the colour stored under transparent pixels comes out. Damaged JPEG data that libjpeg only warns about are
//! delivered with the warning; data that end early are an error, even if only the end marker is missing.

mod jpeg;
mod markers;
mod mode;
mod pnm;
mod raster;

pub use self::mode::JpegMode;
use crate::{Format, Image, sniff};

/// Pictures of more pixels are refused: the limit at which Pillow stops with its decompression-bomb error.
pub const DEFAULT_PIXEL_LIMIT: u64 = 178_956_970;

/// No codec's buffer of so many pixels overflows a length.
const ADDRESSABLE_PIXELS: u64 = (isize::MAX / 16) as u64;

/// Why a file did not become a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No known signature, an empty file, or a TIFF whose directory cannot be read.
    #[error("not a picture: {detail}")]
    Unidentified {
        /// What is wrong with it.
        detail: String,
    },
    /// The pixel data end before the picture does.
    #[error("truncated {format}: {detail}")]
    Truncated {
        /// The format of the file.
        format: Format,
        /// The codec's words.
        detail: String,
    },
    /// The header is cut or the codec refuses.
    #[error("cannot decode this {format}: {detail}")]
    Decode {
        /// The format of the file.
        format: Format,
        /// The codec's words.
        detail: String,
    },
    /// The header announces more pixels than allowed. Nothing was allocated.
    #[error(
        "{format} of {width}x{height} pixels is larger than the limit of {limit} pixels; raise the limit to read it"
    )]
    TooLarge {
        /// The format of the file.
        format: Format,
        /// Columns by the header.
        width: usize,
        /// Rows by the header.
        height: usize,
        /// The most pixels allowed.
        limit: u64,
    },
}

impl DecodeError {
    /// The kind in one word, for counters: `unidentified`, `truncated`, `decode` or `too_large`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unidentified { .. } => "unidentified",
            Self::Truncated { .. } => "truncated",
            Self::Decode { .. } => "decode",
            Self::TooLarge { .. } => "too_large",
        }
    }

    fn unidentified(detail: impl std::fmt::Display) -> Self {
        Self::Unidentified { detail: detail.to_string() }
    }

    fn truncated(format: Format, detail: impl std::fmt::Display) -> Self {
        Self::Truncated { format, detail: detail.to_string() }
    }

    fn decode(format: Format, detail: impl std::fmt::Display) -> Self {
        Self::Decode { format, detail: detail.to_string() }
    }
}

/// What a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The format by content.
    pub format: Format,
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
}

impl Header {
    /// Fails if the picture has more than `limit` pixels.
    fn check(self, limit: u64) -> Result<Self, DecodeError> {
        let Self { format, width, height } = self;
        if (width as u64).saturating_mul(height as u64) > limit {
            return Err(DecodeError::TooLarge { format, width, height, limit });
        }
        Ok(self)
    }
}

/// A decoded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The picture; of a JPEG, in [fast](JpegMode::Fast) mode, perhaps smaller than its header says.
    pub image: Image,
    /// The format by content.
    pub format: Format,
    /// libjpeg's first warning, if the data are damaged but a picture came out.
    pub warning: Option<String>,
}

/// Reads a file's format and size without decoding its pixels.
///
/// # Errors
/// [`DecodeError::Unidentified`] or [`DecodeError::Decode`]; no size is too large here.
pub fn header(data: &[u8]) -> Result<Header, DecodeError> {
    let format = identify(data)?;
    match format {
        Format::Jpeg => jpeg::header(data),
        Format::Pnm => pnm::header(data),
        _ => raster::header(format, data),
    }
}

fn identify(data: &[u8]) -> Result<Format, DecodeError> {
    sniff(data).ok_or_else(|| match data.len() {
        0 => DecodeError::unidentified("the file is empty"),
        bytes => DecodeError::unidentified(format!("no known signature ({bytes} bytes)")),
    })
}

/// What a [`Decoder`] may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderConfig {
    /// Pictures whose header says more pixels are refused, before memory is allocated for them. Default
    /// [`DEFAULT_PIXEL_LIMIT`].
    ///
    /// It bounds the memory of a decoder, beside the file itself: 3 bytes a pixel for a sequential JPEG, 6 for a
    /// progressive one with 4:2:0 chroma, at most 16 for any picture (a 16-bit TIFF with alpha). The picture itself,
    /// which is left when it is done, has 3.
    pub pixel_limit: u64,
    /// How JPEGs are decoded. Default exactly.
    pub jpeg: JpegMode,
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self { pixel_limit: DEFAULT_PIXEL_LIMIT, jpeg: JpegMode::Exact }
    }
}

/// Decodes files one after another; each worker owns one. No file leaves a trace in the next one's picture.
#[derive(Debug)]
pub struct Decoder {
    limit: u64,
    jpeg: JpegMode,
}

impl Decoder {
    /// An exact decoder with the limit of [`DEFAULT_PIXEL_LIMIT`] pixels.
    ///
    /// # Errors
    /// If libjpeg-turbo cannot allocate its working memory.
    pub fn new() -> Result<Self, DecodeError> {
        Self::with_pixel_limit(DEFAULT_PIXEL_LIMIT)
    }

    /// An exact decoder that refuses pictures of more than `limit` pixels (or of more than memory can address).
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn with_pixel_limit(limit: u64) -> Result<Self, DecodeError> {
        Self::with_config(DecoderConfig { pixel_limit: limit, ..DecoderConfig::default() })
    }

    /// A decoder with these limits and modes.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn with_config(config: DecoderConfig) -> Result<Self, DecodeError> {
        jpeg::probe()?;
        Ok(Self { limit: config.pixel_limit.min(ADDRESSABLE_PIXELS), jpeg: config.jpeg })
    }

    /// Decodes a file to RGB.
    ///
    /// # Errors
    /// See [`DecodeError`]. The decoder stays usable after an error.
    pub fn decode(&mut self, data: &[u8]) -> Result<Decoded, DecodeError> {
        let format = identify(data)?;
        let (image, warning) = match format {
            Format::Jpeg => jpeg::decode(data, self.limit, self.jpeg)?,
            Format::Pnm => (pnm::decode(data, self.limit)?, None),
            _ => (raster::decode(format, data, self.limit)?, None),
        };
        Ok(Decoded { image, format, warning })
    }
}
