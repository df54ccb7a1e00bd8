//! What differs between a run's options and those that it is to go on with, and which differences may pass.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use toml::Table;

use super::{FREE_ON_RESUME, RunConfig, values};

/// An option that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The option.
    pub name: String,
    /// Its value so far.
    pub before: String,
    /// Its value from now on.
    pub now: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.name, self.before, self.now)
    }
}

/// Options that differ between a run's configuration and the one it is resumed with, free ones left out.
pub fn drift(before: &RunConfig, now: &RunConfig) -> Result<Vec<Change>> {
    let (before, now) = (Table::try_from(before)?, Table::try_from(now)?);
    let differs = |(name, value): &(&String, &toml::Value)| {
        !FREE_ON_RESUME.contains(&name.as_str()) && before.get(name.as_str()) != Some(value)
    };
    let change = |(name, value): (&String, &toml::Value)| Change {
        name: name.clone(),
        before: before.get(name).map_or_else(|| "absent".to_owned(), ToString::to_string),
        now: value.to_string(),
    };
    Ok(now.iter().filter(differs).map(change).collect())
}

/// An option whose drift the user lets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(String);

impl FromStr for Allowed {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.trim().replace('-', "_");
        if name == values::RECIPE {
            bail!("a recipe is many options: name those that the error names");
        }
        values::known(&name)?;
        match FIXED.iter().find(|(names, _)| names.contains(&&*name)) {
            Some((_, reason)) => bail!("{name} cannot change within a run: {reason}"),
            None => Ok(Self(name)),
        }
    }
}

/// Options that stay whatever the user says, and why.
const FIXED: &[(&[&str], &str)] = &[
    (
        &[
            "arch",
            "patch_size",
            "embed_dim",
            "depth",
            "head_hidden_dim",
            "predictor_hidden_dim",
            "use_bn_in_head",
            "instance_out_dim",
            "local_group_out_dim",
            "group_out_dim",
            "group_bottleneck_dim",
            "global_crops_size",
        ],
        "the weights of the checkpoint would not fit the network",
    ),
    (&["num_heads"], "the weights of the attention were learned for the heads that they are divided into"),
    (
        &["instance_queue_size", "local_group_queue_size"],
        "the queues and memories of the checkpoint would have another size",
    ),
    (
        &["loss_weights"],
        "it says which heads, queues and memories there are, and those of the checkpoint would not fit",
    ),
    (&["optimizer", "norm_last_layer"], "what the optimiser keeps of each parameter would not fit"),
    (
        &["batch_size_per_gpu", "accumulate"],
        "their product is the pictures of a step, in which the position in the data is counted; with the same product, \
         either may differ anyway",
    ),
    (
        &["seed", "streams", "shuffle_block"],
        "the order of the pictures follows from it, and the checkpoint's position would mean other pictures",
    ),
    (&["data_path"], "the position counts the samples of one data set; the same set may lie somewhere else anyway"),
];

