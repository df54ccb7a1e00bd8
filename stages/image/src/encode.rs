//! Pictures to files, for demos, contact sheets and tests.

use image::ImageEncoder as _;
use image::codecs::png::PngEncoder;

use crate::Image;

/// A picture could not be written as a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode a {width}x{height} picture as {format}: {detail}")]
pub struct EncodeError {
    format: &'static str,
    width: usize,
    height: usize,
    detail: String,
}

impl EncodeError {
    fn new(format: &'static str, image: &Image, detail: impl std::fmt::Display) -> Self {
        Self { format, width: image.width, height: image.height, detail: detail.to_string() }
    }
}

/// Encodes as a baseline JPEG with 4:2:0 chroma, as most photographs are stored. `quality` is 1 to 100.
///
/// # Errors
/// A quality out of range, or a side of more than 65500 pixels.
pub fn jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, EncodeError> {
    let view = turbojpeg::Image {
        pixels: image.pixels.as_slice(),
        width: image.width,
        pitch: image.width * crate::image::CHANNELS,
        height: image.height,
        format: turbojpeg::PixelFormat::RGB,
    };
    turbojpeg::compress(view, i32::from(quality), turbojpeg::Subsamp::Sub2x2)
        .map(|file| file.to_vec())
        .map_err(|error| EncodeError::new("jpeg", image, error))
}

/// Encodes as an 8-bit RGB PNG, without loss.
///
/// # Errors
/// A side of more than 2^31 - 1 pixels.
pub fn png(image: &Image) -> Result<Vec<u8>, EncodeError> {
    let side = |side: usize| u32::try_from(side).map_err(|error| EncodeError::new("png", image, error));
    let (width, height) = (side(image.width)?, side(image.height)?);
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(&image.pixels, width, height, image::ExtendedColorType::Rgb8)
        .map_err(|error| EncodeError::new("png", image, error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Format};

    #[test]
    fn jpeg_comes_back_nearly_and_png_exactly() {
        let image = Image::filled(40, 24, [210, 90, 30]);
        let mut decoder = Decoder::new().unwrap();
        let decoded = decoder.decode(&jpeg(&image, 90).unwrap()).unwrap();
        assert_eq!((decoded.format, decoded.image.width, decoded.image.height), (Format::Jpeg, 40, 24));
        for (a, b) in decoded.image.pixels.iter().zip(&image.pixels) {
            assert!(a.abs_diff(*b) <= 3);
        }
        assert_eq!(decoder.decode(&png(&image).unwrap()).unwrap().image, image);
    }

    #[test]
    fn a_quality_out_of_range_is_an_error() {
        let message = jpeg(&Image::filled(2, 2, [0; 3]), 101).unwrap_err().to_string();
        assert!(message.starts_with("cannot encode a 2x2 picture as jpeg"), "{message}");
    }
}
