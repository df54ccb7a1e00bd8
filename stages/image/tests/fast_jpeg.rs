//! Fast decoding of JPEGs: the sizes it gives, how near its pixels are to the exact ones, and that it refuses and warns
//! as exact decoding does.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod common;

use mugs_image::decode::{DecoderConfig, JpegMode};
use mugs_image::ops::{Filter, resize};
use mugs_image::{DecodeError, Decoded, Decoder, Format, Image, encode};
use mugs_test_support::golden;

fn fast(least_side: usize) -> Decoder {
    let jpeg = JpegMode::Fast { least_side };
    Decoder::with_config(DecoderConfig { jpeg, ..DecoderConfig::default() }).unwrap()
}

/// Every file of the golden set whose name says JPEG.
fn files() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(golden("augment/images")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let jpeg = |name: &str| [".jpg", ".jpeg", ".JPEG"].iter().any(|end| name.ends_with(end));
    let files = paths.into_iter().map(|path| (name(&path), std::fs::read(path).unwrap()));
    files.filter(|(name, _)| jpeg(name)).collect()
}

fn outcome(decoded: Result<Decoded, DecodeError>) -> Result<bool, &'static str> {
    decoded.map(|decoded| decoded.warning.is_some()).map_err(|error| error.kind())
}

#[test]
fn refuses_and_warns_as_exact_decoding_does() {
    let mut exact = Decoder::new().unwrap();
    let files = files();
    assert!(files.len() > 30, "{}", files.len());
    for (name, data) in files {
        let expected = outcome(exact.decode(&data));
        for least_side in [1, 16, 64] {
            assert_eq!(outcome(fast(least_side).decode(&data)), expected, "{name}, {least_side}");
        }
    }
}

#[test]
fn sides_are_divided_and_rounded_up_and_small_pictures_are_exact() {
    let (mut exact, mut halves) = (Decoder::new().unwrap(), fast(64));
    for (name, data) in files() {
        let Ok(Decoded { image, format: Format::Jpeg, .. }) = exact.decode(&data) else { continue };
        let (shorter, reduced) = (image.width.min(image.height), halves.decode(&data).unwrap().image);
        let by = [4, 2, 1].into_iter().find(|by| shorter.div_ceil(*by) >= 64).unwrap_or(1);
        assert_eq!((reduced.width, reduced.height), (image.width.div_ceil(by), image.height.div_ceil(by)), "{name}");
        if by == 1 {
            assert_eq!(reduced.pixels, image.pixels, "{name}");
        }
        // Other pixels than a filter gives (these pictures are full of noise), yet the same picture.
        if by > 1 {
            let (mean, most) = difference(&reduced, &resize(&image, reduced.width, reduced.height, Filter::Bicubic));
            assert!(mean < 10.0 && most < 128, "{name} at 1/{by}: {mean} on average, {most} at most");
        }
    }
}

#[test]
fn a_flat_picture_stays_as_it_is() {
    let file = encode::jpeg(&Image::filled(800, 401, [90, 120, 200]), 90).unwrap();
    let colour = Decoder::new().unwrap().decode(&file).unwrap().image.pixel(9, 9);
    for (least_side, width, height) in [(202, 800, 401), (201, 400, 201), (101, 200, 101), (51, 100, 51)] {
        let image = fast(least_side).decode(&file).unwrap().image;
        assert_eq!(image, Image::filled(width, height, colour), "{least_side}");
    }
}

#[test]
fn the_limit_is_that_of_the_file_whatever_comes_out() {
    let file = encode::jpeg(&Image::filled(80, 40, [1, 2, 3]), 90).unwrap();
    let config = DecoderConfig { pixel_limit: 80 * 40 - 1, jpeg: JpegMode::Fast { least_side: 5 } };
    let error = Decoder::with_config(config).unwrap().decode(&file).unwrap_err();
    assert_eq!(error.kind(), "too_large");
}

/// The mean and the largest difference of two pictures' bytes.
fn difference(one: &Image, other: &Image) -> (f64, u8) {
    let each = one.pixels.iter().zip(&other.pixels).map(|(a, b)| a.abs_diff(*b));
    (each.clone().map(f64::from).sum::<f64>() / one.pixels.len() as f64, each.max().unwrap())
}
