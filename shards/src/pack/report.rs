//! What was left out, kept although it is bad, or is there twice: named in `report.jsonl`, counted in the result.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::source::BadItem;

/// The report's file name in the folder of a set. It is there only if there is something to report.
pub const REPORT: &str = "report.jsonl";

/// What packing did beside copying.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Samples left out, by kind: `empty`, `not_an_image`, `truncated`, `damaged`, `too_large`, `duplicate_key`,
    /// `no_picture`, `bad_label`.
    pub skipped: BTreeMap<String, u64>,
    /// Samples packed although they are bad, by kind.
    pub kept: BTreeMap<String, u64>,
    /// Samples whose picture has the same bytes as an earlier one's. They are packed.
    pub duplicate_content: u64,
    /// Pictures that were made smaller.
    pub reencoded: u64,
    /// Their bytes before.
    pub reencoded_from: u64,
    /// Their bytes after.
    pub reencoded_to: u64,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Line<'a> {
    sample: &'a str,
    kind: &'a str,
    action: &'a str,
    what: &'a str,
}

/// The counts and the lines that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    pub(crate) counts: Counts,
    text: String,
    /// The keys of the pictures so far by their checksums.
    seen: HashMap<u128, Box<str>>,
}

/// What became of a bad sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Skipped,
    Kept,
}

impl Reporter {
    pub(crate) fn resumed(counts: Counts) -> Self {
        Self { counts, ..Self::default() }
    }

    pub(crate) fn bad(&mut self, bad: &BadItem, action: Action) {
        let (counts, action) = match action {
            Action::Skipped => (&mut self.counts.skipped, "skipped"),
            Action::Kept => (&mut self.counts.kept, "kept"),
        };
        *counts.entry(bad.kind.to_string()).or_default() += 1;
        self.line(&bad.name.to_string_lossy(), &bad.kind, action, &bad.what);
    }

    /// Notes a picture; says so if it was there before.
    pub(crate) fn content(&mut self, key: &str, xxh3: Checksum) {
        match self.seen.get(&xxh3.value()) {
            Some(first) => {
                let what = format!("the same picture as {first}");
                self.counts.duplicate_content += 1;
                self.line(key, "duplicate_content", "kept", &what);
            }
            None => {
                self.seen.insert(xxh3.value(), key.into());
            }
        }
    }

    /// Notes a picture of a shard that an earlier run finished, which also reported on it.
    pub(crate) fn remember(&mut self, key: &str, xxh3: Checksum) {
        self.seen.entry(xxh3.value()).or_insert_with(|| key.into());
    }

    pub(crate) fn reencoded(&mut self, from: usize, to: usize) {
        self.counts.reencoded += 1;
        self.counts.reencoded_from += from as u64;
        self.counts.reencoded_to += to as u64;
    }

    /// The lines since the last call.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    fn line(&mut self, sample: &str, kind: &str, action: &str, what: &str) {
        let line = Line { sample, kind, action, what };
        // Plain texts always have a JSON form.
        self.text.push_str(&serde_json::to_string(&line).unwrap_or_default());
        self.text.push('\n');
    }
}
