//! Every file of the golden set decodes to the reference's bytes, or fails with the reference's kind of error.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod common;

use common::sha256;
use mugs_image::{DecodeError, Decoder, Format, header};
use mugs_test_support::{golden, tally};

#[derive(serde::Deserialize)]
struct Cases {
    images: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    file: String,
    file_sha256: String,
    format: Option<String>,
    width: Option<usize>,
    height: Option<usize>,
    sha256: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warning: bool,
}

/// The reference calls portable anymaps PPM.
fn reference_name(format: Format) -> String {
    if format == Format::Pnm { "PPM".into() } else { format.name().to_uppercase() }
}

#[test]
fn golden_decodes() {
    let text = std::fs::read_to_string(golden("augment/decode.json")).unwrap();
    let cases: Cases = serde_json::from_str(&text).unwrap();
    let mut decoder = Decoder::new().unwrap();
    let mut wrong = Vec::new();
    for case in &cases.images {
        let data = std::fs::read(golden(&format!("augment/images/{}", case.file))).unwrap();
        assert_eq!(sha256(&data), case.file_sha256, "{} itself differs", case.file);
        if let Err(why) = check(case, &data, &mut decoder) {
            wrong.push(format!("{}: {why}", case.file));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.images.len(), wrong.join("\n"));
    tally("decodes", cases.images.len(), "files");
}

fn check(case: &Case, data: &[u8], decoder: &mut Decoder) -> Result<(), String> {
    match (decoder.decode(data), &case.error) {
        (Ok(decoded), None) => {
            let image = &decoded.image;
            assert_eq!((Some(image.width), Some(image.height)), (case.width, case.height), "{}", case.file);
            assert_eq!(Some(reference_name(decoded.format)), case.format, "{}", case.file);
            assert_eq!(decoded.warning.is_some(), case.warning, "{}: {:?}", case.file, decoded.warning);
            let header = header(data).unwrap();
            assert_eq!((header.format, header.width, header.height), (decoded.format, image.width, image.height));
            if Some(sha256(&image.pixels)) == case.sha256 { Ok(()) } else { Err("pixels differ".into()) }
        }
        (Err(error), Some(kind)) if error.kind() == kind => Ok(()),
        (Ok(_), Some(kind)) => Err(format!("decodes, but should be {kind}")),
        (Err(error), wanted) => Err(format!("{} ({error}) instead of {wanted:?}", error.kind())),
    }
}

#[test]
fn the_pixel_limit_is_checked_on_the_header() {
    let mut decoder = Decoder::with_pixel_limit(100).unwrap();
    for (file, format) in [
        ("s_97x64_q75_422.jpg", Format::Jpeg),
        ("p_61x47_rgb.png", Format::Png),
        ("p_61x47.ppm", Format::Pnm),
        ("p_61x47_24.bmp", Format::Bmp),
        ("p_61x47_lzw.tiff", Format::Tiff),
        ("p_61x47_lossless.webp", Format::WebP),
    ] {
        let data = std::fs::read(golden(&format!("augment/images/{file}"))).unwrap();
        let error = decoder.decode(&data).unwrap_err();
        let DecodeError::TooLarge { format: found, width, height, limit } = error else { panic!("{file}: {error}") };
        assert_eq!((found, limit), (format, 100));
        assert!(width * height > 100);
    }
    // A header that announces more than fits into memory is refused before anything is allocated.
    let huge = b"P6\n4000000000 4000000000\n255\n";
    assert_eq!(Decoder::with_pixel_limit(u64::MAX).unwrap().decode(huge).unwrap_err().kind(), "too_large");
}
