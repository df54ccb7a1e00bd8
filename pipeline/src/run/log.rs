//! `log.txt`: one JSON object per epoch with the published keys, after a line with the arguments at each start.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mugs_data::bad::BadSamples;
use serde::{Deserialize, Serialize};

use crate::config::RunConfig;

/// Sums over the steps of the epoch under way. Part of every checkpoint, so that a resumed epoch logs the same means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSums {
    /// Steps summed up.
    pub steps: u64,
    /// Sum of the total loss.
    pub loss: f64,
    /// Sum of each loss term, by its published name (`instance-sup.` ...), in the order of the log.
    pub terms: Vec<(String, f64)>,
    /// Sum of the first group's learning rate.
    pub lr: f64,
    /// Sum of the first group's weight decay.
    pub wd: f64,
    /// Samples that were left out because they are bad. Absent from checkpoints of earlier versions.
    #[serde(default)]
    pub bad: BadSamples,
}

/// The means that a line of the log holds.
pub type EpochMeans = serde_json::Map<String, serde_json::Value>;

impl EpochSums {
    /// Adds one step.
    pub fn add(&mut self, loss: f64, terms: &[(String, f64)], lr: f64, wd: f64) {
        if self.terms.is_empty() {
            self.terms = terms.iter().map(|(name, _)| (name.clone(), 0.0)).collect();
        }
        for ((_, sum), (_, value)) in self.terms.iter_mut().zip(terms) {
            *sum += value;
        }
        self.steps += 1;
        self.loss += loss;
        self.lr += lr;
        self.wd += wd;
    }

    /// The epoch's line.
    pub fn means(&self, epoch: usize) -> EpochMeans {
        let n = self.steps.max(1) as f64;
        let mut line = EpochMeans::new();
        line.insert("loss".into(), (self.loss / n).into());
        for (name, sum) in &self.terms {
            line.insert(name.clone(), (sum / n).into());
        }
        line.insert("lr".into(), (self.lr / n).into());
        line.insert("wd".into(), (self.wd / n).into());
        line.insert("epoch".into(), epoch.into());
        if self.bad.count > 0 {
            line.insert("bad_samples".into(), self.bad.count.into());
        }
        line
    }
}

/// The file `log.txt` of a run.
pub struct RunLog {
    path: PathBuf,
}

impl RunLog {
    /// Opens the log for a run that starts, or goes on, in `epoch`: lines of epochs that will be done again go, so
    /// that a run killed after a line but before its checkpoint has every epoch once.
    pub fn open(folder: &Path, config: &RunConfig, epoch: usize) -> Result<Self> {
        let log = Self { path: folder.join("log.txt") };
        let before = match fs::read_to_string(&log.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", log.path.display())),
        };
        let mut text: String =
            before.lines().filter(|line| keeps(line, epoch)).map(|line| format!("{line}\n")).collect();
        text.push_str(&arguments(config)?);
        text.push('\n');
        super::folder::replace(&log.path, &text)?;
        Ok(log)
    }

    /// Appends an epoch's line and makes sure that it is on disk.
    pub fn epoch(&self, means: &EpochMeans) -> Result<()> {
        let line = serde_json::Value::from(means.clone());
        // Somebody may have moved it away.
        let written = fs::OpenOptions::new().append(true).create(true).open(&self.path).and_then(|mut file| {
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_all()
        });
        written.with_context(|| {
            format!("cannot write {}; append the epoch's line yourself before going on: {line}", self.path.display())
        })
    }
}

/// Whether a line of an earlier start stays: everything but finished epochs from `epoch` on.
fn keeps(line: &str, epoch: usize) -> bool {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(value) => value.get("epoch").and_then(serde_json::Value::as_u64).is_none_or(|e| (e as usize) < epoch),
        // A start's arguments, or what a crash left of a line: only the former is worth keeping.
        Err(_) => line.starts_with("Namespace("),
    }
}

/// The arguments as the published trainer prints them, so that tools that read its logs read ours.
fn arguments(config: &RunConfig) -> Result<String> {
    let toml::Value::Table(table) = toml::Value::try_from(config)? else {
        anyhow::bail!("a configuration is always a table");
    };
    let fields: Vec<String> = table.iter().map(|(name, value)| format!("{name}={}", python(value))).collect();
    Ok(format!("Namespace({})", fields.join(", ")))
}

fn python(value: &toml::Value) -> String {
    match value {
        toml::Value::Boolean(true) => "True".into(),
        toml::Value::Boolean(false) => "False".into(),
        toml::Value::String(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        toml::Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(loss: f64) -> EpochSums {
        let mut sums = EpochSums::default();
        sums.add(loss, &[("instance-sup.".into(), 1.0)], 0.5, 0.25);
        sums.add(loss + 2.0, &[("instance-sup.".into(), 2.0)], 0.5, 0.75);
        sums
    }

    #[test]
    fn a_line_holds_the_means_under_the_published_keys_in_their_order() {
        let line = serde_json::Value::from(sums(1.0).means(3)).to_string();
        assert_eq!(line, r#"{"loss":2.0,"instance-sup.":1.5,"lr":0.5,"wd":0.5,"epoch":3}"#);
    }

    #[test]
    fn a_log_that_was_moved_away_begins_anew_and_a_line_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = RunLog::open(folder.path(), &RunConfig::default(), 0).unwrap();
        fs::remove_file(&log.path).unwrap();
        log.epoch(&sums(1.0).means(0)).unwrap();
        let line = serde_json::Value::from(sums(1.0).means(0)).to_string();
        assert_eq!(fs::read_to_string(&log.path).unwrap(), format!("{line}\n"));

        fs::remove_file(&log.path).unwrap();
        fs::create_dir(&log.path).unwrap();
        let error = log.epoch(&sums(1.0).means(0)).unwrap_err().to_string();
        assert!(error.contains("log.txt; append the epoch's line yourself") && error.ends_with(&line), "{error}");
    }

    #[test]
    fn epochs_that_will_be_done_again_leave_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let config = RunConfig::default();
        let log = RunLog::open(folder.path(), &config, 0).unwrap();
        log.epoch(&sums(1.0).means(0)).unwrap();
        log.epoch(&sums(2.0).means(1)).unwrap();
        fs::OpenOptions::new().append(true).open(&log.path).unwrap().write_all(b"{\"loss\":1").unwrap();

        RunLog::open(folder.path(), &config, 1).unwrap();
        let text = fs::read_to_string(&log.path).unwrap();
        let starts: Vec<&str> = text.lines().map(|line| &line[..9]).collect();
        assert_eq!(starts, ["Namespace", "{\"loss\":2", "Namespace"]);
        assert!(text.contains("norm_last_layer=False") && text.contains("arch='vit_small'"), "{text}");
    }
}
