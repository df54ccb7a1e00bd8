//! How a member's name becomes the key of its sample and its own extension.

/// Which dot of a file name ends the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Dots {
    /// The first one, as in webdataset: `a/b.seg.png` is `seg.png` of `a/b`, and `x/Track 2.0.jpg` `0.jpg` of
    /// `x/Track 2`.
    #[default]
    First,
    /// The last one: `x/Track 2.0.jpg` is `jpg` of `x/Track 2.0`.
    Last,
}

/// Splits a path into the key, folders included, and the extension without its dot, in lower case (ASCII letters;
/// bytes that are not UTF-8 become U+FFFD). None for a file name without an extension or that begins with a dot.
pub fn split_name(name: &[u8], dots: Dots) -> Option<(&[u8], String)> {
    let start = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let file = &name[start..];
    let is_dot = |byte: &u8| *byte == b'.';
    let dot = match dots {
        Dots::First => file.iter().position(is_dot),
        Dots::Last => file.iter().rposition(is_dot),
    }?;
    let extension = &file[dot + 1..];
    if file[0] == b'.' || extension.is_empty() {
        return None;
    }
    Some((&name[..start + dot], String::from_utf8_lossy(extension).to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(name: &str, dots: Dots) -> Option<(&str, String)> {
        let (key, extension) = split_name(name.as_bytes(), dots)?;
        Some((std::str::from_utf8(key).unwrap(), extension))
    }

    #[test]
    fn the_dot_decides() {
        for (name, first, last) in [
            ("a.jpg", Some(("a", "jpg")), Some(("a", "jpg"))),
            ("x.y/a.JPEG", Some(("x.y/a", "jpeg")), Some(("x.y/a", "jpeg"))),
            ("x/Track 2.0.jpg", Some(("x/Track 2", "0.jpg")), Some(("x/Track 2.0", "jpg"))),
            ("a.seg.PNG", Some(("a", "seg.png")), Some(("a.seg", "png"))),
            ("../../evil.jpg", Some(("../../evil", "jpg")), Some(("../../evil", "jpg"))),
            ("a", None, None),
            ("x.y/a", None, None),
            ("a.", None, None),
            ("a..", Some(("a", ".")), None),
            (".hidden.jpg", None, None),
            ("x/._a.jpg", None, None),
            ("x/", None, None),
            ("", None, None),
        ] {
            let expected = |parts: Option<(&'static str, &str)>| parts.map(|(key, ext)| (key, ext.to_string()));
            assert_eq!(split(name, Dots::First), expected(first), "{name}");
            assert_eq!(split(name, Dots::Last), expected(last), "{name}");
        }
    }

    #[test]
    fn bytes_of_any_kind_are_names() {
        assert_eq!(split_name(b"\xe9t\xe9.jp\xffg", Dots::First).unwrap(), (&b"\xe9t\xe9"[..], "jp\u{fffd}g".into()));
    }
}
