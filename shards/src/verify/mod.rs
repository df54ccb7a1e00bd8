//! Reading every byte of a set again and saying where one is wrong.
//!
//! Whether a file is right is decided by its checksum in the manifest. Where it is wrong is then found by its parts:
//! the index gives every header, data and padding of a tar; a right tar gives every byte of its index.

mod compressed;
mod rebuild;
mod scan;
mod walk;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::Serialize;

use crate::checksum::Checksum;
use crate::error::ShardError;
use crate::index::Index;
use crate::manifest::{MANIFEST, Manifest, ShardInfo};
use crate::pack::{REPORT, WORK};
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
    /// What is odd but takes nothing from the set: pictures that decode with a warning of libjpeg, which are trained on
    /// as they are, and an unfinished pack in the set's folder.
    pub warnings: Vec<Problem>,
    /// Files in the folder that do not belong to the set; they do no harm.
    pub strays: Vec<String>,
}

/// Decodes a picture: its warning if it has one, or why it cannot be decoded.
pub type Decode<'a> = &'a (dyn Fn(&[u8]) -> Result<Option<String>, String> + Sync);

/// What verifying tells and asks its caller.
#[derive(Clone, Copy)]
pub struct VerifyHooks<'a> {
    /// Called with the number of bytes read since the last call, by several threads.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Once true, verifying ends early; the report then holds what was found so far.
    pub stop: &'a AtomicBool,
    /// Decodes every picture of the shards that are whole; none leaves pictures alone.
    pub decode: Option<Decode<'a>>,
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
    let verified = verify_shards(&set, workers, hooks);
    let manifest = set.manifest();
    let bytes = verified.iter().map(|shard| shard.bytes).sum();
    let duplicates = duplicate_keys(manifest, &verified);
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for shard in verified {
        problems.extend(shard.problems);
        warnings.extend(shard.warnings);
    }
    problems.extend(duplicates);
    let (unexpected, mut strays) = strays(&set)?;
    problems.extend(unexpected);
    warnings.extend(strays.extract_if(.., |name| name == WORK).map(unfinished));
    Ok(VerifyReport { shards: manifest.shards.len(), samples: manifest.samples, bytes, problems, warnings, strays })
}

/// Without a manifest nothing else can be told right from wrong.
fn damaged_manifest(reason: String) -> VerifyReport {
    let problem = Problem { file: MANIFEST.into(), key: None, offset: None, what: reason };
    VerifyReport { shards: 0, samples: 0, bytes: 0, problems: vec![problem], warnings: Vec::new(), strays: Vec::new() }
}

/// What verifying one shard found.
#[derive(Default)]
struct Verified {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    bytes: u64,
    keys: Vec<Arc<str>>,
}

/// What was found, in the order of the shards.
fn verify_shards(set: &ShardSet, workers: usize, hooks: VerifyHooks<'_>) -> Vec<Verified> {
    let shards = &set.manifest().shards;
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        while !hooks.stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(shard) = shards.get(number) else { break };
            let result = verify_shard(set, number, shard, hooks);
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
    found.into_iter().map(|(_, verified)| verified).collect()
}

fn verify_shard(set: &ShardSet, number: usize, shard: &ShardInfo, hooks: VerifyHooks<'_>) -> Verified {
    let path = set.folder().join(&shard.file);
    let (index, mut problems) = match set.read_index(shard) {
        Ok(index) => (Some(index), Vec::new()),
        Err(error) => (None, vec![index_problem(shard, &error)]),
    };
    let known = index.as_ref().map_or(&[][..], |index| &index.samples);
    let scanned = match shard.tar_bytes {
        Some(_) => compressed::scan(&path, shard, index.as_ref().unwrap_or(&Index::default()), hooks),
        None => scan::scan(&path, shard, known, set.manifest().foreign, hooks),
    };
    let (mut found, bytes) = match scanned {
        Ok(scanned) => (scanned.problems, scanned.bytes),
        Err(error) => (vec![unreadable(&shard.file, &error)], 0),
    };
    // A tar that is right tells what its index must be.
    if index.is_none()
        && found.is_empty()
        && shard.tar_bytes.is_none()
        && let Some(precise) = rebuild::compare(set, shard)
    {
        problems = vec![precise];
    }
    problems.append(&mut found);
    let mut verified = Verified { problems, bytes: bytes + shard.index_bytes, ..Verified::default() };
    verified.keys = known.iter().map(|sample| sample.key.clone()).collect();
    if let (Some(decode), true) = (hooks.decode, verified.problems.is_empty()) {
        decode_all(set, number, decode, hooks.stop, &mut verified);
    }
    verified
}

