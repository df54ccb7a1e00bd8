//! Shuffling a source that can only be read once, without room for it in memory.
//!
//! The place of a sample in the order of packing follows from its key. So while the source is read, each sample is
//! appended to one of some hundred buckets by its place; a line of `spilled.jsonl` says what it is and where it lies.
//! The buckets together are then read like any other source, one after the other, and each is removed when its last
//! sample is in a shard that is on the disk.
//!
//! Now and then everything is brought to the disk and `spilled.json` says how far it reaches. After a kill the source
//! is read again from its beginning (it cannot be read otherwise), but what is in the buckets already is only counted.

use std::collections::BinaryHeap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::folder::write_whole;
use super::order::{Given, Job, KeyGiver, Labels, Shuffle, sort};
use super::read::Origin;
use super::{Hooks, List, OnBadImage, PackConfig, PackError, Phase, Progress};
use crate::checksum::Checksum;
use crate::source::{BadItem, Label, Next, Notes, Part, Place, StreamSource, Streamed};

/// How far the buckets are on the disk.
pub(crate) const SPILLED: &str = "spilled.json";
const LINES: &str = "spilled.jsonl";

/// Bytes of the source in each bucket, so that one bucket's pictures lie close together on the disk.
const BUCKET: u64 = 128 << 20;
/// As many files as can be open at once.
const MOST_BUCKETS: u64 = 256;
/// Bytes after which all is brought to the disk.
const CHECKPOINT: u64 = 4 << 30;

/// How far the buckets are on the disk.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spilled {
    /// Samples of the source, bad ones too, that are dealt with.
    events: u64,
    /// Length of the lines.
    lines: u64,
    /// Length of each bucket.
    buckets: Vec<u64>,
    /// Whether the source was read to its end.
    whole: bool,
}

/// What a line says of a sample.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Sample {
        key: Box<str>,
        name: String,
        class: Option<String>,
        label: Option<u32>,
        bucket: u32,
        offset: u64,
        /// The picture, then the others, one after the other.
        members: Vec<(String, u64, Checksum)>,
    },
    Bad {
        bad: String,
        kind: String,
        what: String,
    },
}

/// The buckets and their lines.
pub(crate) struct Buckets<'a> {
    folder: PathBuf,
    config: &'a PackConfig,
    shuffle: Shuffle,
    state: Spilled,
    files: Vec<BufWriter<File>>,
    lines: BufWriter<File>,
    /// Samples to be dealt with of which the buckets know already.
    known: u64,
    /// With a limit: the places of the samples that may be within it, the last on top.
    first: BinaryHeap<u64>,
}

