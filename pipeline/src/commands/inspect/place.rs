//! Where a run's files are, how far it is, and with which options.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mugs_compute::checkpoint::Value;
use mugs_shards::{MANIFEST, ShardSet};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::config::RunConfig;
use crate::config::foreign::{same, table};
use crate::train::steps_per_epoch;

/// The files of what was named; one that is not there is none.
#[derive(Debug, Default, PartialEq)]
pub struct Files {
    /// The newest checkpoint, or the one that was named.
    pub checkpoint: Option<PathBuf>,
    /// The options as the run wrote them.
    pub config: Option<PathBuf>,
    /// The epochs.
    pub log: Option<PathBuf>,
}

impl Files {
    /// Those of a run folder, or of a checkpoint and the log beside it.
    ///
    /// # Errors
    /// There is nothing of that name, or it is a folder without any of the files.
    pub fn of(run: &Path) -> Result<Files> {
        let shown = run.display();
        let data = fs::metadata(run)
            .with_context(|| format!("cannot read {shown}; it should be the folder of a run or a checkpoint (.pth)"))?;
        let there = |path: PathBuf| path.is_file().then_some(path);
        if !data.is_dir() {
            let log = there(run.with_file_name("log.txt"));
            return Ok(Files { checkpoint: Some(run.to_path_buf()), config: None, log });
        }
        let names = ["checkpoint.pth", "config.toml", "log.txt"];
        let [checkpoint, config, log] = names.map(|name| there(run.join(name)));
        let files = Files { checkpoint, config, log };
        ensure!(files != Files::default(), "{shown} is no run: it has none of {}", names.join(", "));
        Ok(files)
    }
}

/// How far a checkpoint is.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Epochs that are done.
    pub epochs_done: u64,
    /// Epochs of the whole run.
    pub epochs: Option<u64>,
    /// Steps of the epoch under way that are done.
    pub step: u64,
    /// Steps of an epoch, where they can be told.
    pub steps_per_epoch: Option<u64>,
    /// Steps of the whole run that are done.
    pub steps_done: Option<u64>,
    /// Whether all epochs are done.
    pub finished: bool,
}

