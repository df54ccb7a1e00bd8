//! Sizes as people write them.

use std::num::NonZero;

/// Reads `1000000`, `500MB` (decimal) or `1GiB` (binary).
pub(super) fn parse(text: &str) -> Result<NonZero<u64>, String> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let unit = UNITS.into_iter().find_map(|(unit, bytes)| {
        let (head, tail) = text.split_at_checked(text.len().checked_sub(unit.len())?)?;
        tail.eq_ignore_ascii_case(unit).then_some((head, bytes))
    });
    let (number, unit) = unit.unwrap_or((text.strip_suffix(['B', 'b']).unwrap_or(text), 1));
    let size = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).and_then(NonZero::new);
    size.ok_or_else(|| format!("{text:?} is no size: write bytes, or a whole number with kB, MB, GB, KiB, MiB or GiB"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_read_as_written() {
        let sizes = [
            ("1", 1),
            ("512B", 512),
            ("3kb", 3000),
            ("500MB", 500_000_000),
            ("1 GiB", 1 << 30),
            ("2TB", 2_000_000_000_000),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse(text).unwrap().get(), bytes, "{text}");
        }
        for text in ["", "0", "0MB", "-1", "1.5GB", "MB", "99999999TB", "é"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
