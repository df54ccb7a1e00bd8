//! The picture all operators work on.

/// Channels of every picture in this crate: red, green, blue.
pub(crate) const CHANNELS: usize = 3;

/// A picture in memory: `height` rows of `width` pixels, each three bytes R, G, B; the first row is the top one.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// `height * width * 3` bytes, row by row, R G B interleaved.
    pub pixels: Vec<u8>,
}

/// The pixels handed in do not make a picture of the size named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes do not make a picture of {width}x{height} RGB pixels (sides are at least 1, 3 bytes a pixel)")]
pub struct ShapeError {
    /// The width named.
    pub width: usize,
    /// The height named.
    pub height: usize,
    /// The number of bytes given.
    pub bytes: usize,
}

impl Image {
    /// Makes a picture of interleaved RGB bytes.
    ///
    /// # Errors
    /// [`ShapeError`] if a side is 0 or the number of bytes is not `width * height * 3`.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, ShapeError> {
        let wanted = width.checked_mul(height).and_then(|area| area.checked_mul(CHANNELS));
        if width == 0 || height == 0 || wanted != Some(pixels.len()) {
            return Err(ShapeError { width, height, bytes: pixels.len() });
        }
        Ok(Self { width, height, pixels })
    }

    /// A picture of one colour. A side of 0 counts as 1.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, pixels: colour.repeat(width * height) }
    }

    /// A black picture to be written by an operator; `width` and `height` come from a valid picture or request.
    pub(crate) fn black(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![0; width * height * CHANNELS] }
    }

    /// The same bytes channel by channel, `[3, height, width]`.
    pub fn planes(&self) -> Vec<u8> {
        let channel = |channel: usize| self.pixels.iter().skip(channel).step_by(CHANNELS).copied();
        (0..CHANNELS).flat_map(channel).collect()
    }

    /// The bytes of one row, `width * 3` long.
    pub fn row(&self, y: usize) -> &[u8] {
        let stride = self.width * CHANNELS;
        &self.pixels[y * stride..(y + 1) * stride]
    }

    /// The bytes of one row, to be written.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        let stride = self.width * CHANNELS;
        &mut self.pixels[y * stride..(y + 1) * stride]
    }

    /// The colour at column `x` and row `y`.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * CHANNELS;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// All pixels, row by row.
    pub(crate) fn colours(&self) -> &[[u8; 3]] {
        self.pixels.as_chunks::<CHANNELS>().0
    }

    /// All pixels, row by row, to be written.
    pub(crate) fn colours_mut(&mut self) -> &mut [[u8; 3]] {
        self.pixels.as_chunks_mut::<CHANNELS>().0
    }

    /// Size in bytes, for meters and memory limits.
    pub fn bytes(&self) -> usize {
        self.pixels.len()
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_pixels_that_do_not_fit() {
        assert!(Image::new(2, 3, vec![0; 18]).is_ok());
        assert!(Image::new(2, 3, vec![0; 17]).is_err());
        assert!(Image::new(0, 3, vec![]).is_err());
        assert!(Image::new(usize::MAX, 3, vec![0; 9]).is_err());
    }

    #[test]
    fn rows_and_pixels_agree() {
        let image = Image::new(2, 2, (0..12).collect()).unwrap();
        assert_eq!(image.row(1), &[6, 7, 8, 9, 10, 11]);
        assert_eq!(image.pixel(1, 1), [9, 10, 11]);
        assert_eq!(image.colours()[3], [9, 10, 11]);
        assert_eq!(image.planes(), [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
    }
}
