//! Brace patterns as shells and webdataset know them: `x-{000..012}.tar`, `{a,b}/{0..9}.tar`.

/// The most names that a pattern may stand for.
const LIMIT: usize = 1_000_000;

/// Deeper nesting is no pattern that anybody wrote.
const DEPTH: usize = 16;

/// A brace pattern that stands for no names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BraceError {
    /// A brace that is not closed or was not opened.
    #[error("the brace at byte {at} of {pattern:?} has no partner: write {{a,b}} or {{000..012}}")]
    Unbalanced {
        /// The pattern.
        pattern: String,
        /// Where the brace is, in bytes.
        at: usize,
    },
    /// More names than anybody has files, or too many braces in braces.
    #[error("{pattern:?} stands for more than {LIMIT} names, or nests more than {DEPTH} braces")]
    TooMany {
        /// The pattern.
        pattern: String,
    },
}

/// All names that `pattern` stands for, in its order. `{a,b}` is each of its parts, which can hold braces again;
/// `{000..012}` is each number from the first to the last, up or down, with as many digits as the longer end if
/// either is padded with zeros. A pair of braces without comma or range stands for itself.
///
/// # Errors
/// Braces without a partner, or more than a million names.
pub fn expand_braces(pattern: &str) -> Result<Vec<String>, BraceError> {
    let mut parser = Parser { pattern, at: 0, depth: 0 };
    let names = parser.sequence()?;
    match parser.peek() {
        None => Ok(names),
        Some(_) => Err(parser.unbalanced(parser.at)),
    }
}

struct Parser<'a> {
    pattern: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.pattern.as_bytes().get(self.at).copied()
    }

    /// Text and braces up to the end, a closing brace, or a comma within braces.
    fn sequence(&mut self) -> Result<Vec<String>, BraceError> {
        let mut names = vec![String::new()];
        loop {
            let depth = self.depth;
            let ends = |byte: u8| matches!(byte, b'{' | b'}') || (byte == b',' && depth > 0);
            let rest = &self.pattern[self.at..];
            let text = &rest[..rest.bytes().position(ends).unwrap_or(rest.len())];
            names.iter_mut().for_each(|name| name.push_str(text));
            self.at += text.len();
            if self.peek() != Some(b'{') {
                return Ok(names);
            }
            let parts = self.braces()?;
            names = self.product(&names, &parts)?;
        }
    }

    /// From an opening brace to its partner.
    fn braces(&mut self) -> Result<Vec<String>, BraceError> {
        let open = self.at;
        self.at += 1;
        if let Some((range, length)) = range(&self.pattern[self.at..]) {
            self.at += length;
            return self.numbers(range);
        }
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.too_many());
        }
        let (mut names, mut parts) = (self.sequence()?, 1);
        while self.peek() == Some(b',') {
            self.at += 1;
            names.extend(self.sequence()?);
            parts += 1;
            if names.len() > LIMIT {
                return Err(self.too_many());
            }
        }
        if self.peek() != Some(b'}') {
            return Err(self.unbalanced(open));
        }
        self.at += 1;
        self.depth -= 1;
        if parts == 1 {
            names.iter_mut().for_each(|name| *name = format!("{{{name}}}"));
        }
        Ok(names)
    }

    fn numbers(&self, range: Range) -> Result<Vec<String>, BraceError> {
        if range.first.abs_diff(range.last) >= LIMIT as u64 {
            return Err(self.too_many());
        }
        let name = |number: u64| format!("{number:0width$}", width = range.width);
        Ok(match range.first <= range.last {
            true => (range.first..=range.last).map(name).collect(),
            false => (range.last..=range.first).rev().map(name).collect(),
        })
    }

    fn product(&self, heads: &[String], tails: &[String]) -> Result<Vec<String>, BraceError> {
        if heads.len().saturating_mul(tails.len()) > LIMIT {
            return Err(self.too_many());
        }
        Ok(heads.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect())
    }

    fn unbalanced(&self, at: usize) -> BraceError {
        BraceError::Unbalanced { pattern: self.pattern.into(), at }
    }

    fn too_many(&self) -> BraceError {
        BraceError::TooMany { pattern: self.pattern.into() }
    }
}

#[derive(Debug, Clone, Copy)]
struct Range {
    first: u64,
    last: u64,
    /// Digits at least.
    width: usize,
}

/// The range that `text`, what follows an opening brace, begins with, and its length with the closing brace.
fn range(text: &str) -> Option<(Range, usize)> {
    let (inside, _) = text.split_once('}')?;
    let (first, last) = inside.split_once("..")?;
    // As many digits as surely fit; the padding of a million names must not fill the memory.
    let is_number = |digits: &str| digits.len() < 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = |digits: &str| is_number(digits).then(|| digits.parse().ok())?;
    let is_padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    let width = if is_padded(first) || is_padded(last) { first.len().max(last.len()) } else { 0 };
    Some((Range { first: number(first)?, last: number(last)?, width }, inside.len() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_names_in_order() {
        for (pattern, names) in [
            ("x.tar", "x.tar"),
            ("x-{000..002}.tar", "x-000.tar x-001.tar x-002.tar"),
            ("x-{8..10}", "x-8 x-9 x-10"),
            ("x-{08..10}", "x-08 x-09 x-10"),
            ("{2..0}", "2 1 0"),
            ("{a,b}/{0..1}.tar", "a/0.tar a/1.tar b/0.tar b/1.tar"),
            ("{train-{0..1},val}.tar", "train-0.tar train-1.tar val.tar"),
            ("a{,b}", "a ab"),
            ("a,b", "a,b"),
            ("{x}/{a..c}", "{x}/{a..c}"),
            ("é{ü,ö}", "éü éö"),
        ] {
            assert_eq!(expand_braces(pattern).unwrap().join(" "), names, "{pattern}");
        }
    }

    #[test]
    fn what_stands_for_no_names_is_refused() {
        for (pattern, at) in [("a{b", 1), ("a}b", 1), ("{a,{b}", 0), ("{a}}", 3), ("{0..1", 0)] {
            assert_eq!(expand_braces(pattern), Err(BraceError::Unbalanced { pattern: pattern.into(), at }));
        }
        let nested = "{".repeat(100_000);
        for pattern in ["{0..1000000}", "{0..999}{0..1000}", "{0..1844674407370955161}", &nested] {
            assert!(matches!(expand_braces(pattern), Err(BraceError::TooMany { .. })), "{:.30}", pattern);
        }
        assert_eq!(expand_braces("{0..999999}").unwrap().len(), 1_000_000);
    }
}
