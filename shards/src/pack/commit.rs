//! Bringing finished shards to the disk while the next one is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::error::PackError;
use super::journal::{Entry, Journal};
use super::report::REPORT;
use super::writer::Finished;

/// A step to bring to the disk.
pub(crate) struct Step {
    /// The shard, unless this is the end.
    pub(crate) shard: Option<Finished>,
    /// What is to be added to the report.
    pub(crate) report: String,
    /// The journal's line; `report_bytes` is filled in here.
    pub(crate) entry: Entry,
    /// Files that are no longer needed once this is done.
    pub(crate) spent: Vec<PathBuf>,
}

/// The thread that brings steps to the disk, in their order, at most one behind.
pub(crate) struct Committer<'scope> {
    steps: Option<SyncSender<Step>>,
    thread: ScopedJoinHandle<'scope, Result<Vec<Entry>, PackError>>,
}

impl<'scope> Committer<'scope> {
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        folder: PathBuf,
        journal: Journal,
        entries: Vec<Entry>,
    ) -> Self {
        let (steps, received) = sync_channel(1);
        let thread = scope.spawn(move || commit_all(&folder, journal, entries, received));
        Self { steps: Some(steps), thread }
    }

    /// Hands a step over. False: the thread has ended with an error, which [`Committer::finish`] gives.
    pub(crate) fn send(&self, step: Step) -> bool {
        self.steps.as_ref().is_some_and(|steps| steps.send(step).is_ok())
    }

    /// Waits for the last step; gives all lines of the journal.
    pub(crate) fn finish(mut self) -> Result<Vec<Entry>, PackError> {
        drop(self.steps.take());
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn commit_all(
    folder: &Path,
    mut journal: Journal,
    mut entries: Vec<Entry>,
    steps: Receiver<Step>,
) -> Result<Vec<Entry>, PackError> {
    let mut report = Report::open(folder, entries.last().map_or(0, |entry| entry.report_bytes))?;
    for Step { shard, report: lines, mut entry, spent } in steps {
        if let Some(Finished { file, path, index, .. }) = shard {
            file.sync_all().map_err(|source| PackError::Write { path: path.clone(), source })?;
            let index_path = path.with_file_name(entry.shard.as_ref().map_or("", |shard| &shard.index));
            write_synced(&index_path, index.as_bytes())?;
        }
        entry.report_bytes = report.add(&lines)?;
        let fault = |source| PackError::Write { path: folder.into(), source };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault)?;
        journal.add(&entry).map_err(fault)?;
        entries.push(entry);
        for path in spent {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(PackError::Write { path, source: error });
                }
                _ => {}
            }
        }
    }
    Ok(entries)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), PackError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|source| PackError::Write { path: path.into(), source })
}

/// The report, made when there is something to say.
struct Report {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
}

impl Report {
    /// Opens the report that an earlier run left, without what it had not yet counted.
    fn open(folder: &Path, bytes: u64) -> Result<Self, PackError> {
        let path = folder.join(REPORT);
        let opened = match bytes {
            0 => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(None),
            },
            _ => OpenOptions::new().append(true).open(&path).and_then(|file| file.set_len(bytes).map(|()| Some(file))),
        };
        let file = opened.map_err(|source| PackError::Write { path: path.clone(), source })?;
        Ok(Self { path, file, bytes })
    }

    /// Adds lines and brings them to the disk; gives the report's length.
    fn add(&mut self, lines: &str) -> Result<u64, PackError> {
        if lines.is_empty() {
            return Ok(self.bytes);
        }
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => OpenOptions::new().create(true).append(true).open(&self.path),
        };
        let added = file.and_then(|mut file| {
            file.write_all(lines.as_bytes())?;
            file.sync_data()?;
            Ok(file)
        });
        self.file = Some(added.map_err(|source| PackError::Write { path: self.path.clone(), source })?);
        self.bytes += lines.len() as u64;
        Ok(self.bytes)
    }
}
