//! Where the vector paths keep pictures: three planes of bytes, their rows padded to whole vectors.

use std::ops::Range;

use crate::image::CHANNELS;

/// Bytes of the widest vector, and of a cache line.
pub(super) const LINE: usize = 64;
/// Rows are counted up to a multiple of this, so that a tile of a transposition never leaves its plane.
pub(super) const TILE: usize = 16;

/// Bytes that begin at a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Bytes that begin at a cache line and grow, but never shrink.
#[derive(Default)]
pub(super) struct Bytes(Vec<Line>);

impl Bytes {
    /// Makes room for `bytes` bytes; what they hold is left open.
    pub(super) fn reserve(&mut self, bytes: usize) {
        let lines = bytes.div_ceil(LINE);
        if lines > self.0.len() {
            self.0.resize(lines, Line([0; LINE]));
        }
    }

    #[inline(always)]
    pub(super) fn get(&self) -> &[u8] {
        let (lines, bytes) = (&self.0[..], self.0.len() * LINE);
        // SAFETY: a `Line` is 64 bytes without padding, and any byte is valid.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), bytes) }
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self) -> &mut [u8] {
        let bytes = self.0.len() * LINE;
        // SAFETY: a `Line` is 64 bytes without padding, and any byte is valid.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), bytes) }
    }
}

/// Three planes of `rows` rows of `columns` bytes each.
///
/// Mostly a picture lies in them turned: a *row* here is then a column of the picture. What is behind the last column
/// of a row, up to the padded width, may be read and written but means nothing.
#[derive(Default)]
pub struct Planes {
    rows: usize,
    columns: usize,
    /// Bytes from row to row: an odd number of cache lines, so that the rows of a column do not share one cache set.
    stride: usize,
    bytes: Bytes,
    /// Scratch for filling them from a picture.
    pub(super) band: Bytes,
}

impl Planes {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a new shape. What the planes hold afterwards is left open.
    pub(super) fn reshape(&mut self, rows: usize, columns: usize) {
        (self.rows, self.columns) = (rows, columns);
        self.stride = (columns.div_ceil(LINE) | 1) * LINE;
        self.bytes.reserve(CHANNELS * self.plane_bytes() + LINE);
    }

    /// Rows of each plane.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of each row that mean something.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    #[inline(always)]
    fn plane_bytes(&self) -> usize {
        self.rows.next_multiple_of(TILE) * self.stride
    }

    /// One plane, padding included, and as much behind it as a vector that begins in it may read.
    #[inline(always)]
    pub(super) fn plane(&self, channel: usize) -> &[u8] {
        let bytes = self.plane_bytes();
        &self.bytes.get()[channel * bytes..(channel + 1) * bytes + LINE]
    }

    /// All planes one after the other, padding included, to be written.
    #[inline(always)]
    pub(super) fn planes_mut(&mut self) -> [&mut [u8]; CHANNELS] {
        let bytes = self.plane_bytes();
        let (red, rest) = self.bytes.get_mut().split_at_mut(bytes);
        let (green, rest) = rest.split_at_mut(bytes);
        [red, green, &mut rest[..bytes]]
    }

    /// One row of a plane, with its padding.
    #[inline(always)]
    pub fn row(&self, channel: usize, row: usize) -> &[u8] {
        let at = channel * self.plane_bytes() + row * self.stride;
        &self.bytes.get()[at..at + self.stride]
    }

    /// One row of a plane, with its padding, to be written.
    #[inline(always)]
    pub(super) fn row_mut(&mut self, channel: usize, row: usize) -> &mut [u8] {
        let at = channel * self.plane_bytes() + row * self.stride;
        let stride = self.stride;
        &mut self.bytes.get_mut()[at..at + stride]
    }

