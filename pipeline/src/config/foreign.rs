//! Options as checkpoints hold them: plain values under `args`, of which some are ours and some are others'.

use anyhow::{Context, Result, bail};
use mugs_compute::checkpoint::Value;
use serde_json::{Map, Value as Json};
use toml::Value as Toml;

use super::{FREE_ON_RESUME, RunConfig, values};

/// Published options of a run's order and draws, which are this program's own.
const OF_THEIR_DRAWS: &[&str] = &["seed", "streams"];

/// Whether a published checkpoint's option must agree with ours of the same name.
pub fn is_compared(name: &str) -> bool {
    !FREE_ON_RESUME.contains(&name) && !OF_THEIR_DRAWS.contains(&name)
}

/// The configuration of a published checkpoint's network, read off its options. Where and how it ran is left at the
/// defaults, and so is what the published trainer has no option for, such as the dimensions of an unusual network.
///
/// # Errors
/// An option has a value that ours of the same name cannot have.
pub fn of_published(args: &[(String, Value)]) -> Result<RunConfig> {
    let mut table = values::defaults()?;
    // Half precision is how it was computed, not what.
    for (name, value) in args.iter().filter(|(name, _)| is_compared(name) && name != "use_fp16") {
        let Some(option) = table.get_mut(name) else { continue };
        let value = plain(value);
        *option =
            like(option, &value).with_context(|| format!("its option {name} is {value}, which is not known here"))?;
    }
    match table.try_into() {
        Ok(config) => Ok(config),
        Err(error) => bail!("its options are none that are known here: {}", error.message()),
    }
}

/// A value as one of the type that `option` has.
fn like(option: &Toml, value: &Json) -> Option<Toml> {
    match (option, value) {
        (Toml::String(_), Json::String(text)) => Some(Toml::String(text.clone())),
        (Toml::Boolean(_), Json::Bool(value)) => Some(Toml::Boolean(*value)),
        (Toml::Float(_), Json::Number(number)) => number.as_f64().map(Toml::Float),
        (Toml::Integer(_), Json::Number(number)) => number.as_i64().map(Toml::Integer),
        (Toml::Array(_), Json::Array(items)) => {
            items.iter().map(|item| item.as_f64().map(Toml::Float)).collect::<Option<_>>().map(Toml::Array)
        }
        // The published `size_crops` is a list of one.
        (option, Json::Array(items)) => match &items[..] {
            [only] => like(option, only),
            _ => None,
        },
        _ => None,
    }
}

/// Whether two options are the same: numbers by their value, and a list of one (the published `size_crops`) as its item.
pub fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Array(items), other) | (other, Json::Array(items)) => {
            matches!(&items[..], [only] if same(only, other))
        }
        _ => a == b,
    }
}

/// The text keys of a dict with their values; others are left out.
pub fn table(value: &Value) -> Option<Map<String, Json>> {
    let entry = |(key, value): &(Value, Value)| match key {
        Value::Str(name) => Some((name.clone(), plain(value))),
        _ => None,
    };
    Some(value.entries()?.iter().filter_map(entry).collect())
}

/// A plain value; what is none is only named.
pub fn plain(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Str(text) => text.as_str().into(),
        Value::List(items) | Value::Tuple(items) => items.iter().map(plain).collect(),
        Value::Dict(_) | Value::OrderedDict(_) => table(value).map_or(Json::Null, Json::Object),
        Value::Tensor(_) | Value::Opaque(_) => format!("<{}>", value.type_name()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: Vec<(&str, Value)>) -> Vec<(String, Value)> {
        list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn a_published_configuration_has_the_types_of_ours() {
        let config = of_published(&args(vec![
            ("arch", Value::text("vit_base")),
            ("clip_grad", Value::Int(3)),
            ("size_crops", Value::List(vec![Value::Int(64)])),
            ("global_crops_scale", Value::Tuple(vec![Value::Float(0.5), Value::Int(1)])),
            ("use_bn_in_head", Value::Bool(true)),
            // How and where it ran, and what is not ours.
            ("use_fp16", Value::Bool(true)),
            ("world_size", Value::Int(8)),
            ("data_path", Value::text("/elsewhere")),
            ("batch_size_per_gpu", Value::Int(4)),
            ("an_option_of_theirs", Value::None),
        ]));
        let expected = RunConfig {
            arch: "vit_base".into(),
            size_crops: 64,
            global_crops_scale: vec![0.5, 1.0],
            use_bn_in_head: true,
            ..RunConfig::default()
        };
        assert_eq!(config.unwrap(), expected);
        for wrong in [Value::text("sixteen"), Value::Float(1.5), Value::List(vec![Value::Int(8), Value::Int(16)])] {
            let error = format!("{:#}", of_published(&args(vec![("patch_size", wrong)])).unwrap_err());
            assert!(error.starts_with("its option patch_size is "), "{error}");
        }
    }

    #[test]
    fn options_are_the_same_by_value() {
        let json = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        for (a, b, expected) in [("1", "1.0", true), ("[96]", "96", true), ("96", "[96]", true), ("[1,2]", "1", false)]
        {
            assert_eq!(same(&json(a), &json(b)), expected, "{a} {b}");
        }
        assert!(same(&json("[0.25,1]"), &json("[0.25,1.0]")) && !same(&json("true"), &json("1")));
    }
}
