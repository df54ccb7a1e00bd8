//! The command line.

use std::path::PathBuf;

use crate::figure::Class;

pub const HELP: &str = "\
Draws 64x64 JPEGs in ten classes of shapes and textures: DIR/train/<class>/NNNN.jpg and DIR/val/<class>/NNNN.jpg.

usage: draw_demo_set DIR [options]

  --train N   pictures to train on, 0 or at least 10 [default: 3000]
  --val N     pictures to evaluate on, 0 or at least 10 [default: 500]
  --seed S    the same seed gives the same bytes [default: 0]
  --help      print this text
";

/// What to draw, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// Absent or empty before the run.
    pub dir: PathBuf,
    pub train: usize,
    pub val: usize,
    pub seed: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    Draw(Args),
    Help,
}

impl Args {
    /// Reads `--option value` and `--option=value`, in any order around DIR. The error says what is wrong with which.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Request, String> {
        let (mut dir, mut train, mut val, mut seed) = (None, 3000, 500, 0);
        let mut words = words;
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option.to_owned(), Some(value.to_owned())),
                _ => (word, None),
            };
            let mut value = || value.clone().or_else(|| words.next()).ok_or(format!("{option} wants a value"));
            match option.as_str() {
                "--help" | "-h" => return Ok(Request::Help),
                "--train" => train = pictures(&option, &value()?)?,
                "--val" => val = pictures(&option, &value()?)?,
                "--seed" => seed = number(&option, &value()?)?,
                _ if option.starts_with('-') => return Err(format!("unknown option {option}")),
                _ if dir.is_some() => return Err(format!("a second folder, {option}: one is enough")),
                _ => dir = Some(PathBuf::from(option)),
            }
        }
        let dir = dir.ok_or("which folder? DIR is missing")?;
        Ok(Request::Draw(Args { dir, train, val, seed }))
    }
}

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} wants a whole number, not {value:?}"))
}

/// Fewer pictures than classes would leave class folders empty, which no reader of such folders likes.
fn pictures(option: &str, value: &str) -> Result<usize, String> {
    let pictures = number(option, value)?;
    if (1..Class::ALL.len()).contains(&pictures) {
        return Err(format!(
            "{option} {pictures} is less than one picture a class: 0, or at least {}",
            Class::ALL.len()
        ));
    }
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_stand_anywhere_and_have_defaults() {
        let args = |train, val, seed| Ok(Request::Draw(Args { dir: PathBuf::from("set"), train, val, seed }));
        assert_eq!(parse("set"), args(3000, 500, 0));
        assert_eq!(parse("--train 20 set --val=0 --seed 7"), args(20, 0, 7));
        assert_eq!(parse("set --help"), Ok(Request::Help));
    }

    #[test]
    fn each_refusal_names_the_option() {
        for (line, message) in [
            ("", "which folder? DIR is missing"),
            ("a b", "a second folder, b: one is enough"),
            ("set --size 9", "unknown option --size"),
            ("set --seed", "--seed wants a value"),
            ("set --seed x", "--seed wants a whole number, not \"x\""),
            ("set --val 9", "--val 9 is less than one picture a class: 0, or at least 10"),
        ] {
            assert_eq!(parse(line), Err(message.to_owned()), "{line}");
        }
    }
}
