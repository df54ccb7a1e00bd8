//! PNG, BMP, TIFF and WebP through the `image` crate, folded to 8-bit RGB as Pillow folds them.

use std::io::{Cursor, ErrorKind};

use image::codecs::{bmp::BmpDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder};
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::{DecodeError, Header};
use crate::{Format, Image};

/// Working memory of a codec beyond its picture: palettes, profiles, compressed chunks.
const SPARE_BYTES: u64 = 64 << 20;

/// Bytes of the widest pixel a codec hands over (four 16-bit channels).
const WIDEST_PIXEL: u64 = 8;

pub(super) fn header(format: Format, data: &[u8]) -> Result<Header, DecodeError> {
    with_decoder(format, data, u64::MAX, &mut |decoder| measure(format, &*decoder))
}

pub(super) fn decode(format: Format, data: &[u8], limit: u64) -> Result<Image, DecodeError> {
    with_decoder(format, data, limit, &mut |decoder| {
        let header = measure(format, &*decoder)?.check(limit)?;
        let colour = decoder.color_type();
        let mut bytes = vec![0; decoder.total_bytes() as usize];
        decoder.read_image_boxed(&mut bytes).map_err(|error| body_error(format, &error))?;
        let pixels = to_rgb(bytes, colour, is_gray(format, colour, data))
            .ok_or_else(|| DecodeError::decode(format, format!("pixels of kind {colour:?} are not supported")))?;
        Ok(Image { width: header.width, height: header.height, pixels })
    })
}

type Work<'w, T> = &'w mut dyn FnMut(Box<dyn ImageDecoder + '_>) -> Result<T, DecodeError>;

/// Reads the header with the codec of `format` and hands the codec to `work`.
fn with_decoder<T>(format: Format, data: &[u8], limit: u64, work: Work<'_, T>) -> Result<T, DecodeError> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(limit.saturating_mul(WIDEST_PIXEL).saturating_add(SPARE_BYTES));
    let input = Cursor::new(data);
    let refuse = |error: ImageError| header_error(format, &error);
    match format {
        Format::Png => work(Box::new(PngDecoder::with_limits(input, limits).map_err(refuse)?)),
        Format::Bmp => work(Box::new(BmpDecoder::new(input).map_err(refuse)?)),
        Format::Tiff => {
            let mut decoder = TiffDecoder::new(input).map_err(refuse)?;
            decoder.set_limits(limits).map_err(refuse)?;
            work(Box::new(decoder))
        }
        Format::WebP => work(Box::new(WebPDecoder::new(input).map_err(refuse)?)),
        Format::Jpeg | Format::Pnm => Err(DecodeError::decode(format, "no codec here")),
    }
}

fn measure(format: Format, decoder: &dyn ImageDecoder) -> Result<Header, DecodeError> {
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(DecodeError::decode(format, format!("the header says {width}x{height} pixels")));
    }
    Ok(Header { format, width: width as usize, height: height as usize })
}

/// A TIFF's directory is what identifies it; the other formats have a signature that was found already.
fn header_error(format: Format, error: &ImageError) -> DecodeError {
    match (format, error) {
        (Format::Tiff, ImageError::IoError(_) | ImageError::Decoding(_)) => DecodeError::unidentified(error),
        _ => DecodeError::decode(format, error),
    }
}

fn body_error(format: Format, error: &ImageError) -> DecodeError {
    match error {
        // A cut WebP is refused whole: its codec needs all of the data before it starts.
        ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof && format != Format::WebP => {
            DecodeError::truncated(format, error)
        }
        _ => DecodeError::decode(format, error),
    }
}

/// Whether 16-bit samples are gray values without stored alpha. (A PNG's transparent colour makes the codec report
/// alpha; the file's own colour type is byte 25, in its first chunk.)
fn is_gray(format: Format, colour: ColorType, data: &[u8]) -> bool {
    match colour {
        ColorType::L16 => true,
        ColorType::La16 => format == Format::Png && data.get(25) == Some(&0),
        _ => false,
    }
}

/// Folds samples to RGB: alpha is dropped, gray tripled. 16-bit gray saturates at 255 (so that ordinary pictures come
/// out almost white), other 16-bit samples keep their high byte: Pillow's conversions. None for floats.
fn to_rgb(bytes: Vec<u8>, colour: ColorType, gray: bool) -> Option<Vec<u8>> {
    let sample16 = |v: u16| if gray { v.min(255) as u8 } else { (v >> 8) as u8 };
    let eight = |bytes: Vec<u8>| -> Vec<u8> {
        bytes.as_chunks::<2>().0.iter().map(|pair| sample16(u16::from_ne_bytes(*pair))).collect()
    };
    match colour {
        ColorType::Rgb8 => Some(bytes),
        ColorType::L8 => Some(pick(&bytes, 1)),
        ColorType::La8 => Some(pick(&bytes, 2)),
        ColorType::Rgba8 => Some(pick(&bytes, 4)),
        ColorType::L16 => Some(pick(&eight(bytes), 1)),
        ColorType::La16 => Some(pick(&eight(bytes), 2)),
        ColorType::Rgb16 => Some(eight(bytes)),
        ColorType::Rgba16 => Some(pick(&eight(bytes), 4)),
        _ => None,
    }
}

/// Takes R, G, B of pixels of `channels` bytes; the first byte is gray if there are fewer than three.
fn pick(bytes: &[u8], channels: usize) -> Vec<u8> {
    let [g, b] = if channels < 3 { [0, 0] } else { [1, 2] };
    let mut pixels = Vec::with_capacity(bytes.len() / channels * 3);
    for pixel in bytes.chunks_exact(channels) {
        pixels.extend([pixel[0], pixel[g], pixel[b]]);
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_fold_as_pillow_folds_them() {
        let samples: Vec<u8> = [300u16, 65535, 7, 0].iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(to_rgb(samples.clone(), ColorType::L16, true).unwrap()[..6], [255, 255, 255, 255, 255, 255]);
        assert_eq!(to_rgb(samples.clone(), ColorType::La16, true).unwrap(), [255, 255, 255, 7, 7, 7]);
        assert_eq!(to_rgb(samples.clone(), ColorType::La16, false).unwrap(), [1, 1, 1, 0, 0, 0]);
        assert_eq!(to_rgb(samples, ColorType::Rgba16, false).unwrap(), [1, 255, 0]);
        assert_eq!(to_rgb(vec![0; 12], ColorType::Rgb32F, false), None);
    }
}
