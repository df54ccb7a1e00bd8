//! Crops side by side in one picture.

use mugs_image::Image;
use mugs_image::ops::tensor::{MEAN, STD};

/// Pixels between crops, and of a crop's frame.
const GAP: usize = 6;
const FRAME: usize = 2;

/// Crops whose largest is smaller are magnified by a whole number, so that a person sees each of their pixels.
const LEGIBLE: usize = 96;

/// Frame of what is no large crop: gray.
pub const PICTURE: [u8; 3] = [120, 120, 120];
/// Frame of the teacher's crops: blue.
pub const TEACHER: [u8; 3] = [40, 90, 220];
/// Frame of the student's weak crops: green.
pub const WEAK: [u8; 3] = [30, 160, 60];
/// Frame of the student's strong crops: orange.
pub const STRONG: [u8; 3] = [240, 130, 20];

/// A crop in its frame.
pub struct Framed {
    /// The crop.
    pub image: Image,
    /// Its frame's colour.
    pub colour: [u8; 3],
}

/// Rows of crops on white; crops of one row are as high as the row's first, smaller ones are stacked two high.
pub struct ContactSheet {
    rows: Vec<Vec<Framed>>,
}

impl ContactSheet {
    /// An empty sheet.
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, crops: Vec<Framed>) {
        self.rows.push(crops);
    }

    /// The finished picture.
    pub fn draw(mut self) -> Image {
        let largest = self.rows.iter().flatten().map(|crop| crop.image.height).max().unwrap_or(LEGIBLE);
        let times = LEGIBLE.div_ceil(largest.max(1));
        for crop in self.rows.iter_mut().flatten().filter(|_| times > 1) {
            crop.image = magnified(&crop.image, times);
        }
        let places: Vec<Vec<(usize, usize)>> = self.rows.iter().map(|row| places(row)).collect();
        let extent = |row: &[Framed], places: &[(usize, usize)], side: fn(&Framed, &(usize, usize)) -> usize| {
            row.iter().zip(places).map(|(crop, place)| side(crop, place)).max().unwrap_or(0) + GAP
        };
        let heights: Vec<usize> =
            self.rows.iter().zip(&places).map(|(row, p)| extent(row, p, |c, p| p.1 + c.image.height)).collect();
        let width = self.rows.iter().zip(&places).map(|(row, p)| extent(row, p, |c, p| p.0 + c.image.width)).max();
        let mut sheet = Image::filled(width.unwrap_or(GAP) + GAP, heights.iter().sum::<usize>() + GAP, [255; 3]);
        let mut top = GAP;
        for ((row, places), height) in self.rows.iter().zip(&places).zip(&heights) {
            for (crop, &(x, y)) in row.iter().zip(places) {
                paste(&mut sheet, crop, GAP + x, top + y);
            }
            top += height;
        }
        sheet
    }
}

/// Every pixel as a square of `times` by `times`.
fn magnified(image: &Image, times: usize) -> Image {
    let mut large = Image::filled(image.width * times, image.height * times, [0; 3]);
    let row = large.width;
    for (number, pixel) in large.pixels.chunks_exact_mut(3).enumerate() {
        let at = (number / row / times * image.width + number % row / times) * 3;
        pixel.copy_from_slice(&image.pixels[at..at + 3]);
    }
    large
}

/// Where the crops of a row go, left and top in its own pixels.
fn places(row: &[Framed]) -> Vec<(usize, usize)> {
    let height = row.first().map_or(0, |first| first.image.height);
    let (mut x, mut y, mut column) = (0, 0, 0);
    row.iter()
        .map(|crop| {
            let size = &crop.image;
            if y > 0 && y + size.height > height {
                (x, y, column) = (x + column + GAP, 0, 0);
            }
            let place = (x, y);
            column = column.max(size.width);
            y += size.height + GAP;
            place
        })
        .collect()
}

fn paste(sheet: &mut Image, crop: &Framed, left: usize, top: usize) {
    let Image { width, height, pixels } = &crop.image;
    for y in 0..*height {
        let line = &pixels[y * width * 3..(y + 1) * width * 3];
        let at = ((top + y) * sheet.width + left) * 3;
        sheet.pixels[at..at + width * 3].copy_from_slice(line);
        for x in 0..*width {
            let edge = x.min(width - 1 - x).min(y).min(height - 1 - y);
            if edge < FRAME {
                sheet.pixels[at + 3 * x..at + 3 * x + 3].copy_from_slice(&crop.colour);
            }
        }
    }
}

/// A crop's floats, `[3, size, size]` normalised, as a picture.
pub fn denormalised(values: &[f32], size: usize) -> Image {
    let area = size * size;
    let mut image = Image::filled(size, size, [0; 3]);
    for (pixel, rgb) in image.pixels.chunks_exact_mut(3).enumerate() {
        for (channel, byte) in rgb.iter_mut().enumerate() {
            let value = values[channel * area + pixel] * STD[channel] + MEAN[channel];
            *byte = (value * 255.0).round().clamp(0.0, 255.0) as u8;
        }
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(side: usize) -> Framed {
        Framed { image: Image::filled(side, side, [9; 3]), colour: [1, 2, 3] }
    }

    #[test]
    fn small_crops_are_stacked_beside_large_ones() {
        let row = [framed(40), framed(40), framed(16), framed(16), framed(16)];
        assert_eq!(places(&row), [(0, 0), (46, 0), (92, 0), (92, 22), (114, 0)]);
    }

    #[test]
    fn a_sheet_holds_every_crop_in_its_frame() {
        let mut sheet = ContactSheet::new();
        sheet.row(vec![framed(100)]);
        sheet.row(vec![framed(100), framed(100)]);
        let image = sheet.draw();
        assert_eq!((image.width, image.height), (2 * 100 + 3 * 6, 2 * 106 + 6));
        let count = |colour: [u8; 3]| image.pixels.chunks_exact(3).filter(|pixel| **pixel == colour).count();
        assert_eq!((count([1, 2, 3]), count([9; 3])), (3 * (100 * 100 - 96 * 96), 3 * 96 * 96));
    }

    #[test]
    fn small_crops_are_magnified_by_a_whole_number() {
        let mut sheet = ContactSheet::new();
        sheet.row(vec![framed(32), framed(16)]);
        let image = sheet.draw();
        assert_eq!((image.width, image.height), (3 * (32 + 16) + 3 * 6, 3 * 32 + 2 * 6));
        let image = Image { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        let large = magnified(&image, 2);
        assert_eq!((large.width, large.height), (4, 2));
        assert_eq!(large.pixels, [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6].repeat(2));
    }
}
