//! Turning: rows become columns. And from interleaved colours to planes and back.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::{Bytes, Planes, TILE, View, Window};
use crate::Image;
use crate::image::CHANNELS;

/// 16 rows of 16 bytes.
type Tile = [[u8; TILE]; TILE];

/// Swaps rows and columns of a tile: four rounds in which rows that are 8, 4, 2 and 1 apart exchange halves, quarters,
/// pairs and bytes; each round interleaves row i with row i + 8.
#[inline(always)]
fn turn(tile: &Tile) -> Tile {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m128i, _mm_unpackhi_epi8, _mm_unpacklo_epi8};
        // SAFETY: every x86-64 processor has these instructions; both types are 256 bytes of which any value is valid.
        unsafe {
            let mut rows: [__m128i; TILE] = std::mem::transmute(*tile);
            for _ in 0..4 {
                let mut next = rows;
                for i in 0..TILE / 2 {
                    next[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + 8]);
                    next[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 8]);
                }
                rows = next;
            }
            std::mem::transmute(rows)
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::array::from_fn(|row| std::array::from_fn(|column| tile[column][row]))
}

/// Puts a window of a picture into `out`, turned.
pub fn turned(view: &View<'_>, window: &Window, out: &mut Planes) {
    let (rows, columns) = (window.rows.len(), window.columns.len());
    out.reshape(columns, rows);
    let stride = out.stride();
    for (channel, target) in out.planes_mut().into_iter().enumerate() {
        for top in (0..rows).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                let tile = read(view, channel, window, top, left);
                let tile = turn(&tile);
                for (row, bytes) in tile.iter().enumerate() {
                    // Columns are padded to whole cache lines, rows to whole tiles: the target's tile is inside.
                    let at = (left + row) * stride + top;
                    target[at..at + TILE].copy_from_slice(bytes);
                }
            }
        }
    }
}

/// A tile of the window; rows behind the window's last repeat it.
#[inline(always)]
fn read(view: &View<'_>, channel: usize, window: &Window, top: usize, left: usize) -> Tile {
    let last = window.rows.end - 1;
    let plane = view.planes.plane(channel);
    let mut tile = [[0; TILE]; TILE];
    for (row, bytes) in tile.iter_mut().enumerate() {
        let at = view.offset((window.rows.start + top + row).min(last), window.columns.start + left);
        match plane[at..].first_chunk() {
            Some(chunk) => *bytes = *chunk,
            // The plane's very last bytes.
            None => bytes[..plane.len() - at].copy_from_slice(&plane[at..]),
        }
    }
    tile
}

/// Puts a picture of interleaved colours into planes whose rows are its columns.
pub fn columns_of(vectors: Vectors, image: &Image, out: &mut Planes) {
    out.reshape(image.width, image.height);
    let mut band = std::mem::take(&mut out.band);
    vectors.run(ColumnsOf { image, band: &mut band, out });
    out.band = band;
}

struct ColumnsOf<'a> {
    image: &'a Image,
    band: &'a mut Bytes,
    out: &'a mut Planes,
}

impl Kernel for ColumnsOf<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { image, band, out } = self;
        let stride = out.stride();
        let width = image.width.next_multiple_of(TILE);
        band.reserve(CHANNELS * TILE * width);
        let band = band.get_mut();
        for top in (0..image.height).step_by(TILE) {
            // A band of rows is split into channels first: reading row by row is what memory is fastest at.
            for row in 0..TILE {
                let y = (top + row).min(image.height - 1);
                split_row(s, &image.pixels[y * image.width * CHANNELS..], image.width, &mut band[row * width..], width);
            }
            for (channel, target) in out.planes_mut().into_iter().enumerate() {
                let band = &band[channel * TILE * width..][..TILE * width];
                for left in (0..image.width).step_by(TILE) {
                    let mut tile = [[0; TILE]; TILE];
                    for (row, bytes) in tile.iter_mut().enumerate() {
                        bytes.copy_from_slice(&band[row * width + left..][..TILE]);
                    }
                    for (column, bytes) in turn(&tile).iter().enumerate() {
                        let at = (left + column) * stride + top;
                        target[at..at + TILE].copy_from_slice(bytes);
                    }
                }
            }
        }
    }
}

/// Splits a row of colours into a row of each of the band's channels.
#[inline(always)]
fn split_row<S: Simd>(s: S, colours: &[u8], count: usize, band: &mut [u8], width: usize) {
    for left in (0..count).step_by(TILE) {
        let colours = &colours[left * CHANNELS..];
        let split = match colours.first_chunk() {
            Some(colours) => s.split_colours(colours),
            // The picture's very last bytes.
            None => {
                let mut padded = [0; TILE * CHANNELS];
                padded[..colours.len()].copy_from_slice(colours);
                s.split_colours(&padded)
            }
        };
        for (channel, bytes) in split.iter().enumerate() {
            band[channel * TILE * width + left..][..TILE].copy_from_slice(bytes);
        }
    }
}

/// Puts a window into one plane of four bytes a pixel: red, green, blue and nothing.
pub(super) fn quads(view: &View<'_>, window: &Window, out: &mut Vec<u32>) {
    let columns = window.columns.len();
    out.clear();
    out.reserve(window.rows.len() * columns);
    for row in window.rows.clone() {
        let red = &view.from(0, row, window.columns.start)[..columns];
        let green = &view.from(1, row, window.columns.start)[..columns];
        let blue = &view.from(2, row, window.columns.start)[..columns];
        for at in 0..columns {
            out.push(u32::from_le_bytes([red[at], green[at], blue[at], 0]));
        }
    }
}

/// Planes whose rows are a picture's rows (`turned` false) or its columns, as a picture.
pub fn to_image(planes: &Planes, turned: bool) -> Image {
    let (rows, columns) = (planes.rows(), planes.columns());
    let (width, height) = if turned { (rows, columns) } else { (columns, rows) };
    let mut image = Image::black(width, height);
    for channel in 0..CHANNELS {
        for row in 0..rows {
            for (column, &value) in planes.row(channel, row)[..columns].iter().enumerate() {
                let at = if turned { column * width + row } else { row * width + column };
                image.pixels[at * CHANNELS + channel] = value;
            }
        }
    }
    image
}
