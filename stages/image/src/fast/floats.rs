//! Bytes to normalised floats.

use mugs_simd::{Kernel, Simd, Vectors};

/// Turns bytes of one channel into `(v / 255 - mean) / std`, each step rounded to f32 as by true divisions.
///
/// Divisions by constants are products with the inverse and one fused correction, which gives the rounded quotient. On
/// creation this is tried for all 256 bytes.
#[derive(Debug, Clone, Copy)]
pub struct ToFloats {
    mean: f32,
    std: f32,
    inverse: f32,
}

impl ToFloats {
    /// For a channel with this mean and deviation, of values in [0, 1]; none if some byte would not be exact.
    pub fn new(vectors: Vectors, mean: f32, std: f32) -> Option<Self> {
        let floats = Self { mean, std, inverse: 1.0 / std };
        let bytes: [u8; 256] = std::array::from_fn(|value| value as u8);
        let mut found = [0.0; 256];
        floats.write(vectors, &bytes, &mut found);
        let exact = |value: u8| (f32::from(value) / 255.0 - mean) / std;
        let same = bytes.iter().zip(&found).all(|(&value, found)| exact(value).to_bits() == found.to_bits());
        same.then_some(floats)
    }

    /// Writes the floats of `bytes`.
    ///
    /// # Panics
    /// `out` has another length.
    pub fn write(&self, vectors: Vectors, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len(), "as many floats as bytes are needed");
        vectors.run(Write { floats: self, bytes, out });
    }
}

struct Write<'a> {
    floats: &'a ToFloats,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl Kernel for Write<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let lanes = S::BYTES / 4;
        let whole = self.bytes.len() / lanes * lanes;
        for (bytes, out) in self.bytes.chunks_exact(lanes).zip(self.out.chunks_exact_mut(lanes)) {
            s.store_f32(floats(s, self.floats, s.load_widened(bytes)), out);
        }
        let (bytes, out) = (&self.bytes[whole..], &mut self.out[whole..]);
        if !bytes.is_empty() {
            let (mut padded, mut values) = ([0; 16], [0.0; 16]);
            padded[..bytes.len()].copy_from_slice(bytes);
            s.store_f32(floats(s, self.floats, s.load_widened(&padded)), &mut values);
            out.copy_from_slice(&values[..out.len()]);
        }
    }
}

#[inline(always)]
fn floats<S: Simd>(s: S, constants: &ToFloats, bytes: S::I) -> S::F {
    let value = divided(s, s.to_f32(bytes), 255.0, 1.0 / 255.0);
    divided(s, s.sub_f32(value, s.splat_f32(constants.mean)), constants.std, constants.inverse)
}

/// A quotient: the product with the inverse, corrected by what it leaves over.
#[inline(always)]
fn divided<S: Simd>(s: S, value: S::F, by: f32, inverse: f32) -> S::F {
    let inverse = s.splat_f32(inverse);
    let quotient = s.mul_f32(value, inverse);
    s.fma(s.fma(quotient, s.splat_f32(-by), value), inverse, quotient)
}
