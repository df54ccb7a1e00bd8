//! Verifying a compressed shard: the file by its checksum, then each frame by what it decompresses to.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::scan::{Scanned, scan_part};
use super::{Problem, VerifyHooks, whole_file};
use crate::checksum::{Checksum, Hasher};
use crate::frames::{Fault, decompress};
use crate::index::{Frame, Index, SampleEntry};
use crate::manifest::ShardInfo;

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// Reads the whole shard at `path`. Without an index only its length and checksum are compared.
pub(crate) fn scan(path: &Path, shard: &ShardInfo, index: &Index, hooks: VerifyHooks<'_>) -> io::Result<Scanned> {
    let file = File::open(path)?;
    let (found, bytes) = checksum(&file, hooks)?;
    let mut problems = Vec::new();
    let mut samples = &index.samples[..];
    for frame in &index.frames {
        if hooks.stop.load(Ordering::Relaxed) {
            return Ok(Scanned { problems, bytes });
        }
        let within = samples.partition_point(|sample| sample.members[0].offset < frame.tar_offset + frame.tar_length);
        let (own, rest) = samples.split_at(within);
        samples = rest;
        match decompress(&file, frame) {
            Ok(content) => problems.extend(scan_part(&content, frame.tar_offset, shard, own, hooks)),
            Err(Fault::Io(error)) => return Err(error),
            Err(fault) => problems.push(broken(shard, frame, own, fault, bytes)),
        }
    }
    if problems.is_empty() && found != shard.xxh3 {
        problems.push(whole_file(&shard.file, found, shard.xxh3));
    }
    Ok(Scanned { problems, bytes })
}

/// The checksum and length of a file.
fn checksum(mut file: &File, hooks: VerifyHooks<'_>) -> io::Result<(Checksum, u64)> {
    let (mut hasher, mut bytes, mut piece) = (Hasher::default(), 0, vec![0; PIECE]);
    loop {
        let read = match file.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 || hooks.stop.load(Ordering::Relaxed) {
            return Ok((hasher.finish(), bytes));
        }
        hasher.update(&piece[..read]);
        bytes += read as u64;
        (hooks.progress)(read as u64);
    }
}

/// A frame that cannot be decompressed, and the samples that are lost with it.
fn broken(shard: &ShardInfo, frame: &Frame, samples: &[SampleEntry], fault: Fault, bytes: u64) -> Problem {
    let reason = match fault {
        Fault::Io(error) => error.to_string(),
        Fault::Truncated(end) => format!("truncated: the frame ends at {end}, the file at {bytes}"),
        Fault::Damaged(_, reason) => format!("the frame cannot be decompressed ({reason})"),
    };
    let (key, what) = match samples {
        [] => (None, reason),
        [only] => (Some(&only.key), reason),
        [first, .., last] => {
            (Some(&first.key), format!("{reason}; {} samples, to {}, are in it", samples.len(), last.key))
        }
    };
    Problem { file: shard.file.clone(), key: key.map(ToString::to_string), offset: Some(frame.offset), what }
}
