//! A picture of what the network sees: the crops of a batch's first picture.

use mugs_image::Image;

use crate::contact_sheet::{ContactSheet, Framed, PICTURE, STRONG, TEACHER, WEAK, denormalised};
use crate::render::{Planes, Rendered};

/// The most pictures of a run, so that they stay small beside a checkpoint.
const MOST: usize = 100;

/// Whether an epoch of a run of so many is one with a picture.
pub fn is_due(epoch: usize, epochs: usize) -> bool {
    epoch.is_multiple_of(epochs.div_ceil(MOST).max(1))
}

/// The crops side by side: the teacher's two, the student's large ones, the local ones, which are framed gray, since a
/// batch does not say which of them are strong.
pub fn draw(batch: &Rendered) -> Image {
    let pictures = batch.contents.keys.len().max(1);
    let student = if batch.contents.weak.first() == Some(&true) { WEAK } else { STRONG };
    let large = first_of(&batch.global, pictures).zip([TEACHER, TEACHER, student, student]);
    let local = first_of(&batch.local, pictures).map(|image| (image, PICTURE));
    let mut sheet = ContactSheet::new();
    sheet.row(large.chain(local).map(|(image, colour)| Framed { image, colour }).collect());
    sheet.draw()
}

/// The first picture's crops of one size, of `pictures` pictures crop by crop.
fn first_of(planes: &Planes, pictures: usize) -> impl Iterator<Item = Image> {
    let size = planes.size;
    let crops = planes.values.chunks_exact((3 * size * size).max(1));
    crops.step_by(pictures).map(move |values| denormalised(values, size))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mugs_data::batch::Contents;
    use mugs_data::pool::Pool;

    use super::*;

    /// Crops of one colour each: 0, 0.1, 0.2 ... before normalisation undone.
    fn planes(count: usize, size: usize) -> Planes {
        let mut values = Pool::default().take(count * 3 * size * size);
        for (crop, pixels) in values.chunks_exact_mut(3 * size * size).enumerate() {
            pixels.fill(crop as f32 * 0.1);
        }
        Planes { count, size, values }
    }

    #[test]
    fn the_first_picture_s_crops_are_shown_in_their_frames() {
        let contents = Contents {
            epoch: 0,
            positions: vec![0, 1],
            keys: vec![Arc::from("a"), Arc::from("b")],
            labels: vec![None; 2],
            weak: vec![false, true],
            dropped: Vec::new(),
        };
        let image = draw(&Rendered { contents, global: planes(8, 100), local: planes(4, 40) });
        // Four large crops and one column of two local ones, with gaps of 6.
        assert_eq!((image.width, image.height), (4 * 106 + 46 + 6, 112));
        let pixel = |x: usize, y: usize| image.pixels[(y * image.width + x) * 3..][..3].to_vec();
        assert_eq!(pixel(6, 6), TEACHER);
        assert_eq!(pixel(6 + 2 * 106, 6), STRONG);
        assert_eq!(pixel(6 + 4 * 106, 6), PICTURE);
        // Crop 4 of the batch is s1 of the first picture: 0.4 in red, 0.4 * 0.229 + 0.485 of 255.
        assert_eq!(pixel(6 + 2 * 106 + 50, 56)[0], 147);
    }

    #[test]
    fn a_long_run_has_no_more_than_a_hundred_pictures() {
        for (epochs, pictures) in [(1, 1), (100, 100), (101, 51), (800, 100)] {
            assert_eq!((0..epochs).filter(|epoch| is_due(*epoch, epochs)).count(), pictures, "{epochs}");
        }
    }
}
