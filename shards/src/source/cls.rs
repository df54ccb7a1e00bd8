//! The member `cls` of a WebDataset's sample: the number of its class in ASCII digits, or its name.

use super::Label;

/// Longer than any label.
pub(super) const LONGEST: u64 = 4096;

/// The label that these bytes say; white space around it does not count.
///
/// # Errors
/// They are no label: the end of a sentence that begins with `its label`.
pub(super) fn label(bytes: &[u8]) -> Result<Label, String> {
    if bytes.len() as u64 > LONGEST {
        return Err(too_long(bytes.len() as u64));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is neither digits nor a name (it is not UTF-8)")?.trim();
    if text.is_empty() {
        return Err("is empty".into());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().map_err(|_| format!("{text} is more than {}", u32::MAX))?;
        return Ok(Label::Number(number));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{text:?} is neither digits nor a name"));
    }
    Ok(Label::Class(text.into()))
}

/// What is wrong with a label of `length` bytes, more than [`LONGEST`].
pub(super) fn too_long(length: u64) -> String {
    format!("has {length} bytes, more than a label has")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_numbers_and_other_texts_names() {
        assert_eq!(label(b"7"), Ok(Label::Number(7)));
        assert_eq!(label(b" 0012\n"), Ok(Label::Number(12)));
        assert_eq!(label(b"4294967295"), Ok(Label::Number(u32::MAX)));
        for name in ["n01440764", "-1", "+5", "3.0", "tench, Tinca tinca", "\u{e9}"] {
            assert_eq!(label(format!("{name}\r\n").as_bytes()), Ok(Label::Class(name.into())));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        let long = vec![b'a'; 4097];
        let cases: [(&[u8], &str); 6] = [
            (b"", "is empty"),
            (b" \n", "is empty"),
            (b"4294967296", "4294967296 is more than 4294967295"),
            (b"\xff\xfe", "not UTF-8"),
            (b"cat\ndog", r#""cat\ndog" is neither digits nor a name"#),
            (&long, "has 4097 bytes"),
        ];
        for (bytes, said) in cases {
            let reason = label(bytes).unwrap_err();
            assert!(reason.contains(said), "{reason}");
        }
    }
}
