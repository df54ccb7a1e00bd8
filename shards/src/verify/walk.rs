//! Tars made elsewhere have headers that we cannot foretell: what their own headers say is compared with the index.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Problem;
use crate::index::{Member, SampleEntry};
use crate::manifest::ShardInfo;
use crate::tar::{Dots, MemberKind, TarError, TarFault, TarMember, TarStream, split_name};

/// The first place in which the headers of a tar and its index say something different.
struct Difference {
    /// Where the header begins, in bytes from the start of the tar.
    offset: u64,
    key: Option<String>,
    what: String,
}

/// Compares the index of a tar that has its checksum with the tar: the first difference, which is the index's fault.
pub(crate) fn judge_index(path: &Path, shard: &ShardInfo, entries: &[SampleEntry]) -> io::Result<Option<Problem>> {
    let problem = |Difference { offset, key, what }| {
        let what = format!("it does not fit {}: at offset {offset} there {what}", shard.file);
        Problem { file: shard.index.clone(), key, offset: None, what }
    };
    Ok(first_difference(path, entries)?.map(problem))
}

/// Finds the damage of a tar that does not have its checksum though all its samples have theirs: in a header, if it is
/// not in what no reader looks at.
pub(crate) fn damaged_header(path: &Path, shard: &ShardInfo, entries: &[SampleEntry]) -> io::Result<Option<Problem>> {
    let problem = |Difference { offset, key, what }| {
        let what = format!("its samples are whole, but {what}");
        Problem { file: shard.file.clone(), key, offset: Some(offset), what }
    };
    Ok(first_difference(path, entries)?.map(problem))
}

/// Walks over the headers. Without `entries` only what makes a tar of it is looked at.
fn first_difference(path: &Path, entries: &[SampleEntry]) -> io::Result<Option<Difference>> {
    let mut members = entries.iter().flat_map(|entry| entry.members.iter().map(|member| (&entry.key, member)));
    let mut expected = members.next();
    let mut tar = match TarStream::seekable(File::open(path)?, path) {
        Ok(tar) => tar,
        Err(error) => return of_error(error, expected).map(Some),
    };
    loop {
        match tar.next() {
            Err(error) => return of_error(error, expected).map(Some),
            Ok(None) => return Ok(expected.map(|expected| missing(expected, tar.position()))),
            Ok(Some(member)) if entries.is_empty() || member.kind != MemberKind::File => {}
            Ok(Some(member)) => match expected {
                Some((key, wanted)) if wanted.offset == member.offset => {
                    if let Some(what) = contradiction(key, wanted, &member) {
                        return Ok(Some(Difference { offset: member.header, key: Some(key.to_string()), what }));
                    }
                    expected = members.next();
                }
                Some(expected) if expected.1.offset < member.offset => {
                    return Ok(Some(missing(expected, member.header)));
                }
                _ if is_of_a_sample(&member.name) => {
                    let what = format!("is {}, which the index does not know", member.name.escape_ascii());
                    return Ok(Some(Difference { offset: member.header, key: None, what }));
                }
                _ => {}
            },
        }
    }
}

/// What the header of a member that lies where the index says contradicts.
fn contradiction(key: &str, wanted: &Member, member: &TarMember) -> Option<String> {
    let Member { extension, length, .. } = wanted;
    // The set does not say by which rule it was indexed.
    let is_named = [Dots::First, Dots::Last].iter().any(|dots| {
        split_name(&member.name, *dots).is_some_and(|(found, ending)| found == key.as_bytes() && ending == **extension)
    });
    let name = member.name.escape_ascii();
    if !is_named {
        Some(format!("is {name}, by the index {key}.{extension}"))
    } else if member.length != *length {
        Some(format!("is {name} of {} bytes, by the index of {length}", member.length))
    } else {
        None
    }
}

/// Whether a name is that of a sample's file by both rules, so that any index has it.
fn is_of_a_sample(name: &[u8]) -> bool {
    [Dots::First, Dots::Last].iter().all(|dots| split_name(name, *dots).is_some())
}

fn missing((key, wanted): (&Arc<str>, &Member), offset: u64) -> Difference {
    let what = format!("is no {key}.{}, whose data the index puts at offset {}", wanted.extension, wanted.offset);
    Difference { offset, key: Some(key.to_string()), what }
}

/// A header that cannot be read belongs to the next file, where that has not begun yet.
fn of_error(error: TarError, expected: Option<(&Arc<str>, &Member)>) -> io::Result<Difference> {
    let what = match error.fault {
        TarFault::Io(source) => return Err(source),
        fault => fault.to_string(),
    };
    let key = expected.filter(|(_, wanted)| error.offset < wanted.offset).map(|(key, _)| key.to_string());
    Ok(Difference { offset: error.offset, key, what })
}
