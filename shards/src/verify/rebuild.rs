//! What the index of a tar must be, to find the wrong byte of a damaged one.

use std::fs::File;
use std::io::{self, BufReader, Read};

use super::Problem;
use crate::checksum::Hasher;
use crate::index;
use crate::manifest::ShardInfo;
use crate::set::ShardSet;

/// Finds the first byte in which the index of `shard` differs from the one that its tar, which must be right, asks
/// for. None if that is not found: then the index as a whole is all that can be named.
pub(crate) fn compare(set: &ShardSet, shard: &ShardInfo) -> Option<Problem> {
    let found = set.index_bytes(shard).ok()?;
    let expected = index_of(File::open(set.folder().join(&shard.file)).ok()?).ok()?;
    let offset = found.iter().zip(expected.as_bytes()).position(|(found, expected)| found != expected)?;
    let line = expected[..offset].rfind('\n').map_or(0, |end| end + 1);
    let key = expected[line..].split('\t').next().filter(|_| line > 0).map(str::to_owned);
    let what = match &key {
        Some(key) => format!("the line of {key} is damaged"),
        None => "the first line is damaged".into(),
    };
    Some(Problem { file: shard.index.clone(), key, offset: Some(offset as u64), what })
}

fn index_of(tar: File) -> io::Result<String> {
    let mut archive = tar::Archive::new(BufReader::new(tar));
    let mut text = index::HEADER.to_string();
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (key, extension) = name.split_once('.').unwrap_or((&name, ""));
        let (offset, length) = (entry.raw_file_position(), entry.size());
        let xxh3 = checksum(&mut entry)?;
        index::push_line(&mut text, key, extension, offset, (length, xxh3));
    }
    Ok(text)
}

fn checksum(data: &mut impl Read) -> io::Result<crate::checksum::Checksum> {
    let mut hasher = Hasher::default();
    let mut piece = [0; 1 << 14];
    loop {
        match data.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&piece[..length]),
        }
    }
}
