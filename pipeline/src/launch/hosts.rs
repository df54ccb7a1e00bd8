//! Slurm's lists of hosts: `gnode[10,20-22]`, `r[1-2]n[01-02],login`.
//!
//! A list may name millions of hosts in a few bytes, so it is never written out: [`Hosts`] names one after the other.

use anyhow::{Context, Result, bail, ensure};

/// The hosts of a list, in Slurm's order: of several brackets the last one moves fastest.
///
/// ```
/// # use mugs_pipeline::launch::hosts::Hosts;
/// let hosts: Vec<String> = Hosts::parse("gnode[08-10],login")?.collect();
/// assert_eq!(hosts, ["gnode08", "gnode09", "gnode10", "login"]);
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct Hosts {
    /// What is still to be named, the next one first.
    names: std::vec::IntoIter<Pattern>,
    current: Option<Pattern>,
}

/// `r[1-2]n[01-02]`: one host per choice of a number from each bracket.
#[derive(Clone, Debug)]
struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Bracket { ranges: Vec<Range>, range: usize, number: u64 },
}

/// `01-02`: numbers written with at least `width` digits.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u64,
    last: u64,
    width: usize,
}

impl Hosts {
    /// Looks over a list. Its hosts are separated by commas, or spaces.
    pub fn parse(list: &str) -> Result<Self> {
        let patterns = split(list)?
            .into_iter()
            .map(|name| Pattern::parse(name).with_context(|| format!("the list of hosts {}", shown(list))))
            .collect::<Result<Vec<_>>>()?;
        let mut names = patterns.into_iter();
        let current = names.next();
        Ok(Self { names, current })
    }
}

/// The first host of a list.
pub fn first(list: &str) -> Result<String> {
    Hosts::parse(list)?.next().context("the list of hosts is empty")
}

impl Iterator for Hosts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let current = self.current.as_mut()?;
        let name = current.name();
        if !current.advance() {
            self.current = self.names.next();
        }
        Some(name)
    }
}

impl Pattern {
    fn parse(name: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut rest = name;
        while let Some((text, after)) = rest.split_once('[') {
            let (inside, after) = after.split_once(']').context("has a [ without its ]")?;
            ensure!(!text.contains(']'), "has a ] without its [");
            ensure!(!inside.contains('['), "has brackets within brackets");
            parts.push(Part::Text(text.to_owned()));
            let ranges = inside.split(',').map(Range::parse).collect::<Result<Vec<_>>>()?;
            parts.push(Part::Bracket { number: ranges[0].first, ranges, range: 0 });
            rest = after;
        }
        ensure!(!rest.contains(']'), "has a ] without its [");
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    fn name(&self) -> String {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Bracket { ranges, range, number } => {
                    name.push_str(&format!("{number:0width$}", width = ranges[*range].width));
                }
            }
        }
        name
    }

    /// Moves to the next host; false after the last.
    fn advance(&mut self) -> bool {
        for part in self.parts.iter_mut().rev() {
            let Part::Bracket { ranges, range, number } = part else { continue };
            if *number < ranges[*range].last {
                *number += 1;
                return true;
            }
            let more = *range + 1 < ranges.len();
            *range = if more { *range + 1 } else { 0 };
            *number = ranges[*range].first;
            if more {
                return true;
            }
        }
        false
    }
}

impl Range {
    fn parse(text: &str) -> Result<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |digits: &str| -> Result<u64> {
            // More digits than any host has would not fit a number.
            if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                bail!("has {text:?} in its brackets, which is neither a number nor a range of numbers");
            }
            Ok(digits.parse()?)
        };
        let range = Self { first: number(first)?, last: number(last)?, width: first.len() };
        ensure!(range.first <= range.last, "has the range {text}, which runs backwards");
        Ok(range)
    }
}

/// Cuts a list at the commas and spaces outside brackets.
fn split(list: &str) -> Result<Vec<&str>> {
    let (mut names, mut inside, mut start) = (Vec::new(), false, 0);
    for (at, character) in list.char_indices() {
        match character {
            '[' => inside = true,
            ']' => inside = false,
            ',' | ' ' | '\n' if !inside => {
                names.push(&list[start..at]);
                start = at + 1;
            }
            _ => (),
        }
    }
    names.push(&list[start..]);
    names.retain(|name| !name.is_empty());
    Ok(names)
}

