//! Going on with a run of the published implementation: what its checkpoint does not say is taken from this run.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use mugs_compute::checkpoint::{Checkpoint, MugsState, Published, Value};
use mugs_data::order::default_streams;
use mugs_shards::ShardSet;
use serde_json::Value as Json;

use super::training::steps_per_epoch;
use crate::config::foreign::{is_compared, plain, same};
use crate::config::{Allowed, Change, RunConfig, let_through};
use crate::run::EpochSums;

/// The checkpoint as one of a run with this configuration and these data, at the start of an epoch.
pub fn adopt(
    published: Published,
    path: &Path,
    config: &RunConfig,
    allowed: &[Allowed],
    set: &ShardSet,
) -> Result<Checkpoint> {
    check(&published.args, config, allowed)?;
    let mut resolved = config.clone();
    if resolved.streams == 0 {
        resolved.streams = default_streams(config.ranks()) as usize;
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
        global_batch: config.global_batch(),
        epoch,
        step: 0,
        configuration: serde_json::to_string(&resolved.of_any_rank())?,
        data: set.digest(),
        sums: serde_json::to_string(&EpochSums::default())?,
    };
    Ok(Checkpoint { state: published.state, epoch: published.epoch, args: published.args, mugs })
}

/// Compares the options of the same name, and the pictures of a step over all ranks.
fn check(args: &[(String, Value)], config: &RunConfig, allowed: &[Allowed]) -> Result<()> {
    let named = |wanted: &str| args.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let whole = |name: &str| match named(name) {
        Some(Value::Int(value)) => u64::try_from(*value).ok(),
        _ => None,
    };
    if let Some(batch) = whole("batch_size_per_gpu") {
        let (ranks, now) = (whole("world_size").unwrap_or(1), config.global_batch());
        let before = batch.saturating_mul(ranks);
        ensure!(
            before == now,
            "it was made with {batch} pictures a step on each of {ranks} ranks, {before} in all, now there are {now}: \
             {}",
            super::restore::way_out(before, config)
        );
    }
    let_through(drift(args, config)?, allowed)
}

/// Options that differ.
fn drift(args: &[(String, Value)], config: &RunConfig) -> Result<Vec<Change>> {
    let Json::Object(now) = serde_json::to_value(config)? else { bail!("a configuration is always a table") };
    let difference = |(name, value): &(String, Value)| {
        let now = now.get(name).filter(|_| is_compared(name))?;
        let before = plain(value);
        (!same(&before, now)).then(|| Change { name: name.clone(), before: before.to_string(), now: now.to_string() })
    };
    Ok(args.iter().filter_map(difference).collect())
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
        let drift = |config: &RunConfig| -> Vec<String> {
            drift(&args(vec![]), config).unwrap().iter().map(ToString::to_string).collect()
        };
        assert!(drift(&config).is_empty());
        config.size_crops = 32;
        config.global_crops_scale = vec![0.25, 0.5];
        config.arch = "vit_base".into();
        let changed = drift(&config);
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
        check(&ranks(64, 1), &config, &[]).unwrap();
        check(&ranks(8, 8), &config, &[]).unwrap();
        let error = check(&ranks(64, 8), &config, &[]).unwrap_err().to_string();
        assert!(
            error.contains("512 in all, now there are 64: --batch_size_per_gpu times --accumulate must be 512"),
            "{error}"
        );
    }
}