    /// The same row of all planes, with its padding, to be written.
    #[inline(always)]
    pub(super) fn pixels_mut(&mut self, row: usize) -> [&mut [u8]; CHANNELS] {
        let (at, stride) = (row * self.stride, self.stride);
        let [red, green, blue] = self.planes_mut();
        [&mut red[at..at + stride], &mut green[at..at + stride], &mut blue[at..at + stride]]
    }

    /// Makes the second and the third plane what the first is.
    pub fn repeat_first(&mut self) {
        let [first, second, third] = self.planes_mut();
        second.copy_from_slice(first);
        third.copy_from_slice(first);
    }

    /// Copies the planes without their padding, one after the other: `[3, rows, columns]`.
    ///
    /// # Panics
    /// `out` has another size.
    pub fn copy_to(&self, out: &mut [u8]) {
        assert_eq!(out.len(), CHANNELS * self.rows * self.columns, "the planes have another size");
        for (channel, plane) in out.chunks_exact_mut(self.rows * self.columns).enumerate() {
            for (y, row) in plane.chunks_exact_mut(self.columns).enumerate() {
                row.copy_from_slice(&self.row(channel, y)[..self.columns]);
            }
        }
    }
}

/// A window of a picture that need not be there as a whole: `planes` hold the pixels from (`top`, `left`) on of a picture
/// of `rows` rows of `columns` pixels.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) planes: &'a Planes,
    /// The row of the picture that is row 0 of the planes.
    pub(super) top: usize,
    /// The column of the picture that is column 0 of the planes.
    pub(super) left: usize,
    /// Rows of the whole picture.
    pub(super) rows: usize,
    /// Columns of the whole picture.
    pub(super) columns: usize,
    /// Whether the picture's first row is the planes' last (the planes then hold all of its rows).
    pub(super) reversed: bool,
}

impl<'a> View<'a> {
    /// All of a picture.
    pub fn whole(planes: &'a Planes, reversed: bool) -> Self {
        Self { planes, top: 0, left: 0, rows: planes.rows, columns: planes.columns, reversed }
    }

    /// A window of a picture of `rows` rows of `columns` pixels, which the planes hold.
    ///
    /// # Panics
    /// The planes do not have the window's shape.
    pub fn part(planes: &'a Planes, window: &Window, rows: usize, columns: usize) -> Self {
        assert_eq!((planes.rows, planes.columns), (window.rows.len(), window.columns.len()), "another window");
        Self { planes, top: window.rows.start, left: window.columns.start, rows, columns, reversed: false }
    }

    /// Copies a window of the picture.
    pub fn copy(&self, window: &Window, out: &mut Planes) {
        out.reshape(window.rows.len(), window.columns.len());
        for channel in 0..CHANNELS {
            for row in window.rows.clone() {
                let from = &self.from(channel, row, window.columns.start)[..window.columns.len()];
                out.row_mut(channel, row - window.rows.start)[..from.len()].copy_from_slice(from);
            }
        }
    }

    /// Where row `row` of the picture begins in a plane, at column `column` of the picture.
    #[inline(always)]
    pub(super) fn offset(&self, row: usize, column: usize) -> usize {
        let row = if self.reversed { self.planes.rows - 1 - row } else { row - self.top };
        row * self.planes.stride + (column - self.left)
    }

    /// Bytes from a row to the next.
    #[inline(always)]
    pub(super) fn stride(&self) -> isize {
        let stride = self.planes.stride as isize;
        if self.reversed { -stride } else { stride }
    }

    /// A plane's bytes from a row and column of the picture on.
    #[inline(always)]
    pub(super) fn from(&self, channel: usize, row: usize, column: usize) -> &'a [u8] {
        &self.planes.plane(channel)[self.offset(row, column)..]
    }
}

/// A rectangle of rows and columns, as the planes have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// First row and the one behind the last.
    pub rows: Range<usize>,
    /// First column and the one behind the last.
    pub columns: Range<usize>,
}

impl Window {
    /// All of a picture.
    pub fn whole(rows: usize, columns: usize) -> Self {
        Self { rows: 0..rows, columns: 0..columns }
    }
}
