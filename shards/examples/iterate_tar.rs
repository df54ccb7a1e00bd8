//! Iterates over a tar file through a memory map and prints how long that took.
//!
//! ```text
//! iterate_tar TAR touch|checksum PASSES
//! ```
//!
//! `touch` takes each member's length, first and last byte; `checksum` the XXH3 of each member's bytes. Each pass
//! opens the file anew. One JSON line says what was read, so that programs that do the same work can be compared.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use mugs_shards::tar::{MappedTar, MemberKind};
use xxhash_rust::xxh3::xxh3_64;

/// What one pass read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Read {
    members: u64,
    bytes: u64,
    /// Sum, modulo 2^64, of what the work gave for each member.
    check: u64,
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [tar, work, passes] = &args[..] else { bail!("usage: iterate_tar TAR touch|checksum PASSES") };
    let (path, passes) = (PathBuf::from(tar), passes.parse::<usize>().context("PASSES must be a number")?);
    let work: fn(&[u8]) -> u64 = match work.as_str() {
        "touch" => touch,
        "checksum" => xxh3_64,
        other => bail!("{other:?} is neither touch nor checksum"),
    };
    let first = pass(&path, work)?;
    let mut seconds = Vec::with_capacity(passes);
    for _ in 0..passes {
        let start = Instant::now();
        let read = pass(&path, work)?;
        seconds.push(start.elapsed().as_secs_f64());
        if read != first {
            bail!("{} changed while it was read", path.display());
        }
    }
    let Read { members, bytes, check } = first;
    println!("{}", serde_json::json!({ "members": members, "bytes": bytes, "check": check, "seconds": seconds }));
    Ok(())
}

fn pass(path: &std::path::Path, work: fn(&[u8]) -> u64) -> anyhow::Result<Read> {
    let tar = MappedTar::open(path)?;
    let mut read = Read::default();
    for member in tar.members() {
        let (member, data) = member?;
        if member.kind == MemberKind::File {
            read.members += 1;
            read.bytes += member.length;
            read.check = read.check.wrapping_add(work(data));
        }
    }
    Ok(read)
}

fn touch(data: &[u8]) -> u64 {
    let byte = |byte: Option<&u8>| u64::from(byte.copied().unwrap_or(0));
    data.len() as u64 + byte(data.first()) + byte(data.last())
}
