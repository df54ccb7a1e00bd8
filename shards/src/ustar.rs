//! The tar layout of a shard: POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"), with every field of
//! the header fixed, so that the bytes of a shard depend on its samples alone.

use std::io;

/// The unit of a tar: headers are one block, data are padded to whole blocks.
pub(crate) const BLOCK: u64 = 512;

/// Two blocks of zeros end a tar.
pub(crate) const END: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];

/// The longest data that the eleven octal digits of a ustar size can say: 8 GiB less one byte.
pub(crate) const LENGTH_LIMIT: u64 = 0o77_777_777_777;

/// The header of the regular file `name`, at most 100 bytes without a slash, with `length` bytes of data.
///
/// # Errors
/// `name` or `length` does not fit a ustar header.
pub(crate) fn header(name: &str, length: u64) -> io::Result<[u8; BLOCK as usize]> {
    if length > LENGTH_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "longer than a tar member can be (8 GiB)"));
    }
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(length);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_device_major(0)?;
    header.set_device_minor(0)?;
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// How many zeros follow `length` bytes of data, 0 to 511.
pub(crate) fn padding(length: u64) -> u64 {
    (BLOCK - length % BLOCK) % BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_the_last_block() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }

    #[test]
    fn the_header_is_ustar_with_fixed_fields() {
        let bytes = header("n01440764_tench.jpeg", 0o1234).unwrap();
        assert_eq!(&bytes[..21], b"n01440764_tench.jpeg\0");
        assert_eq!(&bytes[100..108], b"0000644\0");
        assert_eq!(&bytes[124..136], b"00000001234\0");
        assert_eq!(&bytes[136..148], b"00000000000\0");
        assert_eq!(&bytes[156..157], b"0");
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        // The checksum is taken with its own field as eight spaces: seven octal digits and a zero byte.
        let fields = bytes.iter().enumerate();
        let sum: u32 = fields.map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) }).sum();
        assert_eq!(&bytes[148..156], format!("{sum:07o}\0").as_bytes());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(header("a.jpg", LENGTH_LIMIT).is_ok());
        assert!(header("a.jpg", LENGTH_LIMIT + 1).is_err());
        assert!(header(&"a".repeat(101), 1).is_err());
    }
}
