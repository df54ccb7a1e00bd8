//! The keys of samples: names that every tool can take, made from the pictures' paths.
//!
//! A key is the path relative to the source without its extension, with `/` and every byte outside `[A-Za-z0-9_-]`
//! replaced by `_`. So it has no dot, at which webdataset would split it, and no slash. A key that is taken gets
//! `-2`, `-3`, …; one of more than 90 bytes is cut and ends in 8 hexadecimal digits of its path's checksum, so that
//! with an extension it fits the 100 bytes of a ustar name.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

/// The longest key in bytes.
pub(crate) const LONGEST: usize = 90;

const DIGITS: usize = 8;

/// Gives out keys, each only once. The same paths in the same order get the same keys.
#[derive(Default)]
pub(crate) struct Keys {
    /// Each key given out, with the number of its last namesake.
    taken: HashMap<Box<str>, u32>,
}

impl Keys {
    /// The key of the file at `path` (relative, with its extension); `stem` is the path without the extension.
    pub(crate) fn give(&mut self, path: &[u8], stem: &[u8]) -> Box<str> {
        let plain = plain(stem);
        let first = fit(&plain, "", path);
        let Some(&last) = self.taken.get(&*first) else {
            self.taken.insert(first.clone(), 1);
            return first;
        };
        let mut number = last;
        loop {
            number += 1;
            let key = fit(&plain, &format!("-{number}"), path);
            if !self.taken.contains_key(&key) {
                self.taken.insert(first, number);
                self.taken.insert(key.clone(), 1);
                return key;
            }
        }
    }
}

/// The stem with every byte that a key may not have replaced; `_` for an empty one (of a file that is called `.jpg`).
fn plain(stem: &[u8]) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let stem = if stem.is_empty() { b"_" } else { stem };
    stem.iter().map(|&byte| if keep(byte) { char::from(byte) } else { '_' }).collect()
}

/// `plain` and `suffix`, cut where they are too long.
fn fit(plain: &str, suffix: &str, path: &[u8]) -> Box<str> {
    if plain.len() + suffix.len() <= LONGEST {
        return format!("{plain}{suffix}").into();
    }
    let digest = xxh3_64(&[path, suffix.as_bytes()].concat()) as u32;
    format!("{}-{digest:0DIGITS$x}", &plain[..plain.len().min(LONGEST - 1 - DIGITS)]).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn give(keys: &mut Keys, path: &str) -> String {
        let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
        keys.give(path.as_bytes(), stem.as_bytes()).into()
    }

    #[test]
    fn paths_become_plain_names() {
        let mut keys = Keys::default();
        assert_eq!(give(&mut keys, "n01440764/tench.JPEG"), "n01440764_tench");
        assert_eq!(give(&mut keys, "x/Track 2.0.jpg"), "x_Track_2_0");
        assert_eq!(give(&mut keys, "x/Track 2.1.jpg"), "x_Track_2_1");
        assert_eq!(give(&mut keys, "x/é.png"), "x___");
        assert_eq!(give(&mut keys, "../../evil.png"), "______evil");
        assert_eq!(give(&mut keys, ".jpg"), "_");
    }

    #[test]
    fn clashes_are_numbered_around_names_that_are_taken() {
        let mut keys = Keys::default();
        let paths = ["x/a.jpg", "x/a.png", "x_a.jpg", "x/a-2.jpg", "x/a-3-2.jpg", "x/a-3.bmp", "x/a.bmp"];
        let given = paths.map(|path| give(&mut keys, path));
        assert_eq!(given, ["x_a", "x_a-2", "x_a-3", "x_a-2-2", "x_a-3-2", "x_a-3-3", "x_a-4"]);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let mut keys = Keys::default();
        let name = |end: &str| format!("{}{end}.jpg", "n".repeat(120));
        let (one, two) = (give(&mut keys, &name("1")), give(&mut keys, &name("2")));
        for key in [&one, &two] {
            assert_eq!(key.len(), LONGEST);
            assert_eq!(&key[..82], format!("{}-", "n".repeat(81)));
            assert!(key[82..].bytes().all(|digit| digit.is_ascii_hexdigit() && !digit.is_ascii_uppercase()));
        }
        assert_ne!(one, two);
        let exact = format!("{}.jpg", "m".repeat(LONGEST));
        assert_eq!(give(&mut keys, &exact), "m".repeat(LONGEST));
        // With its `-2` the next one would be too long.
        let clash = give(&mut keys, &exact.replace("jpg", "png"));
        assert_eq!((clash.len(), &clash[..82]), (LONGEST, &*format!("{}-", "m".repeat(81))));
    }

    proptest! {
        #[test]
        fn any_paths_get_keys_that_are_unique_short_plain_and_repeatable(
            // A small alphabet, so that clashes and natural `-2` come up often.
            paths in prop::collection::vec(prop_oneof!["[ab/. -]{0,3}(-2)?", "[a/]{85,95}", "\\PC{0,100}"], 0..60)
        ) {
            let (mut keys, mut again) = (Keys::default(), Keys::default());
            let mut seen = HashSet::new();
            for path in &paths {
                let key = give(&mut keys, path);
                prop_assert_eq!(&key, &give(&mut again, path));
                prop_assert!(!key.is_empty() && key.len() <= LONGEST);
                prop_assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
                prop_assert!(seen.insert(key));
            }
        }
    }
}
