//! The configuration as checkpoints hold it.

use anyhow::{Result, anyhow};
use mugs_compute::checkpoint::Value;

use crate::config::RunConfig;

/// The configuration as the published checkpoints hold it, under `args`.
pub fn arguments(config: &RunConfig) -> Result<Vec<(String, Value)>> {
    let serde_json::Value::Object(table) = serde_json::to_value(config)? else {
        return Err(anyhow!("a configuration is always a table"));
    };
    Ok(table.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

fn plain(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int(integer),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::Str(text),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(plain).collect()),
        serde_json::Value::Object(entries) => {
            Value::Dict(entries.into_iter().map(|(key, value)| (Value::Str(key), plain(value))).collect())
        }
    }
}