/// Decodes every picture of a shard that is whole.
fn decode_all(set: &ShardSet, number: usize, decode: Decode<'_>, stop: &AtomicBool, verified: &mut Verified) {
    let file = set.manifest().shards[number].file.clone();
    let reader = match set.open_shard(number) {
        Ok(reader) => reader,
        Err(error) => {
            return verified.problems.push(Problem { file, key: None, offset: None, what: error.to_string() });
        }
    };
    for sample in 0..reader.len() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = Some(reader.entry(sample).key.to_string());
        let offset = reader.entry(sample).picture().map(|picture| picture.offset);
        let problem = |what| Problem { file: file.clone(), key, offset, what };
        match reader.read(sample).map_err(|error| error.to_string()).and_then(|sample| decode(&sample.image)) {
            Ok(None) => {}
            Ok(Some(warning)) => verified.warnings.push(problem(warning)),
            Err(what) => verified.problems.push(problem(what)),
        }
    }
}

/// Keys that more than one shard has.
fn duplicate_keys(manifest: &Manifest, verified: &[Verified]) -> Vec<Problem> {
    let (mut first, mut problems) = (HashMap::new(), Vec::new());
    for (shard, found) in manifest.shards.iter().zip(verified) {
        for key in &found.keys {
            if let Some(other) = first.insert(key.clone(), &shard.file) {
                let what = format!("the key is in {other} too");
                problems.push(Problem { file: shard.file.clone(), key: Some(key.to_string()), offset: None, what });
            }
        }
    }
    problems
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
    let what = match error.kind() {
        io::ErrorKind::NotFound => "is missing".into(),
        _ => format!("cannot be read: {error}"),
    };
    Problem { file: file.into(), key: None, offset: None, what }
}

/// Files of the folder that the manifest does not know, sorted: those that look like shards, which readers that go by
/// their names would take for some, and others.
fn strays(set: &ShardSet) -> Result<(Vec<Problem>, Vec<String>), ShardError> {
    let shards = &set.manifest().shards;
    let known: HashSet<&str> = shards.iter().flat_map(|shard| [&*shard.file, &*shard.index]).collect();
    let fault = |source| ShardError::Io { path: set.folder().into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(set.folder()).map_err(fault)? {
        names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !known.contains(&**name) && name != MANIFEST && name != REPORT);
    names.sort();
    let looks_like_a_shard = |name: &String| [".tar", ".tar.zst", ".idx"].iter().any(|ending| name.ends_with(ending));
    let (unexpected, strays): (Vec<String>, Vec<String>) = names.into_iter().partition(looks_like_a_shard);
    let problem =
        |file| Problem { file, key: None, offset: None, what: "unexpected: the manifest does not know it".into() };
    Ok((unexpected.into_iter().map(problem).collect(), strays))
}

/// The work of a pack that was killed just before its end.
fn unfinished(file: String) -> Problem {
    let what = "an unfinished pack: start the same pack again to end it";
    Problem { file, key: None, offset: None, what: what.into() }
}

/// The problem of a whole file whose checksum is `found`.
fn whole_file(file: &str, found: Checksum, said: Checksum) -> Problem {
    let what = format!("its checksum is {found}, the manifest says {said}");
    Problem { file: file.into(), key: None, offset: None, what }
}
