//! What holds for any picture: operators against their definitions, and a decoder that survives any bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::sync::LazyLock;

use mugs_image::ops::{self, Filter, Rect, Resample};
use mugs_image::{Decoder, Image, encode, header};
use mugs_test_support::golden;
use proptest::prelude::*;

prop_compose! {
    fn picture()(width in 1..24_usize, height in 1..24_usize)
        (pixels in proptest::collection::vec(any::<u8>(), width * height * 3), width in Just(width), height in Just(height))
        -> Image {
        Image::new(width, height, pixels).unwrap()
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic)]
}

fn resample() -> impl Strategy<Value = Resample> {
    prop_oneof![Just(Resample::Bilinear), Just(Resample::Bicubic)]
}

/// What an in-place operator makes of a copy.
fn after(image: &Image, change: impl FnOnce(&mut Image)) -> Image {
    let mut out = image.clone();
    change(&mut out);
    out
}

/// Applies a function to every byte.
fn each(image: &Image, map: impl Fn(u8) -> u8) -> Image {
    Image::new(image.width, image.height, image.pixels.iter().map(|&value| map(value)).collect()).unwrap()
}

proptest! {
    #[test]
    fn resizing_to_the_same_size_is_a_copy(image in picture(), filter in filter()) {
        prop_assert_eq!(&ops::resize(&image, image.width, image.height, filter), &image);
    }

    #[test]
    fn a_resize_stays_between_the_extremes_of_a_bilinear_filter(
        image in picture(), width in 1..40_usize, height in 1..40_usize,
    ) {
        let out = ops::resize(&image, width, height, Filter::Bilinear);
        let range = |image: &Image| (*image.pixels.iter().min().unwrap(), *image.pixels.iter().max().unwrap());
        let ((low, high), (lowest, highest)) = (range(&out), range(&image));
        prop_assert!(low >= lowest && high <= highest);
    }

    #[test]
    fn a_resized_crop_is_a_crop_then_a_resize(
        image in picture(), cut in [0.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1.0], size in 1..40_usize, filter in filter(),
    ) {
        let part = |whole: usize, fraction: f64| (whole as f64 * fraction) as usize;
        let (top, left) = (part(image.height, cut[0]), part(image.width, cut[1]));
        let height = 1 + part(image.height - top - 1, cut[2]);
        let width = 1 + part(image.width - left - 1, cut[3]);
        let cropped = ops::crop(&image, top as isize, left as isize, height, width);
        prop_assert_eq!(
            ops::resized_crop(&image, Rect { top, left, height, width }, size, size, filter),
            ops::resize(&cropped, size, size, filter)
        );
    }

    #[test]
    fn flips_undo_themselves_and_commute(image in picture()) {
        prop_assert_eq!(&after(&after(&image, ops::hflip), ops::hflip), &image);
        prop_assert_eq!(&after(&after(&image, ops::vflip), ops::vflip), &image);
        let both = after(&after(&image, ops::hflip), ops::vflip);
        prop_assert_eq!(&both, &after(&after(&image, ops::vflip), ops::hflip));
        prop_assert_eq!(&both, &ops::rotate(&image, 180.0, Resample::Bilinear));
    }

    #[test]
    fn flips_reverse_rows_and_columns(image in picture(), x in 0..24_usize, y in 0..24_usize) {
        let (x, y) = (x % image.width, y % image.height);
        prop_assert_eq!(after(&image, ops::hflip).pixel(image.width - 1 - x, y), image.pixel(x, y));
        prop_assert_eq!(after(&image, ops::vflip).pixel(x, image.height - 1 - y), image.pixel(x, y));
    }

    #[test]
    fn lookups_equal_their_definitions(image in picture(), number in 0..300_i32) {
        prop_assert_eq!(after(&image, ops::invert), each(&image, |v| !v));
        prop_assert_eq!(
            after(&image, |image| ops::solarize(image, number)),
            each(&image, |v| if i32::from(v) >= number { !v } else { v })
        );
        prop_assert_eq!(
            after(&image, |image| ops::solarize_add(image, number)),
            each(&image, |v| if v < 128 { (i32::from(v) + number).min(255) as u8 } else { v })
        );
        let bits = number as u32 % 10;
        prop_assert_eq!(
            after(&image, |image| ops::posterize(image, bits)),
            each(&image, |v| if bits >= 8 { v } else { (u32::from(v) >> (8 - bits) << (8 - bits)) as u8 })
        );
    }

    #[test]
    fn brightness_equals_its_definition(image in picture(), factor in 0.0..3.0_f64) {
        let definition = |v: u8| (f32::from(v) * factor as f32).clamp(0.0, 255.0) as u8;
        prop_assert_eq!(after(&image, |image| ops::brightness(image, factor)), each(&image, definition));
    }

    #[test]
    fn factor_1_changes_nothing(image in picture()) {
        for operator in [ops::brightness, ops::contrast, ops::saturation, ops::sharpness] {
            prop_assert_eq!(&after(&image, |image| operator(image, 1.0)), &image);
        }
        prop_assert_eq!(&after(&image, |image| ops::gaussian_blur(image, 0.0)), &image);
    }

    #[test]
    fn factor_0_gives_the_degenerate_picture(image in picture()) {
        let black = Image::filled(image.width, image.height, [0; 3]);
        prop_assert_eq!(&after(&image, |image| ops::brightness(image, 0.0)), &black);
        let gray = after(&image, ops::grayscale);
        prop_assert_eq!(&after(&image, |image| ops::saturation(image, 0.0)), &gray);
        prop_assert_eq!(&after(&image, |image| ops::sharpness(image, 0.0)), &ops::smooth(&image));
        let flat = after(&image, |image| ops::contrast(image, 0.0));
        prop_assert_eq!(&flat, &Image::filled(image.width, image.height, flat.pixel(0, 0)));
    }

    #[test]
    fn auto_contrast_reaches_both_ends(image in picture()) {
        let out = after(&image, ops::auto_contrast);
        for channel in 0..3 {
            let values = |image: &Image| image.pixels.iter().skip(channel).step_by(3).copied().collect::<Vec<u8>>();
            let (before, after) = (values(&image), values(&out));
            if before.iter().min() == before.iter().max() {
                prop_assert_eq!(before, after);
            } else {
                prop_assert_eq!(after.iter().min(), Some(&0));
                // The top may miss 255 by the truncation of one rounding error.
                prop_assert!(after.iter().max() >= Some(&254));
            }
        }
    }

    #[test]
    fn an_identity_map_copies(image in picture(), resample in resample()) {
        prop_assert_eq!(&ops::affine(&image, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], resample), &image);
        prop_assert_eq!(&ops::shear_x(&image, 0.0, resample), &image);
        prop_assert_eq!(&ops::rotate(&image, 360.0, resample), &image);
    }

    #[test]
    fn any_map_gives_a_picture(image in picture(), matrix in any::<[f64; 6]>(), resample in resample()) {
        let out = ops::affine(&image, matrix, resample);
        prop_assert_eq!(out.bytes(), image.bytes());
    }

    #[test]
    fn a_blur_keeps_flat_pictures_and_swaps_with_flips(image in picture(), radius in 0.0..9.0_f64) {
        let blurred = |image: &Image| after(image, |image| ops::gaussian_blur(image, radius));
        prop_assert_eq!(blurred(&after(&image, ops::hflip)), after(&blurred(&image), ops::hflip));
        let flat = Image::filled(image.width, image.height, image.pixel(0, 0));
        prop_assert_eq!(&blurred(&flat), &flat);
    }

    #[test]
    fn png_comes_back_exactly(image in picture()) {
        prop_assert_eq!(Decoder::new().unwrap().decode(&encode::png(&image).unwrap()).unwrap().image, image);
    }

    #[test]
    fn random_bytes_are_an_error_or_a_picture(start in 0..8_usize, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let signatures: [&[u8]; 8] =
            [b"", b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1A\n", b"P6 ", b"P2 ", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBPVP8 "];
        survives(&mut small_decoder(), &[signatures[start], &bytes].concat());
    }
}

/// Damaged headers may announce anything; the limit keeps these tests quick.
fn small_decoder() -> Decoder {
    Decoder::with_pixel_limit(1 << 20).unwrap()
}

/// Decoding gives a whole picture or an error, and the header agrees with the picture.
fn survives(decoder: &mut Decoder, data: &[u8]) {
    let size = header(data);
    if let Ok(decoded) = decoder.decode(data) {
        let image = decoded.image;
        assert_eq!(image.pixels.len(), image.width * image.height * 3);
        assert_eq!(size.map(|size| (size.width, size.height)), Ok((image.width, image.height)));
    }
}

/// The smaller golden files, one of each kind.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut paths: Vec<_> =
        std::fs::read_dir(golden("augment/images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).filter(|data| (1..12_000).contains(&data.len())).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn damaged_files_are_an_error_or_a_picture(
        file in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in prop_oneof![Just(1.0), 0.0..1.0],
    ) {
        let mut data = file.get(&FILES).clone();
        data.truncate((data.len() as f64 * keep) as usize);
        for (place, value) in damage {
            if !data.is_empty() {
                let at = place.index(data.len());
                data[at] = value;
            }
        }
        survives(&mut small_decoder(), &data);
    }
}
