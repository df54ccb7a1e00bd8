//! Turning: rows become columns. And from interleaved colours to planes and back.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::{Bytes, Planes, TILE, View, Window};
use crate::Image;
use crate::image::CHANNELS;

/// Rows that are turned at once, into as many columns.
const BAND: usize = 2 * TILE;

/// Puts a window of a picture into `out`, turned.
pub fn turned(vectors: Vectors, view: &View<'_>, window: &Window, out: &mut Planes) {
    out.reshape(window.columns.len(), window.rows.len());
    vectors.run(Turned { view, window, out });
}

struct Turned<'a> {
    view: &'a View<'a>,
    window: &'a Window,
    out: &'a mut Planes,
}

impl Kernel for Turned<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { view, window, out } = self;
        let (rows, columns) = (window.rows.len(), window.columns.len());
        let (stride, stride_out) = (view.stride(), out.stride());
        for (channel, target) in out.planes_mut().into_iter().enumerate() {
            let plane = view.planes.plane(channel);
            for top in (0..rows).step_by(BAND) {
                let whole = top + BAND <= rows;
                for left in (0..columns).step_by(TILE) {
                    // Columns are padded to whole cache lines, rows to whole tiles: the target's tile is inside.
                    let target = &mut target[left * stride_out + top..];
                    let at = view.offset(window.rows.start + top, window.columns.start + left);
                    if whole {
                        s.turn(plane, at, stride, target, stride_out);
                        continue;
                    }
                    let mut tile = [0; BAND * TILE];
                    let there = tile.chunks_exact_mut(TILE).take(rows - top);
                    for (row, bytes) in there.enumerate() {
                        // A vector more than the plane may be read.
                        let at = at.wrapping_add_signed(row as isize * stride);
                        bytes.copy_from_slice(&plane[at..at + TILE]);
                    }
                    s.turn(&tile, 0, TILE as isize, target, stride_out);
                }
            }
        }
    }
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
        band.reserve(CHANNELS * BAND * width);
        let band = band.get_mut();
        for top in (0..image.height).step_by(BAND) {
            // A band of rows is split into channels first: reading row by row is what memory is fastest at.
            for row in 0..BAND.min(image.height - top) {
                let colours = &image.pixels[(top + row) * image.width * CHANNELS..];
                split_row(s, colours, image.width, &mut band[row * width..], width);
            }
            for (channel, target) in out.planes_mut().into_iter().enumerate() {
                let band = &band[channel * BAND * width..][..BAND * width];
                for left in (0..image.width).step_by(TILE) {
                    s.turn(band, left, width as isize, &mut target[left * stride + top..], stride);
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
            band[channel * BAND * width + left..][..TILE].copy_from_slice(bytes);
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
