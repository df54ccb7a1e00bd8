//! `log.txt` of a run, ours or a published one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Map, Value};

/// The key of the total loss.
pub const TOTAL: &str = "loss";

/// What a log says.
#[derive(Debug, Serialize)]
pub struct Log {
    /// The file, as it was named.
    pub path: String,
    /// Starts of the run: the lines with its arguments.
    pub starts: usize,
    /// Lines that are neither a start nor an epoch.
    pub unreadable: usize,
    /// Finished epochs in their order, each once: the last line counts.
    pub epochs: Vec<Epoch>,
}

/// The line of one epoch.
#[derive(Debug, Serialize)]
pub struct Epoch {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Means over its steps by published key: `loss`, `instance-sup.` ..., `lr`, `wd`. Null where one is not finite.
    pub means: Map<String, Value>,
}

impl Log {
    /// Reads a log.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Log> {
        let bytes = fs::read(path).with_context(|| format!("cannot read the log {}", path.display()))?;
        let mut log = Log { path: path.display().to_string(), starts: 0, unreadable: 0, epochs: Vec::new() };
        for line in String::from_utf8_lossy(&bytes).lines().map(str::trim).filter(|line| !line.is_empty()) {
            match epoch(line) {
                Some(epoch) => log.add(epoch),
                None if line.starts_with("Namespace(") => log.starts += 1,
                None => log.unreadable += 1,
            }
        }
        Ok(log)
    }

    /// Reads the log that a run is compared with: a file, or the `log.txt` of a folder.
    ///
    /// # Errors
    /// The file cannot be read, or holds no epoch.
    pub fn read_other(path: &Path) -> Result<Log> {
        let log = if path.is_dir() { Log::read(&path.join("log.txt")) } else { Log::read(path) }?;
        ensure!(
            log.epochs.iter().any(|epoch| epoch.means.contains_key(TOTAL)),
            "{} has no finished epoch: a log has a line like {{\"loss\": 8.1, \"lr\": 0.0008, \"epoch\": 0}} for each",
            log.path
        );
        Ok(log)
    }

    /// The keys of the log's losses, the total first.
    pub fn losses(&self) -> Vec<String> {
        let mut keys = vec![TOTAL.to_owned()];
        for key in self.epochs.iter().flat_map(|epoch| epoch.means.keys()) {
            if key.ends_with("-sup.") && !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }

    /// The finite values under a key by epoch.
    pub fn curve(&self, key: &str) -> Vec<(f64, f64)> {
        let value = |epoch: &Epoch| Some((epoch.epoch as f64, epoch.means.get(key)?.as_f64()?));
        self.epochs.iter().filter_map(value).collect()
    }

    fn add(&mut self, epoch: Epoch) {
        match self.epochs.binary_search_by_key(&epoch.epoch, |known| known.epoch) {
            Ok(place) => self.epochs[place] = epoch,
            Err(place) => self.epochs.insert(place, epoch),
        }
    }
}

/// A line of an epoch. Python writes numbers that JSON does not have.
fn epoch(line: &str) -> Option<Epoch> {
    let parsed = serde_json::from_str(line).or_else(|error| match line.starts_with('{') {
        true => {
            serde_json::from_str(&line.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null"))
        }
        false => Err(error),
    });
    let Ok(Value::Object(mut means)) = parsed else { return None };
    let epoch = means.shift_remove("epoch")?.as_u64()?;
    Some(Epoch { epoch, means })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A log with these lines.
    pub fn log(lines: &str) -> Log {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.txt");
        fs::write(&path, lines).unwrap();
        Log { path: "log.txt".into(), ..Log::read(&path).unwrap() }
    }

    #[test]
    fn epochs_are_read_in_order_and_the_last_line_of_each_counts() {
        let log = log("Namespace(lr=0.1)\n\
             {\"loss\": 4.0, \"group-sup.\": 5.0, \"lr\": 0.5, \"epoch\": 0}\n\
             {\"loss\": NaN, \"lr\": -Infinity, \"epoch\": 1}\n\
             Namespace(lr=0.1)\n\
             {\"loss\": 2.0, \"instance-sup.\": 1.0, \"epoch\": 2}\n\
             {\"loss\": 3.0, \"epoch\": 0}\n\
             {\"loss\": 1.\n");
        assert_eq!((log.starts, log.unreadable), (2, 1));
        assert_eq!(log.curve("loss"), [(0.0, 3.0), (2.0, 2.0)]);
        assert_eq!(log.curve("lr"), []);
        assert_eq!(log.losses(), ["loss", "instance-sup."]);
    }

    #[test]
    fn a_file_without_epochs_is_no_log_to_compare_with() {
        let folder = tempfile::tempdir().unwrap();
        let missing = format!("{:#}", Log::read_other(&folder.path().join("none.txt")).unwrap_err());
        assert!(missing.contains("none.txt"), "{missing}");
        fs::write(folder.path().join("log.txt"), "hello\n").unwrap();
        let empty = Log::read_other(folder.path()).unwrap_err().to_string();
        assert!(empty.contains("log.txt has no finished epoch"), "{empty}");
    }
}
