//! WebDatasets of which some tars are compressed: read once, from beginning to end.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use super::{bad_label, file_name, is_picture, name_of, no_picture};
use crate::index::LABEL_EXTENSION;
use crate::pack::PackError;
use crate::set::{ShardReader, ShardSet};
use crate::source::{Classes, Label, Next, SharedNotes, Stream, StreamSource, Streamed, cls, note_warnings};
use crate::tar::{Dots, Grouper, TarStream, open_stream};
use crate::ustar;

/// Streams tars, each compressed or not.
pub(super) fn compressed(paths: Vec<PathBuf>, dots: Dots, classes: Classes) -> Result<StreamSource, PackError> {
    let mut bytes = 0;
    for path in &paths {
        bytes += fs::metadata(path).map_err(|source| PackError::Read { path: path.clone(), source })?.len();
    }
    let notes = SharedNotes::default();
    let paths = paths.into_iter();
    let stream =
        Compressed { paths, tar: None, dots, pending: Vec::new(), before: 0, current: 0, notes: notes.clone() };
    Ok(StreamSource { stream: Box::new(stream), bytes, classes, notes })
}

/// Streams one of our own sets.
pub(super) fn own(set: ShardSet, classes: Classes) -> StreamSource {
    let bytes = set.manifest().bytes();
    let stream = OwnStream { set, shard: 0, sample: 0, open: None, at: 0 };
    StreamSource { stream: Box::new(stream), bytes, classes, notes: SharedNotes::default() }
}

/// A member of a sample: extension, offset in the (uncompressed) tar, and bytes.
type StreamedMember = (Arc<str>, u64, Vec<u8>);

/// A sample of a stream from its members.
fn streamed(shard: &str, key: &str, mut members: Vec<StreamedMember>) -> Next {
    let cls = members.iter().position(|member| &*member.0 == LABEL_EXTENSION).map(|at| members.remove(at));
    let Some(at) = members.iter().position(|member| is_picture(&member.0)) else {
        return Next::Bad(no_picture(shard, key, members.iter().map(|member| &*member.0)));
    };
    let (extension, _, bytes) = members.remove(at);
    let label = match cls.map(|(_, offset, bytes)| (offset, cls::label(&bytes))) {
        None => Label::None,
        Some((_, Ok(label))) => label,
        Some((offset, Err(reason))) => return Next::Bad(bad_label(shard, key, offset, &reason)),
    };
    let name = name_of(shard, key, &extension);
    let others = members.into_iter().map(|(extension, _, bytes)| (extension, bytes)).collect();
    Next::Sample(Streamed { name, key: Some(key.into()), label, picture: (extension, bytes), others })
}

/// Tars of which some are compressed.
struct Compressed {
    paths: std::vec::IntoIter<PathBuf>,
    tar: Option<OpenTar>,
    dots: Dots,
    /// The members of the sample under way.
    pending: Vec<StreamedMember>,
    /// Bytes of the tars that are read, and of the one under way.
    before: u64,
    current: u64,
    notes: SharedNotes,
}

struct OpenTar {
    path: PathBuf,
    tar: TarStream<Box<dyn Read + Send>>,
    grouper: Grouper,
}

impl Compressed {
    /// Opens the next tar; false after the last.
    fn next_tar(&mut self) -> Result<bool, PackError> {
        let Some(path) = self.paths.next() else { return Ok(false) };
        self.before += self.current;
        self.current = fs::metadata(&path).map_err(|source| PackError::Read { path: path.clone(), source })?.len();
        let tar = open_stream(&path)?;
        self.tar = Some(OpenTar { grouper: Grouper::new(&path, self.dots), tar, path });
        Ok(true)
    }
}

impl Stream for Compressed {
    fn next(&mut self) -> Result<Next, PackError> {
        loop {
            let Some(OpenTar { path, tar, grouper }) = &mut self.tar else {
                if self.next_tar()? {
                    continue;
                }
                return Ok(Next::End);
            };
            let Some(member) = tar.next()? else {
                let last = grouper.finish();
                let name = file_name(path);
                self.notes.with(|notes| notes.passed(path, grouper));
                note_warnings(&self.notes, path, tar.warnings());
                self.tar = None;
                match last {
                    Some(last) => {
                        let key = String::from_utf8_lossy(&last.key).into_owned();
                        return Ok(streamed(&name, &key, std::mem::take(&mut self.pending)));
                    }
                    None => continue,
                }
            };
            let passed = grouper.passed();
            let complete = grouper.push(&member)?;
            if grouper.passed() != passed {
                continue;
            }
            let bytes = tar.read_to_vec(ustar::LENGTH_LIMIT)?;
            let extension = crate::tar::split_name(&member.name, self.dots).map(|(_, extension)| extension);
            let members = if complete.is_some() { std::mem::take(&mut self.pending) } else { Vec::new() };
            self.pending.push((extension.unwrap_or_default().into(), member.offset, bytes));
            if let Some(sample) = complete {
                let key = String::from_utf8_lossy(&sample.key).into_owned();
                return Ok(streamed(&file_name(path), &key, members));
            }
        }
    }

    /// The tar under way counts when it is read: how far it is in its compressed bytes is not known.
    fn position(&self) -> u64 {
        self.before
    }
}

/// One of our own sets of which some shards are compressed.
struct OwnStream {
    set: ShardSet,
    shard: usize,
    sample: usize,
    open: Option<ShardReader>,
    /// Bytes of the shards that are read.
    at: u64,
}

impl Stream for OwnStream {
    fn next(&mut self) -> Result<Next, PackError> {
        loop {
            let Some(reader) = &self.open else {
                if self.shard == self.set.manifest().shards.len() {
                    return Ok(Next::End);
                }
                self.open = Some(self.set.open_shard(self.shard)?);
                self.sample = 0;
                continue;
            };
            if self.sample == reader.len() {
                self.at += self.set.manifest().shards[self.shard].bytes;
                self.shard += 1;
                self.open = None;
                continue;
            }
            let members = reader.read_members_of(self.sample)?;
            let entry = reader.entry(self.sample);
            let members = entry.members.iter().zip(members);
            let members = members.map(|(member, bytes)| (member.extension.clone(), member.offset, bytes.to_vec()));
            let members = members.collect();
            self.sample += 1;
            return Ok(streamed(reader.name(), &entry.key, members));
        }
    }

    fn position(&self) -> u64 {
        self.at
    }
}