/// Lets the changes pass that are allowed, each with a warning.
///
/// # Errors
/// The others, by name.
pub fn let_through(changes: Vec<Change>, allowed: &[Allowed]) -> Result<()> {
    let (allowed, others): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| allowed.iter().any(|Allowed(name)| *name == change.name));
    if let [first, ..] = &others[..] {
        let list: Vec<String> = others.iter().map(ToString::to_string).collect();
        let fixed = |change: &Change| FIXED.iter().any(|(names, _)| names.contains(&&*change.name));
        let name = others.iter().find(|change| !fixed(change)).unwrap_or(first).name.as_str();
        let way_out = match others.iter().all(fixed) {
            true => String::new(),
            false => format!(", let one pass with --allow_drift {name}"),
        };
        bail!(
            "these options differ: {}; give the old values{way_out}, or choose another --output_dir",
            list.join(", ")
        );
    }
    for change in allowed {
        tracing::warn!(
            "going on with another {}: {} until now, {} from here on",
            change.name,
            change.before,
            change.now
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Fix;
    use super::*;

    #[test]
    fn drift_names_what_differs_and_lets_free_options_pass() {
        let before = RunConfig::default();
        let named =
            |now: &RunConfig| -> Vec<String> { drift(&before, now).unwrap().iter().map(ToString::to_string).collect() };
        let now = RunConfig { lr: 0.5, num_workers: 7, max_steps: 3, ..RunConfig::default() };
        assert_eq!(named(&now), ["lr: 0.0008 -> 0.5"]);
        // Another pixel limit is another idea of what is bad, which may change; another way of decoding may not.
        let now = RunConfig { max_pixels: 1 << 30, jpeg: "fast".into(), ..RunConfig::default() };
        assert_eq!(named(&now), [r#"jpeg: "exact" -> "fast""#]);
        let now = RunConfig { fix: vec![Fix::MemoryRows], ..RunConfig::default() };
        assert_eq!(named(&now), [r#"fix: [] -> ["memory_rows"]"#]);
    }

    #[test]
    fn what_is_allowed_passes_and_the_rest_is_named() {
        let before = RunConfig::default();
        let now = RunConfig { lr: 0.5, prob: 0.25, arch: "vit_base".into(), ..RunConfig::default() };
        let through = |now: &RunConfig, allowed: &[&str]| {
            let allowed: Vec<Allowed> = allowed.iter().map(|name| name.parse().unwrap()).collect();
            let_through(drift(&before, now).unwrap(), &allowed).map_err(|error| error.to_string())
        };
        let error = through(&now, &["lr", "min_lr"]).unwrap_err();
        let expected = "these options differ: arch: \"vit_small\" -> \"vit_base\", prob: 0.5 -> 0.25; give the old \
                        values, let one pass with --allow_drift prob, or choose another --output_dir";
        assert_eq!(error, expected);
        let error = through(&now, &["lr", "prob"]).unwrap_err();
        assert!(error.contains("vit_base") && !error.contains("--allow_drift"), "{error}");
        through(&RunConfig { arch: before.arch.clone(), ..now }, &["lr", "prob"]).unwrap();
        through(&before, &[]).unwrap();
    }

    #[test]
    fn what_cannot_change_is_refused_with_the_reason_and_what_does_not_exist_by_its_neighbour() {
        for (name, sentence) in [
            ("group-out-dim", "group_out_dim cannot change within a run: the weights of the checkpoint would not fit"),
            ("streams", "the checkpoint's position would mean other pictures"),
            ("accumulate", "the pictures of a step"),
            ("weight_decai", "there is no option `weight_decai`; the nearest is `weight_decay`"),
            ("recipe", "name those that the error names"),
        ] {
            let error = name.parse::<Allowed>().unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
        assert_eq!("weight-decay".parse::<Allowed>().unwrap(), Allowed("weight_decay".into()));
    }

    #[test]
    fn every_option_that_is_named_exists() {
        let all = values::defaults().unwrap();
        let fixed = FIXED.iter().flat_map(|(names, _)| *names);
        for name in FREE_ON_RESUME.iter().chain(fixed) {
            assert!(all.contains_key(*name), "{name}");
        }
    }

    /// Values of the layout that a run's tensors have: options that change a shape or a name, by changing them.
    #[test]
    fn what_changes_a_network_s_tensors_is_fixed() {
        use mugs_compute::trainer::Trainer;
        use tch::Device;

        let tiny = RunConfig {
            embed_dim: 16,
            depth: 1,
            num_heads: 2,
            head_hidden_dim: 8,
            predictor_hidden_dim: 8,
            instance_out_dim: 8,
            instance_queue_size: 8,
            local_group_out_dim: 8,
            local_group_queue_size: 8,
            local_group_knn_top_n: 2,
            group_out_dim: 8,
            group_bottleneck_dim: 8,
            global_crops_size: 32,
            size_crops: 16,
            ..RunConfig::default()
        };
        let shapes = |config: &RunConfig| -> Option<Vec<(String, Vec<i64>)>> {
            let train = config.training().ok()?;
            let state = Trainer::new(&config.model().ok()?, &train, 0, Device::Cpu).ok()?.state();
            let losses = state.losses.into_iter().flat_map(|(_, tensors)| tensors);
            let all = state.student.into_iter().chain(state.student_memory).chain(losses);
            let groups = state.optimizer.groups.into_iter().flat_map(|group| group.parameters);
            let groups = groups.map(|name| (name, Vec::new()));
            Some(all.map(|(name, tensor)| (name, tensor.size())).chain(groups).collect())
        };
        let before = shapes(&tiny).unwrap();
        for (name, value) in Table::try_from(&tiny).unwrap() {
            let other = match &value {
                toml::Value::Integer(number) => toml::Value::Integer(2 * number),
                toml::Value::Boolean(on) => toml::Value::Boolean(!on),
                toml::Value::Array(items) if name == "loss_weights" => toml::Value::Array(
                    items.iter().map(|_| toml::Value::Float(0.0)).take(2).chain([1.0.into()]).collect(),
                ),
                _ => continue,
            };
            let mut table = Table::try_from(&tiny).unwrap();
            table.insert(name.clone(), other);
            let changed = shapes(&table.try_into().unwrap()).is_some_and(|shapes| shapes != before);
            let fixed = FIXED.iter().any(|(names, _)| names.contains(&&*name));
            assert!(fixed || !changed, "{name} changes the tensors of a run");
        }
    }
}
