//! What kind of file some bytes are, found from their first bytes and never from a name.

/// A file format that [`crate::Decoder`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG: baseline, extended and progressive; gray, YCbCr, RGB, CMYK, YCCK.
    Jpeg,
    /// PNG, all colour types and bit depths, interlaced or not.
    Png,
    /// Portable bitmap, graymap or pixmap, plain or raw (P1 to P6).
    Pnm,
    /// Windows bitmap.
    Bmp,
    /// TIFF: raw, packed, LZW or deflate; gray, RGB, RGBA or CMYK of 8 or 16 bits, bilevel. (Palettes, gray with alpha,
    /// YCbCr and floats are refused.)
    Tiff,
    /// WebP, lossy or lossless.
    WebP,
}

impl Format {
    /// The lower-case name for messages and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Pnm => "pnm",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::WebP => "webp",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Finds the format of a file from its content; none if no signature is known.
///
/// ```
/// use mugs_image::{Format, sniff};
/// assert_eq!(sniff(b"P6\n2 2\n255\n"), Some(Format::Pnm));
/// assert_eq!(sniff(b"not a picture"), None);
/// ```
pub fn sniff(data: &[u8]) -> Option<Format> {
    match data {
        [0xFF, 0xD8, 0xFF, ..] => Some(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Format::Png),
        [b'P', b'1'..=b'6', b' ' | b'\t' | b'\r' | b'\n' | 0x0B | 0x0C, ..] => Some(Format::Pnm),
        [b'B', b'M', ..] => Some(Format::Bmp),
        [b'I', b'I', b'*' | b'+', 0, ..] | [b'M', b'M', 0, b'*' | b'+', ..] => Some(Format::Tiff),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::WebP),
        _ => None,
    }
}