impl Progress {
    /// Reads a checkpoint's place off its entries; none if it has no epoch. `folder` is where its run lies.
    pub fn of(root: &Value, options: Option<&Map<String, Json>>, folder: &Path) -> Option<Progress> {
        let own = root.get("mugs");
        let count = |value: Option<&Value>| match value {
            Some(Value::Int(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        let epochs_done = count(own.and_then(|own| own.get("epoch"))).or_else(|| count(root.get("epoch")))?;
        let step = count(own.and_then(|own| own.get("step"))).unwrap_or(0);
        let epochs = options.and_then(|options| options.get("epochs")?.as_u64());
        let updates = updates(root);
        let steps_per_epoch = match updates {
            // Steps that a loss scaler left out would make it a little less than it is.
            Some(updates) if epochs_done > 0 && updates >= step && (updates - step) % epochs_done == 0 => {
                Some((updates - step) / epochs_done)
            }
            _ => own.and_then(|own| of_data(own, folder)),
        };
        let steps_done = steps_per_epoch.map(|steps| epochs_done * steps + step).or(updates);
        let finished = epochs.is_some_and(|epochs| epochs_done >= epochs);
        Some(Progress { epochs_done, epochs, step, steps_per_epoch, steps_done, finished })
    }
}

/// The most updates that the optimiser counts for a parameter: frozen ones have fewer.
fn updates(root: &Value) -> Option<u64> {
    let state = root.get("optimizer")?.get("state")?.entries()?;
    let step = |(_, moments): &(Value, Value)| match moments.get("step")? {
        Value::Int(step) => u64::try_from(*step).ok(),
        Value::Float(step) => Some(*step as u64),
        Value::Tensor(step) if step.numel() == 1 => Some(step.double_value(&vec![0; step.dim()]) as u64),
        _ => None,
    };
    state.iter().filter_map(step).max()
}

/// Steps of an epoch from the data that our checkpoint was made with, if they are still there.
fn of_data(own: &Value, folder: &Path) -> Option<u64> {
    let (Value::Str(configuration), Value::Str(digest)) = (own.get("configuration")?, own.get("data")?) else {
        return None;
    };
    let config: RunConfig = serde_json::from_str(configuration).ok()?;
    let packed = fs::read_dir(folder.join("data-cache")).into_iter().flatten().flatten().map(|entry| entry.path());
    let places = std::iter::once(PathBuf::from(&config.data_path)).chain(packed);
    let sets = places.filter(|place| place.join(MANIFEST).is_file()).filter_map(|place| ShardSet::open(&place).ok());
    let set = sets.into_iter().find(|set| set.digest() == *digest)?;
    steps_per_epoch(&config, &set).ok()
}

/// The options of a run.
#[derive(Debug, Serialize)]
pub struct Options {
    /// Where they come from.
    pub from: String,
    /// By name.
    pub values: Map<String, Json>,
}

impl Options {
    /// Those of `config.toml`, or else those that the checkpoint holds.
    ///
    /// # Errors
    /// `config.toml` cannot be read.
    pub fn of(files: &Files, root: Option<&Value>) -> Result<Option<Options>> {
        if let Some(path) = &files.config {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let values = toml::from_str(&text).with_context(|| format!("{} is not valid TOML", path.display()))?;
            return Ok(Some(Options { from: path.display().to_string(), values }));
        }
        let (Some(path), Some(root)) = (&files.checkpoint, root) else { return Ok(None) };
        let from = path.display().to_string();
        let own = root.get("mugs").and_then(|own| match own.get("configuration")? {
            Value::Str(text) => serde_json::from_str(text).ok(),
            _ => None,
        });
        let values = own.or_else(|| match root.get("args")? {
            Value::Opaque(namespace) => namespace.state.as_deref().and_then(table),
            args => table(args),
        });
        Ok(values.map(|values| Options { from, values }))
    }

    /// Options whose values are not the defaults, and those that this program does not have; and the number of the rest.
    pub fn chosen(&self) -> (BTreeMap<&str, &Json>, usize) {
        let defaults = serde_json::to_value(RunConfig::default()).unwrap_or_default();
        let differs = |(name, value): &(&String, &Json)| defaults.get(name.as_str()).is_none_or(|d| !same(d, value));
        let chosen: BTreeMap<&str, &Json> =
            self.values.iter().filter(differs).map(|(name, value)| (name.as_str(), value)).collect();
        let rest = self.values.len() - chosen.len();
        (chosen, rest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::Tensor;

    use super::*;

    fn state(steps: &[i64]) -> Value {
        let moments = |(number, step): (usize, &i64)| {
            let step = Value::Tensor(Tensor::from_slice(&[*step as f32]).squeeze());
            (Value::Int(number as i64), Value::dict([("step", step)]))
        };
        Value::dict([("state", Value::Dict(steps.iter().enumerate().map(moments).collect()))])
    }

    #[test]
    fn a_checkpoint_s_place_follows_from_its_epoch_and_the_optimiser_s_count() {
        let options = json!({"epochs": 4});
        let own = Value::dict([("epoch", Value::Int(3)), ("step", Value::Int(2))]);
        let root = Value::dict([("epoch", Value::Int(3)), ("optimizer", state(&[12, 17])), ("mugs", own)]);
        let progress = Progress::of(&root, options.as_object(), Path::new(".")).unwrap();
        let expected = Progress {
            epochs_done: 3,
            epochs: Some(4),
            step: 2,
            steps_per_epoch: Some(5),
            steps_done: Some(17),
            finished: false,
        };
        assert_eq!(progress, expected);

        // A published one at its end, after a loss scaler left a step out.
        let root = Value::dict([("epoch", Value::Int(4)), ("optimizer", state(&[19]))]);
        let progress = Progress::of(&root, options.as_object(), Path::new(".")).unwrap();
        assert_eq!((progress.finished, progress.steps_per_epoch, progress.steps_done), (true, None, Some(19)));
        assert_eq!(Progress::of(&Value::dict([("student", Value::None)]), None, Path::new(".")), None);
    }

    #[test]
    fn options_that_are_not_the_defaults_are_told_from_the_rest() {
        let values = json!({"clip_grad": 3, "lr": 0.1, "loss_weights": [1, 1, 0], "use_bn_in_heads": false});
        let Json::Object(values) = values else { panic!() };
        let options = Options { from: String::new(), values };
        let (chosen, rest) = options.chosen();
        assert_eq!((chosen.into_keys().collect::<Vec<_>>(), rest), (vec!["loss_weights", "lr", "use_bn_in_heads"], 1));
    }

    #[test]
    fn a_folder_that_is_no_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Files::of(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is no run: it has none of checkpoint.pth, config.toml, log.txt"), "{error}");
        let error = Files::of(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none") && error.contains("folder of a run or a checkpoint"), "{error}");
    }
}
