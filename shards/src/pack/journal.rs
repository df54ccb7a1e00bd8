//! What an unfinished pack remembers, so that it goes on where it was killed.
//!
//! `state.json` holds the source and the options and is written first. `journal.jsonl` gets a line when a shard is on
//! the disk: nothing that the journal does not name counts. Each line says how many samples of the order are done and
//! holds a checksum of them, so a source that has changed behind them does no harm, and one that has changed before is
//! seen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::PackConfig;
use super::order::Job;
use super::report::Counts;
use crate::checksum::{Checksum, Hasher};
use crate::manifest::ShardInfo;

pub(crate) const STATE: &str = "state.json";
pub(crate) const JOURNAL: &str = "journal.jsonl";

/// What began the pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) version: u32,
    /// Absolute.
    pub(crate) source: PathBuf,
    pub(crate) config: PackConfig,
}

/// The version of this folder's files; another one cannot be gone on with.
pub(crate) const VERSION: u32 = 1;

/// A step that is done and on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The shard; none for the last line, which ends the pack.
    pub(crate) shard: Option<ShardInfo>,
    /// How many samples of the order are done, those that were left out too.
    pub(crate) done: u64,
    /// The checksum of their keys, names, labels and lengths.
    pub(crate) order: Checksum,
    /// Length of the report in bytes.
    pub(crate) report_bytes: u64,
    pub(crate) counts: Counts,
}

/// The checksum of the samples that are done.
#[derive(Default)]
pub(crate) struct OrderDigest(Hasher);

impl OrderDigest {
    pub(crate) fn add(&mut self, job: &Job) {
        let mut part = |bytes: &[u8]| {
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        };
        part(job.key.as_bytes());
        part(job.name.as_encoded_bytes());
        part(&job.label.map_or([255; 8], |label| u64::from(label).to_le_bytes()));
        for member in std::iter::once(&job.picture).chain(&job.others) {
            part(member.extension.as_bytes());
            part(&member.length.to_le_bytes());
        }
    }

    pub(crate) fn value(&self) -> Checksum {
        self.0.finish()
    }
}

/// Reads the state; none if there is none, or one that was never finished being written.
pub(crate) fn read_state(folder: &Path) -> io::Result<Option<State>> {
    match fs::read(folder.join(STATE)) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(state) => Ok(Some(state)),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The journal, open for more lines.
pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Opens the journal and reads its lines; one that a kill cut short is taken off.
    pub(crate) fn open(folder: &Path) -> io::Result<(Self, Vec<Entry>)> {
        let path = folder.join(JOURNAL);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let (mut entries, mut whole) = (Vec::new(), 0);
        for line in text.split_inclusive('\n') {
            let Some(entry) = line.strip_suffix('\n').and_then(|line| serde_json::from_str(line).ok()) else { break };
            entries.push(entry);
            whole += line.len();
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(whole as u64)?;
        Ok((Self { file }, entries))
    }

    /// Adds a line and brings it to the disk.
    pub(crate) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(done: u64) -> Entry {
        Entry { shard: None, done, order: Checksum::of(b""), report_bytes: 7, counts: Counts::default() }
    }

    #[test]
    fn lines_come_back_and_a_torn_one_is_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, entries) = Journal::open(folder.path()).unwrap();
        assert_eq!(entries, []);
        (1..4).for_each(|done| journal.add(&entry(done)).unwrap());
        let path = folder.path().join(JOURNAL);
        let text = fs::read(&path).unwrap();
        let third = text.len() / 3 * 2;
        for cut in third..text.len() {
            fs::write(&path, &text[..cut]).unwrap();
            let (mut journal, entries) = Journal::open(folder.path()).unwrap();
            assert_eq!(entries, [entry(1), entry(2)], "cut at {cut}");
            journal.add(&entry(9)).unwrap();
            assert_eq!(Journal::open(folder.path()).unwrap().1, [entry(1), entry(2), entry(9)]);
        }
    }
}
