//! PAX extended headers (IEEE Std 1003.1-2017, pax, "pax Header Block"): records `LENGTH KEYWORD=VALUE\n`, where the
//! length counts the whole record in decimal digits.

use super::TarFault;
use super::header::checked_length;

/// What extended headers say about the members behind them.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Whether the member is a sparse file as GNU tar stores them in PAX archives.
    pub(super) sparse: bool,
}

impl Attributes {
    /// Takes over what the records in `data` say. An empty value takes back what was said before.
    pub(super) fn read(&mut self, data: &[u8]) -> Result<(), TarFault> {
        let mut rest = data;
        // Some writers fill up with zeros.
        while rest.first().is_some_and(|byte| *byte != 0) {
            let record;
            (record, rest) = split_record(rest).map_err(|reason| TarFault::BadPax { reason })?;
            let no_value = TarFault::BadPax { reason: "a record has no value" };
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(no_value)?;
            self.set(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    fn set(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), TarFault> {
        match keyword {
            b"path" if value.contains(&0) => return Err(TarFault::BadPax { reason: "its path has a zero byte" }),
            b"path" => self.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
            b"size" if value.is_empty() => self.size = None,
            b"size" => {
                let bad = TarFault::BadPax { reason: "its size is not a number" };
                self.size = Some(checked_length(decimal(value).ok_or(bad)?)?);
            }
            _ if keyword.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {}
        }
        Ok(())
    }
}

/// Splits off the first record, without its length and line break.
fn split_record(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let space = bytes.iter().position(|byte| *byte == b' ').ok_or("a record has no length")?;
    let length = decimal(&bytes[..space]).ok_or("the length of a record is not a number")?;
    let end = usize::try_from(length).ok().filter(|end| *end <= bytes.len() && *end > space + 1);
    let (record, behind) = bytes.split_at(end.ok_or("the length of a record is wrong")?);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or("a record does not end in a line break")?;
    Ok((record, behind))
}

/// A number of decimal digits, unless it is none or has more than 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let value = digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    });
    value.filter(|_| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8]) -> Result<Attributes, TarFault> {
        let mut attributes = Attributes::default();
        attributes.read(data).map(|()| attributes)
    }

    #[test]
    fn records_are_read_and_taken_back() {
        let found = read(b"12 path=a=b\n13 size=1234\n18 comment=a\nb=c\n\n20 mtime=1234567890\n").unwrap();
        assert_eq!((found.path.as_deref(), found.size, found.sparse), (Some(&b"a=b"[..]), Some(1234), false));
        let found = read(b"10 path=a\n8 path=\n9 size=1\n8 size=\n").unwrap();
        assert_eq!((found.path, found.size), (None, None));
        assert!(read(b"22 GNU.sparse.major=1\n").unwrap().sparse);
        assert_eq!(read(b"10 path=a\n\0\0\0").unwrap().path.unwrap(), b"a");
    }

    #[test]
    fn broken_records_are_refused() {
        let cases: [(&[u8], &str); 10] = [
            (b"path=a\n", "no length"),
            (b"x path=a\n", "length of a record is not"),
            (b" path=a\n", "length of a record is not"),
            (b"11 path=a\n", "length of a record is wrong"),
            (b"2 path=a\n", "length of a record is wrong"),
            (b"99999999999999999999 path=a\n", "length of a record is not"),
            (b"9 path=ab\n", "line break"),
            (b"7 path\n", "no value"),
            (b"10 size=-\n", "size is not"),
            (b"12 path=a\0b\n", "zero byte"),
        ];
        for (data, reason) in cases {
            let fault = read(data).unwrap_err().to_string();
            assert!(fault.contains(reason), "{data:?}: {fault}");
        }
        assert!(matches!(read(b"28 size=9223372036854775808\n"), Err(TarFault::Size)));
    }
}
