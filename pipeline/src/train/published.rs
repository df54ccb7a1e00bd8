//! Going on with a run of the published implementation: what its checkpoint does not say is taken from this run.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use mugs_compute::checkpoint::{Checkpoint, MugsState, Published, Value};
use mugs_data::order::default_streams;
use mugs_shards::ShardSet;
use serde_json::Value as Json;

use super::training::steps_per_epoch;
use crate::config::{FREE_ON_RESUME, RunConfig};
use crate::run::EpochSums;

/// Published options that say where and with how many processes it ran, or that are compared in another way.
const NOT_COMPARED: &[&str] = &[
    "batch_size_per_gpu",
    "ddpjob",
    "debug",
    "dist_url",
    "local_rank",
    "rank",
    "seed",
    "streams",
    "use_prefetcher",
    "world_size",
];

/// The checkpoint as one of a run with this configuration and these data, at the start of an epoch.
pub fn adopt(published: Published, path: &Path, config: &RunConfig, set: &ShardSet) -> Result<Checkpoint> {
    check(&published.args, config)?;
    let mut resolved = config.clone();
    if resolved.streams == 0 {
        resolved.streams = default_streams(1) as usize;
    }
    let per_epoch = steps_per_epoch(&resolved, set)?;
    let epoch = published.epoch as u64;
    tracing::warn!(
        "{} was written by the published implementation: going on at the start of epoch {epoch}, with the seed {}, the \
         order and the crops of this run; options that the file does not name are taken as given here",
        path.display(),
        config.seed
    );
    if let Some(steps) = published.steps().filter(|steps| *steps != epoch * per_epoch) {
        tracing::warn!(
            "its optimiser has taken {steps} steps in {epoch} epochs, but an epoch of these data has {per_epoch}: are \
             they the pictures that the run began with?"
        );
    }
    let mugs = MugsState {
        seed: config.seed,
        streams: resolved.streams as u64,
        global_batch: config.global_batch(1),
        epoch,
        step: 0,
        configuration: serde_json::to_string(&resolved)?,
        data: set.digest(),
        sums: serde_json::to_string(&EpochSums::default())?,
    };
    Ok(Checkpoint { state: published.state, epoch: published.epoch, args: published.args, mugs })
}

/// Compares the options of the same name, and the pictures of a step over all ranks.
fn check(args: &[(String, Value)], config: &RunConfig) -> Result<()> {
    let named = |wanted: &str| args.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let whole = |name: &str| match named(name) {
        Some(Value::Int(value)) => u64::try_from(*value).ok(),
        _ => None,
    };
    if let Some(batch) = whole("batch_size_per_gpu") {
        let (ranks, now) = (whole("world_size").unwrap_or(1), config.global_batch(1));
        let before = batch.saturating_mul(ranks);
        ensure!(
            before == now,
            "it was made with {batch} pictures a step on each of {ranks} ranks, {before} in all, now there are {now}: \
             --batch_size_per_gpu times --accumulate must be {before} on one rank"
        );
    }
    let changed = drift(args, config)?;
    if !changed.is_empty() {
        bail!("these options differ: {}; give the old values, or choose another --output_dir", changed.join(", "));
    }
    Ok(())
}

/// Options that differ, as `name: before -> now`.
fn drift(args: &[(String, Value)], config: &RunConfig) -> Result<Vec<String>> {
    let Json::Object(now) = serde_json::to_value(config)? else { bail!("a configuration is always a table") };
    let compared = |name: &str| !FREE_ON_RESUME.contains(&name) && !NOT_COMPARED.contains(&name);
    let difference = |(name, value): &(String, Value)| {
        let now = now.get(name).filter(|_| compared(name))?;
        let before = plain(value);
        (!same(&before, now)).then(|| format!("{name}: {before} -> {now}"))
    };
    Ok(args.iter().filter_map(difference).collect())
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Str(text) => text.as_str().into(),
        Value::List(items) | Value::Tuple(items) => items.iter().map(plain).collect(),
        _ => Json::Null,
    }
}

/// Whether two options are the same: numbers by their value, and a list of one (the published `size_crops`) as its item.
fn same(before: &Json, now: &Json) -> bool {
    match (before, now) {
        (Json::Number(before), Json::Number(now)) => before.as_f64() == now.as_f64(),
        (Json::Array(before), Json::Array(now)) => {
            before.len() == now.len() && before.iter().zip(now).all(|(before, now)| same(before, now))
        }
        (Json::Array(before), now) => matches!(&before[..], [only] if same(only, now)),
        (before, now) => before == now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(more: Vec<(&str, Value)>) -> Vec<(String, Value)> {
        let mut args = vec![
            ("arch", Value::text("vit_small")),
            ("lr", Value::Float(0.0008)),
            ("clip_grad", Value::Int(3)),
            ("size_crops", Value::List(vec![Value::Int(96)])),
            ("global_crops_scale", Value::Tuple(vec![Value::Float(0.25), Value::Int(1)])),
            ("loss_weights", Value::List([1.0, 1.0, 1.0].map(Value::Float).into())),
            ("data_path", Value::text("/elsewhere")),
            ("seed", Value::Int(7)),
            ("an_option_of_theirs", Value::None),
        ];
        args.extend(more);
        args.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn options_are_compared_by_name_and_value() {
        let mut config = RunConfig { clip_grad: 3.0, ..RunConfig::default() };
        assert!(drift(&args(vec![]), &config).unwrap().is_empty());
        config.size_crops = 32;
        config.global_crops_scale = vec![0.25, 0.5];
        config.arch = "vit_base".into();
        let changed = drift(&args(vec![]), &config).unwrap();
        let expected = [
            r#"arch: "vit_small" -> "vit_base""#,
            "size_crops: [96] -> 32",
            "global_crops_scale: [0.25,1] -> [0.25,0.5]",
        ];
        assert_eq!(changed, expected);
    }

    #[test]
    fn the_pictures_of_a_step_are_counted_over_all_ranks() {
        let ranks =
            |batch, ranks| args(vec![("batch_size_per_gpu", Value::Int(batch)), ("world_size", Value::Int(ranks))]);
        let config = RunConfig { batch_size_per_gpu: 64, clip_grad: 3.0, ..RunConfig::default() };
        check(&ranks(64, 1), &config).unwrap();
        check(&ranks(8, 8), &config).unwrap();
        let error = check(&ranks(64, 8), &config).unwrap_err().to_string();
        assert!(
            error.contains("512 in all, now there are 64: --batch_size_per_gpu times --accumulate must be 512"),
            "{error}"
        );
    }
}