impl<'a> Buckets<'a> {
    /// Opens the buckets in the work folder, as they are on the disk or new, for a source of `bytes` bytes.
    pub(crate) fn open(folder: &Path, bytes: u64, config: &'a PackConfig, shuffle: Shuffle) -> Result<Self, PackError> {
        let path = folder.join(SPILLED);
        let fault = |source| PackError::Write { path: path.clone(), source };
        let state: Spilled = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| fault(error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let count = (bytes / BUCKET + 1).min(MOST_BUCKETS);
                Spilled { buckets: vec![0; count as usize], ..Spilled::default() }
            }
            Err(error) => return Err(fault(error)),
        };
        let (files, lines) = if state.whole {
            (Vec::new(), BufWriter::new(append(&folder.join(LINES), state.lines)?))
        } else {
            let files = state.buckets.iter().enumerate().map(|(number, length)| {
                append(&bucket(folder, number), *length).map(|file| BufWriter::with_capacity(1 << 16, file))
            });
            let files = files.collect::<Result<_, _>>()?;
            (files, BufWriter::new(append(&folder.join(LINES), state.lines)?))
        };
        let known = state.events;
        let folder = folder.to_path_buf();
        Ok(Self { folder, config, shuffle, state, files, lines, known, first: BinaryHeap::new() })
    }

    /// Reads the source into the buckets, as far as that is not done, and lists what is in them.
    pub(crate) fn fill(
        mut self,
        mut source: StreamSource,
        mut keys: KeyGiver,
        hooks: Hooks<'_>,
    ) -> Result<(List, Notes), PackError> {
        let (mut events, mut unsaved, mut before) = (0, 0, 0);
        while !self.state.whole {
            if hooks.stop.load(Ordering::Relaxed) {
                self.save(events)?;
                return Err(PackError::Stopped);
            }
            let next = source.stream.next()?;
            if matches!(next, Next::End) {
                self.state.whole = true;
                self.save(events)?;
                break;
            }
            events += 1;
            self.deal(next, &mut keys, events > self.known)?;
            let position = source.stream.position();
            unsaved += position - before;
            before = position;
            if unsaved >= CHECKPOINT && events > self.known {
                self.save(events)?;
                unsaved = 0;
            }
            let progress = Progress {
                phase: Phase::Reading,
                samples: events,
                total: 0,
                bytes: position,
                total_bytes: source.bytes,
            };
            (hooks.progress)(progress);
        }
        let notes = source.notes.with(|notes| notes.clone());
        Ok((self.list(source.classes)?, notes))
    }

    /// Gives a sample its key and, unless that was done by an earlier run, puts it into its bucket.
    fn deal(&mut self, next: Next, keys: &mut KeyGiver, new: bool) -> Result<(), PackError> {
        let sample = match next {
            Next::End => return Ok(()),
            Next::Bad(bad) if self.config.on_bad_image == OnBadImage::Fail => {
                return Err(PackError::BadSample { name: bad.name, reason: bad.what });
            }
            Next::Bad(bad) => return if new { self.bad(&bad) } else { Ok(()) },
            Next::Sample(sample) => sample,
        };
        let (key, bad) = match keys.give(&sample.name, sample.key.as_deref(), &sample.picture.0)? {
            Given::Key(key) => (Some(key), None),
            Given::Renamed(key, bad) => (Some(key), Some(bad)),
            Given::Skipped(bad) => (None, Some(bad)),
        };
        let within = key.filter(|key| self.within_limit(key));
        if !new {
            return Ok(());
        }
        bad.map_or(Ok(()), |bad| self.bad(&bad))?;
        within.map_or(Ok(()), |key| self.put(key, &sample))
    }

    /// Whether a sample may be among the first so many: only as many as asked for come before it so far.
    fn within_limit(&mut self, key: &str) -> bool {
        let Some(limit) = self.config.limit else { return true };
        let place = self.shuffle.place(key);
        if (self.first.len() as u64) < limit.get() {
            self.first.push(place);
            return true;
        }
        if self.first.peek().is_some_and(|last| place > *last) {
            return false;
        }
        self.first.pop();
        self.first.push(place);
        true
    }

    fn bad(&mut self, bad: &BadItem) -> Result<(), PackError> {
        let name = bad.name.to_string_lossy().into_owned();
        self.line(&Line::Bad { bad: name, kind: bad.kind.to_string(), what: bad.what.clone() })
    }

    fn put(&mut self, key: Box<str>, sample: &Streamed) -> Result<(), PackError> {
        let count = self.files.len() as u128;
        let number = ((u128::from(self.shuffle.place(&key)) * count) >> 64) as usize;
        let offset = self.state.buckets[number];
        let mut members = Vec::new();
        for (extension, bytes) in std::iter::once(&sample.picture).chain(&sample.others) {
            members.push((extension.to_string(), bytes.len() as u64, Checksum::of(bytes)));
            let written = self.files[number].write_all(bytes);
            written.map_err(|source| PackError::Write { path: bucket(&self.folder, number), source })?;
            self.state.buckets[number] += bytes.len() as u64;
        }
        let (class, label) = match &sample.label {
            Label::None => (None, None),
            Label::Class(class) => (Some(class.to_string()), None),
            Label::Number(number) => (None, Some(*number)),
        };
        let name = sample.name.to_string_lossy().into_owned();
        self.line(&Line::Sample { key, name, class, label, bucket: number as u32, offset, members })
    }

    fn line(&mut self, line: &Line) -> Result<(), PackError> {
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            self.state.lines += text.len() as u64;
            self.lines.write_all(&text)
        });
        written.map_err(|source| PackError::Write { path: self.folder.join(LINES), source })
    }

    /// Brings everything to the disk and says so.
    fn save(&mut self, events: u64) -> Result<(), PackError> {
        if events < self.known {
            // An earlier run came further; what it wrote stands.
            return Ok(());
        }
        let mut files = self.files.iter_mut().chain([&mut self.lines]);
        let saved = files.try_for_each(|file| file.flush().and_then(|()| file.get_ref().sync_data()));
        saved.map_err(|source| PackError::Write { path: self.folder.clone(), source })?;
        self.state.events = events;
        let text = serde_json::to_vec(&self.state);
        let text = text.map_err(|error| PackError::Write { path: self.folder.join(SPILLED), source: error.into() })?;
        write_whole(&self.folder, SPILLED, &text)
    }

    /// What is in the buckets, in the order of packing.
    fn list(self, classes: crate::source::Classes) -> Result<List, PackError> {
        let path = self.folder.join(LINES);
        let text = fs::read_to_string(&path).map_err(|source| PackError::Read { path: path.clone(), source })?;
        let (mut items, mut bad) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let line: Line = serde_json::from_str(line)
                .map_err(|error| PackError::Read { path: path.clone(), source: error.into() })?;
            match line {
                Line::Bad { bad: name, kind, what } => bad.push(BadItem { name: name.into(), kind: kind.into(), what }),
                Line::Sample { key, name, class, label, bucket, offset, members } => {
                    let label = match (class, label) {
                        (Some(class), _) => Label::Class(class.into()),
                        (None, Some(number)) => Label::Number(number),
                        (None, None) => Label::None,
                    };
                    items.push((key, OsString::from(name).into_boxed_os_str(), label, parts(bucket, offset, members)));
                }
            }
        }
        let labels = Labels::new(classes, items.iter().map(|(_, name, label, _)| (label, &**name)))?;
        let jobs = items.into_iter().map(|(key, name, label, mut parts)| {
            let label = labels.number(&label, &name)?;
            // The picture is the first of them; a line without members was never written.
            let picture = if parts.is_empty() { None } else { Some(parts.remove(0)) };
            Ok(picture.map(|picture| Job { key, name, label, picture, others: parts }))
        });
        let mut jobs: Vec<Job> = jobs.filter_map(Result::transpose).collect::<Result<_, PackError>>()?;
        sort(&mut jobs, self.shuffle);
        let files: Vec<PathBuf> = (0..self.state.buckets.len()).map(|number| bucket(&self.folder, number)).collect();
        let spent = spent(&jobs, &files);
        Ok(List { origin: Origin { root: self.folder, files }, jobs, classes: labels.into_names(), bad, spent })
    }
}

