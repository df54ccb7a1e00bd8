//! A walk over JPEG markers, to tell data that end early from data that are merely damaged.
//!
//! libjpeg reports only its first warning, so "premature end" may hide behind an earlier one.

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;
const SOS: u8 = 0xDA;
const TEM: u8 = 0x01;

/// Whether an end-of-image marker comes before the bytes run out (JPEG, ITU-T T.81, annex B).
///
/// Entropy-coded data never hold a marker by chance: 0xFF is followed by a stuffed 0 there.
pub(super) fn reaches_end(data: &[u8]) -> bool {
    let mut at = 2;
    while let Some((marker, next)) = next_marker(data, at) {
        at = match marker {
            EOI => return true,
            SOI | TEM | RST0..=RST7 => next,
            _ => match data.get(next..next + 2) {
                // After a scan's header its entropy-coded bytes follow; `next_marker` steps over them.
                Some(&[high, low]) => next + usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
        };
        debug_assert!(marker != SOS || at > next);
    }
    false
}

/// The next marker at or after `at`, and the place after it. Stuffed zeros and fill bytes are no markers.
fn next_marker(data: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = data.get(at..)?;
    let found = rest.windows(2).position(|pair| pair[0] == 0xFF && pair[1] != 0 && pair[1] != 0xFF)?;
    Some((rest[found + 1], at + found + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_marker_inside_a_segment_does_not_count() {
        // SOI, APP1 of 6 bytes with a thumbnail's end marker, SOS of 3 bytes, entropy data with a stuffed zero.
        let mut file =
            vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2, 0xFF, 0xDA, 0, 3, 0, 7, 0xFF, 0, 0xFF, 0xD0, 8];
        assert!(!reaches_end(&file));
        file.extend([0xFF, 0xFF, 0xD9]);
        assert!(reaches_end(&file));
    }

    #[test]
    fn any_cut_is_seen() {
        let file = crate::encode::jpeg(&crate::Image::filled(33, 17, [9, 80, 200]), 80).unwrap();
        assert!(reaches_end(&file));
        for cut in 0..file.len() {
            assert!(!reaches_end(&file[..cut]), "cut at {cut}");
        }
    }
}
