//! Variables of the environment, read with their names, so that an error can name what it is about.

use std::ffi::OsString;
use std::fmt;

use anyhow::{Context, Result};

/// A number, and what said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// A variable's or an option's name.
    pub name: &'static str,
    pub value: u32,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value } = self;
        write!(f, "{name}{}{value}", if name.starts_with("--") { ' ' } else { '=' })
    }
}

/// An environment: that of the process, or a test's.
pub(super) struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    /// A variable's text; an empty one counts as not set.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(value) = (self.0)(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        value.into_string().map(Some).ok().with_context(|| format!("{name} in the environment is not UTF-8"))
    }

    pub fn is_set(&self, name: &str) -> bool {
        (self.0)(name).is_some_and(|value| !value.is_empty())
    }

    /// A variable that holds a whole number.
    pub fn number(&self, name: &'static str) -> Result<Option<Said>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let value = text.trim().parse().ok().with_context(|| {
            format!("{name}={text} in the environment is no whole number: set it right or unset it")
        })?;
        Ok(Some(Said { name, value }))
    }

    /// The first of several such variables that is set.
    pub fn first_number(&self, names: &[&'static str]) -> Result<Option<Said>> {
        for name in names {
            if let Some(said) = self.number(name)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// The text of the first of several variables that is set.
    pub fn first_text(&self, names: &[&str]) -> Result<Option<String>> {
        for name in names {
            if let Some(text) = self.text(name)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// A number that must be there because `because` is.
    pub fn needed(&self, name: &'static str, because: &str) -> Result<Said> {
        self.number(name)?.with_context(|| {
            format!("{because} is set in the environment but {name} is not: set it too, or unset {because}")
        })
    }
}