/// The beginning of a list, for an error.
fn shown(list: &str) -> String {
    let head: String = list.chars().take(80).collect();
    if head.len() < list.len() { format!("{head:?}...") } else { format!("{list:?}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(list: &str) -> Vec<String> {
        Hosts::parse(list).unwrap().collect()
    }

    /// What libslurm 22.05 (slurm_hostlist_create, _shift) makes of the same lists.
    #[test]
    fn lists_are_read_as_slurm_reads_them() {
        for (list, hosts) in [
            ("gnode[10,20-22]", "gnode10 gnode20 gnode21 gnode22"),
            ("n[001-003]", "n001 n002 n003"),
            ("r[1-2]n[01-02]", "r1n01 r1n02 r2n01 r2n02"),
            ("n[1-2][3-4]", "n13 n14 n23 n24"),
            ("n[9-011]", "n9 n10 n11"),
            ("n[08-11]", "n08 n09 n10 n11"),
            ("n[098-102]", "n098 n099 n100 n101 n102"),
            ("n[00-1]", "n00 n01"),
            ("a,,b", "a b"),
            ("a b", "a b"),
            (",a,", "a"),
            ("", ""),
            ("tux[0-5,12,20-22]", "tux0 tux1 tux2 tux3 tux4 tux5 tux12 tux20 tux21 tux22"),
            ("linux[1-3,6]", "linux1 linux2 linux3 linux6"),
            // Slurm itself knows no text after a bracket here; clouds name hosts so.
            ("a,b,c[3-4]-ib", "a b c3-ib c4-ib"),
        ] {
            assert_eq!(expanded(list).join(" "), hosts, "{list}");
        }
    }

    #[test]
    fn a_list_that_is_none_is_refused_with_what_is_wrong() {
        for (list, wrong) in [
            ("n[1-3", "has a [ without its ]"),
            ("n]1", "has a ] without its ["),
            ("n1,m[1-2]]", "has a ] without its ["),
            ("n[1-[2-3]]", "has brackets within brackets"),
            ("n[3-1]", "has the range 3-1, which runs backwards"),
            ("n[]", r#"has "" in its brackets"#),
            ("n[1,]", r#"has "" in its brackets"#),
            ("n[a-b]", r#"has "a-b" in its brackets"#),
            ("n[1--2]", r#"has "1--2" in its brackets"#),
            // Three-dimensional boxes of an extinct kind of machine.
            ("bgl[123x456]", r#"has "123x456" in its brackets"#),
            ("n[1-99999999999999999999]", "in its brackets"),
        ] {
            let error = format!("{:#}", Hosts::parse(list).unwrap_err());
            assert!(error.contains(wrong), "{list}: {error}");
            assert!(error.contains(&format!("the list of hosts {list:?}")), "{error}");
        }
        assert!(first("").is_err());
    }

    #[test]
    fn a_list_of_more_hosts_than_memory_holds_is_named_one_by_one() {
        let list = "n[0-999999999999999999][0-999999999999999999]";
        assert_eq!(first(list).unwrap(), "n00");
        assert_eq!(Hosts::parse(list).unwrap().nth(12).unwrap(), "n012");
        let long = "x".repeat(200) + "[";
        assert!(format!("{:#}", Hosts::parse(&long).unwrap_err()).len() < 200);
    }

    /// Some ranges of a bracket, and the numbers they stand for as text.
    fn bracket() -> impl Strategy<Value = (String, Vec<String>)> {
        let range = (0u64..1200, 0u64..6, 1usize..5).prop_map(|(first, more, width)| {
            let text = format!("{first:0width$}");
            let last = first + more;
            let numbers = (first..=last).map(|number| format!("{number:0w$}", w = text.len())).collect::<Vec<_>>();
            (if more == 0 { text } else { format!("{text}-{last}") }, numbers)
        });
        prop::collection::vec(range, 1..4).prop_map(|ranges| {
            let text: Vec<&str> = ranges.iter().map(|(text, _)| &**text).collect();
            (format!("[{}]", text.join(",")), ranges.iter().flat_map(|(_, numbers)| numbers.clone()).collect())
        })
    }

    /// A pattern and the names it stands for, written out naively.
    fn pattern() -> impl Strategy<Value = (String, Vec<String>)> {
        ("[a-z]{1,3}", prop::collection::vec((bracket(), "[a-z-]{0,2}"), 0..3)).prop_map(|(head, brackets)| {
            let mut list = head.clone();
            let mut names = vec![head];
            for ((text, numbers), tail) in brackets {
                list += &(text + &tail);
                names = names
                    .iter()
                    .flat_map(|name| numbers.iter().map(move |number| format!("{name}{number}")))
                    .map(|name| name + &tail)
                    .collect();
            }
            (list, names)
        })
    }

    proptest! {
        #[test]
        fn a_list_names_what_writing_it_out_names(patterns in prop::collection::vec(pattern(), 1..4)) {
            let list: Vec<&str> = patterns.iter().map(|(list, _)| &**list).collect();
            let names: Vec<String> = patterns.iter().flat_map(|(_, names)| names.clone()).collect();
            prop_assert_eq!(expanded(&list.join(",")), names);
        }

        #[test]
        fn no_text_makes_it_panic(list in "[a-c0-9,\\[\\]x -]{0,24}") {
            if let Ok(hosts) = Hosts::parse(&list) {
                hosts.take(100).for_each(drop);
            }
        }
    }
}
