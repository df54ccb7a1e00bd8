//! TFRecord, the framing of event files: length, its checksum, the bytes, their checksum, all little endian.

/// The CRC-32C of every byte (Castagnoli's polynomial, reflected).
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// CRC-32C.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| (crc >> 8) ^ TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize])
}

/// The checksum as the format stores it: rotated and shifted, so that a checksum of data that hold checksums is sound.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// The bytes as one record.
pub fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), bytes, &masked(bytes)].concat()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The records of a file; a checksum that does not fit fails the test.
    pub fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            assert_eq!(file[8..12], masked(&file[..8]));
            let bytes = &file[12..12 + length];
            assert_eq!(file[12 + length..16 + length], masked(bytes));
            all.push(bytes.to_vec());
            file = &file[16 + length..];
        }
        all
    }

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        let rising: Vec<u8> = (0..32).collect();
        let cases: [(&[u8], u32); 5] = [
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (b"", 0),
        ];
        for (bytes, crc) in cases {
            assert_eq!(crc32c(bytes), crc, "{bytes:?}");
        }
    }

    #[test]
    fn a_record_is_what_tensorflow_writes() {
        // The first record of every event file of TensorFlow's and PyTorch's writers, but for its time.
        let event = b"\x09\x00\x00\x80\x0a\x1a\x80\xda\x41\x1a\x0dbrain.Event:2";
        let framed = record(event);
        assert_eq!(framed[..12], *b"\x18\x00\x00\x00\x00\x00\x00\x00\xa3\x7f\x4b\x22");
        assert_eq!(records(&[framed.clone(), framed].concat()), [event.to_vec(), event.to_vec()]);
    }
}