/// After how many jobs each bucket is read.
fn spent(jobs: &[Job], files: &[PathBuf]) -> Vec<(u64, PathBuf)> {
    let bucket = |job: &Job| if let Place::Range { file, .. } = job.picture.place { file } else { 0 };
    let after = |number: usize| jobs.partition_point(|job| bucket(job) as usize <= number) as u64;
    files.iter().enumerate().map(|(number, path)| (after(number), path.clone())).collect()
}

fn parts(bucket: u32, offset: u64, members: Vec<(String, u64, Checksum)>) -> Vec<Part> {
    let mut offset = offset;
    let part = |(extension, length, xxh3): (String, u64, Checksum)| {
        let place = Place::Range { file: bucket, offset };
        offset += length;
        Part { extension: Arc::from(extension), place, length, xxh3: Some(xxh3) }
    };
    members.into_iter().map(part).collect()
}

fn bucket(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("bucket-{number:03}"))
}

/// Opens a file to add to what its first `length` bytes are.
fn append(path: &Path, length: u64) -> Result<File, PackError> {
    let opened = OpenOptions::new().create(true).append(true).open(path).and_then(|file| {
        if file.metadata()?.len() < length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "shorter than it was"));
        }
        file.set_len(length)?;
        Ok(file)
    });
    opened.map_err(|source| PackError::Write { path: path.into(), source })
}
