//! XXH3-128 checksums: fast enough to be taken of every byte that is written or read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// XXH3-128 (seed 0) of some bytes, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(u128);

impl Checksum {
    /// The number of digits of its text.
    pub(crate) const DIGITS: usize = 32;

    /// Takes the checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    /// The checksum as a number.
    pub fn value(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 32 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a checksum is 32 lower-case hexadecimal digits")]
pub struct NotAChecksum;

impl FromStr for Checksum {
    type Err = NotAChecksum;

    /// Accepts exactly what `Display` writes, so that equal checksums are equal texts.
    fn from_str(text: &str) -> Result<Self, NotAChecksum> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != Self::DIGITS || !digits {
            return Err(NotAChecksum);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NotAChecksum)
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Takes the checksum of bytes that come in pieces.
#[derive(Default)]
pub(crate) struct Hasher(Xxh3Default);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> Checksum {
        Checksum(self.0.digest128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_value_of_the_empty_input() {
        // xxhsum -H2 of an empty file.
        assert_eq!(Checksum::of(b"").to_string(), "99aa06d3014798d86001c324468d497f");
    }

    #[test]
    fn pieces_give_the_same_as_the_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut hasher = Hasher::default();
        bytes.chunks(777).for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.finish(), Checksum::of(&bytes));
    }

    #[test]
    fn only_its_own_text_is_read_back() {
        let sum = Checksum::of(b"a sample");
        assert_eq!(sum.to_string().parse::<Checksum>().unwrap(), sum);
        for text in ["", "0", &sum.to_string().to_uppercase(), &format!("+{}", &sum.to_string()[1..])] {
            assert!(text.parse::<Checksum>().is_err(), "{text:?}");
        }
    }
}
