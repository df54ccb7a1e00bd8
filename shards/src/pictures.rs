//! What packing asks about pictures, answered by `mugs-image`.

use mugs_image::ops::{Filter, resize};
use mugs_image::{DEFAULT_PIXEL_LIMIT, DecodeError, Decoder, encode, header};
use serde::{Deserialize, Serialize};

/// Looks at a picture before it is packed. Called by several threads at once.
pub trait Pictures: Sync {
    /// Says what the picture is, gives another one to pack in its place, or says what is wrong with it.
    ///
    /// # Errors
    /// The bytes are no picture that should be packed.
    fn examine(&self, bytes: &[u8]) -> Result<Examined, BadPicture>;
}

/// A picture that can be packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// Columns and rows of what is packed, if they are known.
    pub size: Option<(u32, u32)>,
    /// A JPEG to pack in place of the picture.
    pub replacement: Option<Vec<u8>>,
}

/// A picture that is no good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPicture {
    /// One word for counting: `empty`, `not_an_image`, `truncated`, `damaged` or `too_large`.
    pub kind: &'static str,
    /// What is wrong, the end of a sentence: `it is not JPEG, PNG, …`.
    pub what: String,
}

/// How closely pictures are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum CheckLevel {
    /// The header is read: format, size and the pixel limit.
    #[default]
    Header,
    /// Every pixel is decoded.
    Decode,
    /// Nothing is looked at.
    None,
}

/// The checks and the re-encoding that `mugs-shard pack` offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PictureCheck {
    /// How closely pictures are looked at.
    pub check: CheckLevel,
    /// The most pixels of a picture. Default 178956970, where Pillow stops too.
    pub pixel_limit: u64,
    /// Pictures whose longer side has more pixels are made smaller, to this longer side, and encoded anew as JPEG.
    /// Default none: every picture is packed as it is.
    pub max_side: Option<u32>,
    /// The JPEG quality of pictures that are encoded anew, 1 to 100. Default 90.
    pub quality: u8,
}

impl Default for PictureCheck {
    fn default() -> Self {
        Self { check: CheckLevel::Header, pixel_limit: DEFAULT_PIXEL_LIMIT, max_side: None, quality: 90 }
    }
}

impl PictureCheck {
    /// The configuration as text, for [`PackConfig::pictures`](crate::PackConfig::pictures).
    ///
    /// # Errors
    /// None in practice: the fields are plain values.
    pub fn describe(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    fn bad(error: &DecodeError) -> BadPicture {
        let kind = match error {
            DecodeError::Unidentified { .. } => "not_an_image",
            DecodeError::Truncated { .. } => "truncated",
            DecodeError::TooLarge { .. } => "too_large",
            _ => "damaged",
        };
        BadPicture { kind, what: error.to_string() }
    }

    /// The picture made smaller, if it is larger than asked for.
    fn smaller(&self, bytes: &[u8], limit: u32) -> Result<Examined, BadPicture> {
        let mut decoder = Decoder::with_pixel_limit(self.pixel_limit).map_err(|error| Self::bad(&error))?;
        let image = decoder.decode(bytes).map_err(|error| Self::bad(&error))?.image;
        let (width, height) = shrunk(image.width, image.height, limit as usize);
        let small = resize(&image, width, height, Filter::Bicubic);
        let file = encode::jpeg(&small, self.quality);
        let file = file.map_err(|error| BadPicture { kind: "damaged", what: error.to_string() })?;
        Ok(Examined { size: Some((width as u32, height as u32)), replacement: Some(file) })
    }
}

impl Pictures for PictureCheck {
    fn examine(&self, bytes: &[u8]) -> Result<Examined, BadPicture> {
        if self.check == CheckLevel::None {
            let size = header(bytes).ok().map(|header| (header.width as u32, header.height as u32));
            return match (self.max_side, size) {
                (Some(limit), Some((width, height))) if width.max(height) > limit => self.smaller(bytes, limit),
                _ => Ok(Examined { size, replacement: None }),
            };
        }
        if bytes.is_empty() {
            return Err(BadPicture { kind: "empty", what: "it is empty".into() });
        }
        let header = header(bytes).map_err(|error| Self::bad(&error))?;
        let size = (header.width as u32, header.height as u32);
        if (header.width as u64).saturating_mul(header.height as u64) > self.pixel_limit {
            let what = format!("its {}x{} pixels are more than the limit of {}", size.0, size.1, self.pixel_limit);
            return Err(BadPicture { kind: "too_large", what });
        }
        match self.max_side {
            Some(limit) if size.0.max(size.1) > limit => return self.smaller(bytes, limit),
            _ => {}
        }
        if self.check == CheckLevel::Decode {
            let mut decoder = Decoder::with_pixel_limit(self.pixel_limit).map_err(|error| Self::bad(&error))?;
            decoder.decode(bytes).map_err(|error| Self::bad(&error))?;
        }
        Ok(Examined { size: Some(size), replacement: None })
    }
}

/// Columns and rows with the longer side `limit` and nearly the same aspect ratio, at least 1.
fn shrunk(width: usize, height: usize, limit: usize) -> (usize, usize) {
    let other = |side: usize, longer: usize| ((side * limit + longer / 2) / longer).max(1);
    if width >= height { (limit, other(height, width)) } else { (other(width, height), limit) }
}

#[cfg(test)]
mod tests {
    use mugs_image::Image;

    use super::*;

    fn jpeg(width: usize, height: usize) -> Vec<u8> {
        let mut image = Image::filled(width, height, [200, 60, 40]);
        // Enough to see that most of the file is pixels.
        image.pixels.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= (at * at % 251) as u8);
        encode::jpeg(&image, 90).unwrap()
    }

    fn kind(check: &PictureCheck, bytes: &[u8]) -> &'static str {
        check.examine(bytes).map_or_else(|bad| bad.kind, |_| "good")
    }

    #[test]
    fn each_level_finds_what_it_promises() {
        let good = jpeg(64, 48);
        let cut = &good[..good.len() * 3 / 4];
        let of = |check| PictureCheck { check, pixel_limit: 64 * 48, ..PictureCheck::default() };
        let kinds = |check| {
            let check = of(check);
            [&good[..], cut, b"", b"<html>", &jpeg(65, 48), &good[..30]].map(|bytes| kind(&check, bytes))
        };
        assert_eq!(kinds(CheckLevel::Header), ["good", "good", "empty", "not_an_image", "too_large", "damaged"]);
        assert_eq!(kinds(CheckLevel::Decode), ["good", "truncated", "empty", "not_an_image", "too_large", "damaged"]);
        assert_eq!(kinds(CheckLevel::None), ["good"; 6]);
        assert_eq!(of(CheckLevel::Header).examine(&good).unwrap().size, Some((64, 48)));
        assert_eq!(of(CheckLevel::None).examine(b"<html>").unwrap().size, None);
    }

    #[test]
    fn large_pictures_are_made_smaller_and_small_ones_left_alone() {
        let check = PictureCheck { max_side: Some(32), ..PictureCheck::default() };
        let small = check.examine(&jpeg(64, 48)).unwrap();
        assert_eq!(small.size, Some((32, 24)));
        let header = header(&small.replacement.unwrap()).unwrap();
        assert_eq!((header.width, header.height), (32, 24));
        assert_eq!(check.examine(&jpeg(20, 32)).unwrap(), Examined { size: Some((20, 32)), replacement: None });
        assert_eq!(
            (shrunk(3000, 1, 100), shrunk(500, 375, 256), shrunk(375, 500, 256)),
            ((100, 1), (256, 192), (192, 256))
        );
    }
}
