//! What the golden tests of this crate share.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::path::PathBuf;

use mugs_image::{Decoder, Image};
use mugs_test_support::{golden, shared};
use sha2::{Digest, Sha256};

/// Lower-case hex SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of little-endian f32.
pub fn sha256_f32(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    sha256(&bytes)
}

/// An input of the golden cases: `data/...` lies in the shared folder, which a public clone lacks (then none).
pub fn input(name: &str) -> Option<Image> {
    let path: PathBuf = match name.starts_with("data/") {
        true => shared(name)?,
        false => golden(&format!("augment/images/{name}")),
    };
    Some(Decoder::new().unwrap().decode(&std::fs::read(path).unwrap()).unwrap().image)
}

/// Sum and sum of squares, added in f64, agree to about 1e-9 (for a message when the hash does not).
pub fn assert_sums(values: &[f32], sum: f64, sum_of_squares: f64, what: &str) {
    let found: f64 = values.iter().map(|&value| f64::from(value)).sum();
    let squares: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    assert!((found - sum).abs() <= 1e-9 * squares, "{what}: sum {found}, not {sum}");
    assert!((squares - sum_of_squares).abs() <= 1e-9 * squares, "{what}: squares {squares}, not {sum_of_squares}");
}
