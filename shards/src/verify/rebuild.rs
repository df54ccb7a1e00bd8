//! What the index of a tar must be, to find the wrong byte of a damaged one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Problem;
use crate::checksum::Hasher;
use crate::index;
use crate::manifest::ShardInfo;
use crate::set::ShardSet;
use crate::tar::{Dots, MemberKind, TarStream, split_name};

/// Finds the first byte in which the index of `shard` differs from the one that its tar, which must be right, asks
/// for. None if that is not found: then the index as a whole is all that can be named.
pub(crate) fn compare(set: &ShardSet, shard: &ShardInfo) -> Option<Problem> {
    let found = set.index_bytes(shard).ok()?;
    let differ =
        |text: &String| found.iter().zip(text.as_bytes()).filter(|(found, expected)| found != expected).count();
    // A tar made elsewhere may have been indexed by either rule.
    let expected = indices_of(&set.folder().join(&shard.file)).ok()?.into_iter().min_by_key(differ)?;
    let offset = found.iter().zip(expected.as_bytes()).position(|(found, expected)| found != expected)?;
    // In bytes: the offset may lie within a character.
    let line = expected.as_bytes()[..offset].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let key = expected[line..].split('\t').next().filter(|_| line > 0).map(str::to_owned);
    let what = match &key {
        Some(key) => format!("the line of {key} is damaged"),
        None => "the first line is damaged".into(),
    };
    Some(Problem { file: shard.index.clone(), key, offset: Some(offset as u64), what })
}

/// The index of a tar by each of the rules for dots.
fn indices_of(path: &Path) -> io::Result<[String; 2]> {
    let mut tar = TarStream::new(File::open(path)?, path);
    let mut texts = [index::HEADER.to_string(), index::HEADER.to_string()];
    while let Some(member) = tar.next().map_err(io::Error::other)? {
        if member.kind != MemberKind::File {
            continue;
        }
        let xxh3 = checksum(&mut tar.read_data())?;
        for (text, dots) in texts.iter_mut().zip([Dots::First, Dots::Last]) {
            if let Some((key, extension)) = split_name(&member.name, dots) {
                let key = String::from_utf8_lossy(key);
                index::push_line(text, &key, &extension, member.offset, (member.length, xxh3));
            }
        }
    }
    Ok(texts)
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
