//! Reading every byte of a set again and saying where one is wrong.
//!
//! Whether a file is right is decided by its checksum in the manifest. Where it is wrong is then found by its parts:
//! the index gives every header, data and padding of a tar; a right tar gives every byte of its index.

mod rebuild;
mod scan;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::Serialize;

use crate::checksum::Checksum;
use crate::error::ShardError;
use crate::manifest::{MANIFEST, ShardInfo};
use crate::set::ShardSet;

/// Something that is not as it was packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file of the set.
    pub file: String,
    /// The sample, if the bytes at fault belong to one.
    pub key: Option<String>,
    /// The first wrong byte, or the start of the data that hold it, in bytes from the start of the file; none where
    /// only the file as a whole is known to be wrong.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Shards of the set by its manifest.
    pub shards: usize,
    /// Samples of the set by its manifest.
    pub samples: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// All that is wrong, by shard. Empty: every byte is as it was packed.
    pub problems: Vec<Problem>,
    /// Files in the folder that do not belong to the set; they do no harm.
    pub strays: Vec<String>,
}

/// What verifying tells and asks its caller.
#[derive(Clone, Copy)]
pub struct VerifyHooks<'a> {
    /// Called with the number of bytes read since the last call, by several threads.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Once true, verifying ends early; the report then holds what was found so far.
    pub stop: &'a AtomicBool,
}

/// Verifies the set in `folder` with `workers` threads.
///
/// # Errors
/// The folder cannot be read, is no set, or was written by a newer program. Everything else is a [`Problem`].
pub fn verify(folder: &Path, workers: usize, hooks: VerifyHooks<'_>) -> Result<VerifyReport, ShardError> {
    let set = match ShardSet::open_partial(folder) {
        Ok(set) => set,
        Err(ShardError::Manifest { reason, .. }) => return Ok(damaged_manifest(reason)),
        Err(error) => return Err(error),
    };
    let (problems, bytes) = verify_shards(&set, workers, hooks);
    let manifest = set.manifest();
    let strays = strays(&set)?;
    Ok(VerifyReport { shards: manifest.shards.len(), samples: manifest.samples, bytes, problems, strays })
}

/// Without a manifest nothing else can be told right from wrong.
fn damaged_manifest(reason: String) -> VerifyReport {
    let problem = Problem { file: MANIFEST.into(), key: None, offset: None, what: reason };
    VerifyReport { shards: 0, samples: 0, bytes: 0, problems: vec![problem], strays: Vec::new() }
}

/// The problems in the order of the shards, and the bytes read.
fn verify_shards(set: &ShardSet, workers: usize, hooks: VerifyHooks<'_>) -> (Vec<Problem>, u64) {
    let shards = &set.manifest().shards;
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        while !hooks.stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(shard) = shards.get(number) else { break };
            let result = verify_shard(set, shard, hooks);
            found.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers.clamp(1, shards.len()) {
            scope.spawn(work);
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(number, _)| *number);
    let bytes = found.iter().map(|(_, (_, bytes))| bytes).sum();
    (found.into_iter().flat_map(|(_, (problems, _))| problems).collect(), bytes)
}

/// The problems of one shard, and the bytes read.
fn verify_shard(set: &ShardSet, shard: &ShardInfo, hooks: VerifyHooks<'_>) -> (Vec<Problem>, u64) {
    let path = set.folder().join(&shard.file);
    let (entries, mut problems) = match set.read_index(shard) {
        Ok(index) => (Some(index.samples), Vec::new()),
        Err(error) => (None, vec![index_problem(shard, &error)]),
    };
    let scanned = scan::scan(&path, shard, entries.as_deref().unwrap_or_default(), hooks);
    let (mut found, bytes) = match scanned {
        Ok(scanned) => (scanned.problems, scanned.bytes),
        Err(error) => (vec![unreadable(&shard.file, &error)], 0),
    };
    // A tar that is right tells what its index must be.
    if entries.is_none()
        && found.is_empty()
        && let Some(precise) = rebuild::compare(set, shard)
    {
        problems = vec![precise];
    }
    problems.append(&mut found);
    (problems, bytes + shard.index_bytes)
}

fn index_problem(shard: &ShardInfo, error: &ShardError) -> Problem {
    let (offset, what) = match error {
        ShardError::Index { offset, reason, .. } => (*offset, reason.clone()),
        ShardError::Io { source, .. } => return unreadable(&shard.index, source),
        ShardError::Size { expected, found, .. } => {
            (Some(*expected.min(found)), format!("it has {found} bytes, the manifest says {expected}"))
        }
        other => (None, other.to_string()),
    };
    Problem { file: shard.index.clone(), key: None, offset, what }
}

fn unreadable(file: &str, error: &io::Error) -> Problem {
    Problem { file: file.into(), key: None, offset: None, what: format!("cannot be read: {error}") }
}

/// Files of the folder that the manifest does not know, sorted.
fn strays(set: &ShardSet) -> Result<Vec<String>, ShardError> {
    let shards = &set.manifest().shards;
    let known = |name: &str| name == MANIFEST || shards.iter().any(|shard| shard.file == name || shard.index == name);
    let fault = |source| ShardError::Io { path: set.folder().into(), source };
    let mut strays = Vec::new();
    for entry in fs::read_dir(set.folder()).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
        if !known(&name) {
            strays.push(name);
        }
    }
    strays.sort();
    Ok(strays)
}

/// The problem of a whole file whose checksum is `found`.
fn whole_file(file: &str, found: Checksum, said: Checksum) -> Problem {
    let what = format!("its checksum is {found}, the manifest says {said}");
    Problem { file: file.into(), key: None, offset: None, what }
}
