//! Whether a JPEG's bytes run out before its end, or are merely damaged.
//!
//! libjpeg reports only its first warning, so "premature end" may hide behind an earlier one.

const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
/// Markers without a segment: TEM, restarts and SOI.
const BARE: [std::ops::RangeInclusive<u8>; 2] = [0x01..=0x01, 0xD0..=0xD8];

/// Whether an end-of-image marker (ITU-T T.81, annex B) comes after the start of the first scan.
///
/// Segments before it are stepped over: a thumbnail has an end of its own. Behind it the marker is looked for byte by
/// byte, as entropy-coded data hold none by chance (a stuffed zero follows each 0xFF), and damage may make a segment
/// of any length of them.
pub(super) fn reaches_end(data: &[u8]) -> bool {
    let mut at = 2;
    while let Some((marker, next)) = next_marker(data, at) {
        at = match marker {
            SOS => return data[next..].windows(2).any(|pair| pair == [0xFF, EOI]),
            EOI => return true,
            bare if BARE.iter().any(|range| range.contains(&bare)) => next,
            _ => match data.get(next..next + 2) {
                Some(&[high, low]) => next + usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
        };
    }
    false
}

/// The next marker at or after `at`, and the place after it. Fill bytes are no markers.
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
        // A damaged restart marker that looks like the start of a long segment.
        file.extend([0xFF, 0xE1, 0xEE, 0xEE, 3]);
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
