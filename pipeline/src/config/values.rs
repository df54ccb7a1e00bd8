//! Values given as text, by `--set` and by the environment: what they mean follows from the option's type.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use toml::{Table, Value};

use super::{RunConfig, recipes};

/// The name under which every layer may ask for a recipe; it is no option of a run.
pub(super) const RECIPE: &str = "recipe";

/// An option with its value: `lr=1e-3`, as `--set` takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The option, spelled with `_`.
    pub name: String,
    /// A value of the option's type.
    pub value: Value,
}

impl Assignment {
    /// Reads a value as one of the option's type: TOML, or a bare word.
    pub fn new(name: &str, text: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), value: value(name, text)? })
    }
}

impl FromStr for Assignment {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = text.split_once('=').context("it should be OPTION=VALUE")?;
        Self::new(&name.trim().replace('-', "_"), value.trim())
    }
}

/// A switch as the published trainer reads it.
pub fn switch(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" => Ok(true),
        "false" | "0" | "off" => Ok(false),
        _ => bail!("it should be true or false"),
    }
}

/// Every option with its default, as TOML has it.
pub(super) fn defaults() -> Result<Table> {
    Ok(Table::try_from(RunConfig::default())?)
}

/// Refuses a name that no option has, and proposes the one most like it.
pub(super) fn known(name: &str) -> Result<()> {
    let names = defaults()?;
    if name == RECIPE || names.contains_key(name) {
        return Ok(());
    }
    let nearest = names
        .keys()
        .map(String::as_str)
        .chain([RECIPE])
        // A name that was not written to its end is nearer than any other.
        .min_by_key(|known| (!known.starts_with(name), strsim::levenshtein(name, known)));
    bail!("there is no option `{name}`; the nearest is `{}`", nearest.unwrap_or_default())
}

/// Refuses a value that is not of the option's type.
pub(super) fn fits(name: &str, value: &Value) -> Result<()> {
    let alone = Table::from_iter([(name.to_owned(), value.clone())]);
    match alone.try_into::<RunConfig>() {
        Ok(_) => Ok(()),
        Err(error) => bail!("{name} cannot be {value}: {}", error.message()),
    }
}

fn value(name: &str, text: &str) -> Result<Value> {
    known(name)?;
    if name == RECIPE {
        return Ok(Value::String(recipes::named(text)?.name().to_owned()));
    }
    let default = defaults()?.remove(name).with_context(|| format!("`{name}` has no default"))?;
    let value = read(&default, text).ok_or_else(|| anyhow!("{name} should be {}, not `{text}`", kind(&default)))?;
    fits(name, &value)?;
    Ok(value)
}

/// The text as a value of the same type as `like`.
fn read(like: &Value, text: &str) -> Option<Value> {
    let toml = text.parse::<Value>().ok();
    match (like, toml) {
        (Value::String(_), Some(quoted @ Value::String(_))) => Some(quoted),
        // A bare word, even one that looks like a number: a folder may be called 2024.
        (Value::String(_), _) => Some(Value::String(text.to_owned())),
        (Value::Boolean(_), _) => switch(text).ok().map(Value::Boolean),
        (Value::Float(_), Some(number @ (Value::Float(_) | Value::Integer(_)))) => Some(number),
        // What flags take and TOML does not: `.5`.
        (Value::Float(_), _) => text.parse().ok().map(Value::Float),
        (Value::Array(_), Some(list @ Value::Array(_))) => Some(list),
        (Value::Array(items), _) if items.is_empty() => Some(names(text)),
        (Value::Array(_), _) => numbers(text),
        (_, whole) => whole.filter(Value::is_integer),
    }
}

/// Numbers side by side, as after a flag: `1 0 1`, or `1,0,1`.
fn numbers(text: &str) -> Option<Value> {
    words(text).map(|word| word.parse().ok().map(Value::Float)).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// Names side by side. A list without defaults is one of names.
fn names(text: &str) -> Value {
    Value::Array(words(text).map(|word| Value::String(word.to_owned())).collect())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Boolean(_) => "true or false",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Array(_) => "numbers",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Value {
        text.parse::<Assignment>().unwrap_or_else(|error| panic!("{text}: {error}")).value
    }

    fn refusal(text: &str) -> String {
        text.parse::<Assignment>().unwrap_err().to_string()
    }

    #[test]
    fn a_value_is_read_as_the_option_s_type() {
        assert_eq!(set("lr=1e-3"), Value::Float(1e-3));
        assert_eq!(set("lr = .5"), Value::Float(0.5));
        assert_eq!(set("lr=1"), Value::Integer(1), "a number without a point is one, too");
        assert_eq!(set("epochs=1_000"), Value::Integer(1000));
        assert_eq!(set("batch-size-per-gpu=8"), Value::Integer(8));
        assert_eq!(set("arch=vit_base"), Value::String("vit_base".into()));
        assert_eq!(set(r#"arch="vit_base""#), Value::String("vit_base".into()));
        assert_eq!(set("output_dir=2024"), Value::String("2024".into()));
        assert_eq!(set("data_path=a=b"), Value::String("a=b".into()));
        let weights = [1.0, 0.0, 0.5].map(Value::Float).to_vec();
        assert_eq!(set("loss_weights=[1.0, 0.0, 0.5]"), Value::Array(weights.clone()));
        assert_eq!(set("loss_weights=1 0 .5"), Value::Array(weights.clone()));
        assert_eq!(set("loss_weights=1,0,0.5"), Value::Array(weights));
        assert_eq!(set("recipe=vit_base_400ep"), Value::String("vit_base_400ep".into()));
    }

    #[test]
    fn switches_are_read_as_published() {
        for (text, on) in
            [("true", true), ("True", true), ("1", true), ("false", false), ("False", false), ("0", false)]
        {
            assert_eq!(switch(text).unwrap(), on, "{text}");
            assert_eq!(set(&format!("color_aug={text}")), Value::Boolean(on), "{text}");
        }
        for wrong in ["yes", "2", ""] {
            assert!(switch(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, sentence) in [
            ("batchsize_per_gpu=8", "there is no option `batchsize_per_gpu`; the nearest is `batch_size_per_gpu`"),
            ("batch=8", "there is no option `batch`; the nearest is `batch_size_per_gpu`"),
            ("reciepe=x", "there is no option `reciepe`; the nearest is `recipe`"),
            ("optimiser.lr=1", "there is no option `optimiser.lr`; the nearest is `optimizer`"),
            ("lr=fast", "lr should be a number, not `fast`"),
            ("epochs=1.5", "epochs should be a whole number, not `1.5`"),
            ("color_aug=maybe", "color_aug should be true or false, not `maybe`"),
            ("loss_weights=1 x 1", "loss_weights should be numbers, not `1 x 1`"),
            ("lr", "it should be OPTION=VALUE"),
        ] {
            assert_eq!(refusal(text), sentence, "{text}");
        }
        let negative = refusal("epochs=-1");
        assert!(negative.starts_with("epochs cannot be -1: "), "{negative}");
        let words = refusal(r#"loss_weights=["a"]"#);
        assert!(words.starts_with("loss_weights cannot be "), "{words}");
    }
}
