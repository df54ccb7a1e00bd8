//! The fields of one header block.
//!
//! ```text
//! offset length  field
//!      0    100  name
//!    124     12  size: octal digits, or base 256 if the first bit is set (GNU)
//!    148      8  checksum: octal digits of the sum of all bytes, these taken as spaces
//!    156      1  type flag
//!    257      8  magic and version: "ustar\0" "00" (POSIX), "ustar  \0" (GNU), anything else: Version 7
//!    345    155  prefix of the name (POSIX only)
//! ```

use super::{BLOCK, TarFault};

pub(super) type Block = [u8; BLOCK];

/// A block of a tar that is a header with a right checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a>(&'a Block);

/// Longer than any file can be: file offsets are signed.
const LENGTH_LIMIT: u64 = i64::MAX as u64;

/// Whether there are only zeros, as in the blocks that end a tar.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Most headers have a name, and so are told by their first byte.
    bytes.first().is_none_or(|byte| *byte == 0) && bytes.iter().all(|byte| *byte == 0)
}

impl<'a> Header<'a> {
    /// Takes `block` for a header if its checksum is right.
    pub(super) fn new(block: &'a Block) -> Result<Self, TarFault> {
        let said = octal(&block[148..156]).ok_or(TarFault::BadNumber { field: "checksum" })?;
        let found = sum(block);
        if said != found && said as i64 != found as i64 - signed_difference(block) {
            return Err(TarFault::HeaderChecksum { said, found });
        }
        Ok(Self(block))
    }

    /// What is in the name fields: the path unless an extended header says another.
    pub(super) fn name(self) -> Vec<u8> {
        let name = until_zero(&self.0[..100]);
        let prefix = if self.is_posix() { until_zero(&self.0[345..500]) } else { b"" };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn flag(self) -> u8 {
        self.0[156]
    }

    /// The length of the data in bytes.
    pub(super) fn size(self) -> Result<u64, TarFault> {
        let field = &self.0[124..136];
        let bad = TarFault::BadNumber { field: "size" };
        let size = match field[0] {
            0x80 => base_256(&field[1..]).ok_or(TarFault::Size)?,
            0x81..=0xfe => return Err(TarFault::Size),
            // A negative number.
            0xff => return Err(bad),
            _ => octal(field).ok_or(bad)?,
        };
        checked_length(size)
    }

    fn is_posix(self) -> bool {
        self.0[257..263] == *b"ustar\0"
    }
}

/// `length` if a file can be that long.
pub(super) fn checked_length(length: u64) -> Result<u64, TarFault> {
    if length > LENGTH_LIMIT { Err(TarFault::Size) } else { Ok(length) }
}

/// What a file that is no tar is instead, as far as its first bytes tell.
pub(super) fn looks_like(start: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 6] = [
        (b"\x1f\x8b", "a gzip file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"BZh", "a bzip2 file"),
        (b"\xfd7zXZ\0", "an xz file"),
        (b"PK\x03\x04", "a zip file"),
        (b"\xff\xd8\xff", "a JPEG picture"),
    ];
    known.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, what)| *what)
}

/// Whether the block says that it is a header, whatever its checksum.
pub(super) fn has_magic(block: &Block) -> bool {
    block[257..262] == *b"ustar"
}

pub(super) fn until_zero(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal digits between optional spaces, ended by a space, a zero or the field's end. What follows is not looked at,
/// as in GNU tar.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let digits = &digits[..end];
    // At most 12 digits of three bits fit a field.
    let value = digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'7' => Some(value << 3 | u64::from(digit - b'0')),
        _ => None,
    });
    value.filter(|_| !digits.is_empty())
}

/// A big-endian number, unless it has more than 64 bits.
fn base_256(bytes: &[u8]) -> Option<u64> {
    let (high, low) = bytes.split_last_chunk::<8>()?;
    high.iter().all(|byte| *byte == 0).then(|| u64::from_be_bytes(*low))
}

/// The sum of a header's bytes, those of the checksum itself taken as spaces.
fn sum(block: &Block) -> u64 {
    // Four sums of 16 bits at once. Each grows by at most 2 * 255 for each of 64 words, and so does not overflow.
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let (words, _) = block.as_chunks::<8>();
    let sums = words.iter().map(|word| u64::from_le_bytes(*word)).map(|word| (word & EVEN) + (word >> 8 & EVEN));
    let sums: u64 = sums.sum();
    let whole: u64 = (0..4).map(|number| sums >> (16 * number) & 0xffff).sum();
    let checksum: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
    whole - checksum + 8 * u64::from(b' ')
}

/// By how much the sum is smaller if the bytes are taken as signed numbers, as some old writers did.
fn signed_difference(block: &Block) -> i64 {
    let high = |bytes: &[u8]| bytes.iter().filter(|byte| **byte >= 0x80).count() as i64;
    256 * (high(block) - high(&block[148..156]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_bytes() {
        let expected = |block: &Block| -> u64 {
            let bytes = block.iter().enumerate();
            bytes.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum()
        };
        let blocks: [Block; 3] = [[0; BLOCK], [255; BLOCK], std::array::from_fn(|at| (at * at / 7) as u8)];
        for block in blocks {
            assert_eq!(sum(&block), expected(&block));
        }
    }
}
