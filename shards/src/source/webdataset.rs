//! An existing WebDataset, ours or anyone's, to be packed anew.
//!
//! Plain tars are listed by their headers and read in any order; compressed ones are read once, from beginning to end.
//! A sample keeps its key and all its members but `cls`, which becomes its label. Our own sets are listed by their
//! index, and their checksums are compared.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::detect::expand;
use super::{
    BadItem, Classes, Ignored, Label, Listing, Next, Notes, Opened, Part, Place, RawItem, SharedNotes, Stream,
    StreamSource, Streamed, note_warnings,
};
use crate::index::{LABEL_EXTENSION, PICTURE_EXTENSIONS};
use crate::manifest::MANIFEST;
use crate::pack::PackError;
use crate::set::ShardSet;
use crate::tar::{Dots, GroupedSample, Grouper, TarStream, open_stream};
use crate::ustar;

/// How the names of tars end.
pub(crate) const ENDINGS: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];

/// Longer than any label.
const LONGEST_LABEL: u64 = 4096;

/// Whether a file is named like a tar.
pub(crate) fn is_tar(path: &Path) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Opens a set's folder, a folder of tars, a tar or a brace pattern.
pub(crate) fn open(source: &Path, dots: Dots, classes: Classes) -> Result<Opened, PackError> {
    if source.join(MANIFEST).is_file() {
        return own(source, classes);
    }
    let paths = if source.is_dir() { tars(source)? } else { expand(source)? };
    if paths.is_empty() {
        let reason = "it holds no tars (.tar, .tar.gz, .tar.zst)".into();
        return Err(PackError::Source { path: source.into(), line: None, reason });
    }
    let plain = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tar"));
    if paths.iter().all(plain) {
        return list(paths, dots, classes).map(Opened::Listed);
    }
    let mut bytes = 0;
    for path in &paths {
        bytes += fs::metadata(path).map_err(|source| PackError::Read { path: path.clone(), source })?.len();
    }
    let notes = SharedNotes::default();
    let paths = paths.into_iter();
    let stream =
        Compressed { paths, tar: None, dots, pending: Vec::new(), before: 0, current: 0, notes: notes.clone() };
    Ok(Opened::Streamed(StreamSource { stream: Box::new(stream), bytes, classes, notes }))
}

/// The tars of a folder in byte order of their names.
pub(crate) fn tars(folder: &Path) -> Result<Vec<PathBuf>, PackError> {
    let fault = |source| PackError::Read { path: folder.into(), source };
    let mut tars = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if is_tar(&path) {
            tars.push(path);
        }
    }
    tars.sort();
    Ok(tars)
}

/// Lists one of our own sets.
fn own(folder: &Path, classes: Classes) -> Result<Opened, PackError> {
    let set = ShardSet::open(folder)?;
    let classes = match (classes, &set.manifest().classes) {
        (Classes::Found, names) if !names.is_empty() => Classes::Fixed(names.clone()),
        (classes, _) => classes,
    };
    if set.manifest().shards.iter().any(|shard| shard.tar_bytes.is_some()) {
        let bytes = set.manifest().bytes();
        let stream = OwnStream { set, shard: 0, sample: 0, open: None, at: 0 };
        return Ok(Opened::Streamed(StreamSource {
            stream: Box::new(stream),
            bytes,
            classes,
            notes: SharedNotes::default(),
        }));
    }
    let mut listing = empty(classes);
    for (number, shard) in set.manifest().shards.iter().enumerate() {
        let path = folder.join(&shard.file);
        let file = File::open(&path).map_err(|source| PackError::Read { path: path.clone(), source })?;
        for entry in set.read_index(shard)?.samples {
            let members = entry.members.iter().map(|member| Part {
                extension: member.extension.clone(),
                place: Place::Range { file: number as u32, offset: member.offset },
                length: member.length,
                xxh3: Some(member.xxh3),
            });
            add(&mut listing, &shard.file, &entry.key, members.collect(), &|part| text_of(&file, &path, part))?;
        }
        listing.files.push(path);
    }
    Ok(Opened::Listed(listing))
}

fn empty(classes: Classes) -> Listing {
    let (items, bad, ignored) = (Vec::new(), Vec::new(), Ignored::default());
    Listing { root: PathBuf::new(), files: Vec::new(), items, classes, ignored, bad, warnings: Vec::new() }
}

/// Lists plain tars by their headers.
fn list(paths: Vec<PathBuf>, dots: Dots, classes: Classes) -> Result<Listing, PackError> {
    let mut listing = empty(classes);
    let notes = SharedNotes::default();
    for (number, path) in paths.iter().enumerate() {
        let fault = |source| PackError::Read { path: path.clone(), source };
        let file = File::open(path).map_err(fault)?;
        let labels = File::open(path).map_err(fault)?;
        let mut tar = TarStream::seekable(file, path)?;
        let mut grouper = Grouper::new(path, dots);
        let mut push = |sample: GroupedSample| {
            let members = sample.members.into_iter().map(|member| Part {
                extension: member.extension.into(),
                place: Place::Range { file: number as u32, offset: member.offset },
                length: member.length,
                xxh3: None,
            });
            let key = String::from_utf8_lossy(&sample.key);
            add(&mut listing, &file_name(path), &key, members.collect(), &|part| text_of(&labels, path, part))
        };
        while let Some(member) = tar.next()? {
            grouper.push(&member)?.map_or(Ok(()), &mut push)?;
        }
        grouper.finish().map_or(Ok(()), &mut push)?;
        notes.with(|notes| notes.passed(path, &grouper));
        note_warnings(&notes, path, tar.warnings());
    }
    listing.files = paths;
    (listing.ignored, listing.warnings) = notes.with(|notes| (notes.ignored.clone(), notes.warnings.clone()));
    Ok(listing)
}

/// Adds a sample; `text` reads its label.
fn add(
    listing: &mut Listing,
    shard: &str,
    key: &str,
    mut members: Vec<Part>,
    text: &dyn Fn(&Part) -> Result<String, PackError>,
) -> Result<(), PackError> {
    let label = members.iter().position(|member| &*member.extension == LABEL_EXTENSION).map(|at| members.remove(at));
    let Some(at) = members.iter().position(|member| is_picture(&member.extension)) else {
        listing.bad.push(no_picture(shard, key, members.iter().map(|member| &*member.extension)));
        return Ok(());
    };
    let picture = members.remove(at);
    let label = label.map_or(Ok(Label::None), |label| text(&label).map(|text| label_of(&text)))?;
    let name = name_of(shard, key, &picture.extension);
    listing.items.push(RawItem { name, key: Some(key.into()), label, picture, others: members });
    Ok(())
}

fn text_of(file: &File, path: &Path, part: &Part) -> Result<String, PackError> {
    let Place::Range { offset, .. } = part.place else { return Ok(String::new()) };
    if part.length > LONGEST_LABEL {
        let reason = format!("the label at offset {offset} has {} bytes", part.length);
        return Err(PackError::Source { path: path.into(), line: None, reason });
    }
    let mut bytes = vec![0; part.length as usize];
    let read = file.read_exact_at(&mut bytes, offset);
    read.map_err(|source| PackError::Read { path: path.into(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_picture(extension: &str) -> bool {
    PICTURE_EXTENSIONS.contains(&extension)
}

/// Digits are the number of the class, anything else is its name.
fn label_of(text: &str) -> Label {
    let text = text.trim();
    match text.parse() {
        Ok(number) => Label::Number(number),
        Err(_) => Label::Class(text.into()),
    }
}

fn name_of(shard: &str, key: &str, extension: &str) -> Box<std::ffi::OsStr> {
    OsString::from(format!("{shard}/{key}.{extension}")).into_boxed_os_str()
}

fn no_picture<'a>(shard: &str, key: &str, extensions: impl Iterator<Item = &'a str>) -> BadItem {
    let extensions: Vec<&str> = extensions.collect();
    let only = if extensions.is_empty() { String::new() } else { format!(", only {}", extensions.join(", ")) };
    let hint = if extensions.iter().any(|extension| extension.contains('.')) {
        "; if its names have dots, say --dots last"
    } else {
        ""
    };
    BadItem {
        name: format!("{shard}/{key}").into(),
        kind: "no_picture",
        what: format!("it has no picture{only}{hint}"),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Notes {
    /// Counts members that are no part of a sample.
    fn passed(&mut self, path: &Path, grouper: &Grouper) {
        let passed = grouper.passed();
        let count = passed.links + passed.others + passed.without_extension;
        if count > 0 {
            self.ignored.count += count - 1;
            self.ignored.add(format!("{}: {count} members that are no files of samples", file_name(path)).as_ref());
        }
    }
}

/// A sample of a stream from its members.
fn streamed(shard: &str, key: &str, mut members: Vec<(Arc<str>, Vec<u8>)>) -> Next {
    let label = members.iter().position(|member| &*member.0 == LABEL_EXTENSION).map(|at| members.remove(at));
    let Some(at) = members.iter().position(|member| is_picture(&member.0)) else {
        return Next::Bad(no_picture(shard, key, members.iter().map(|member| &*member.0)));
    };
    let picture = members.remove(at);
    let label = label.map_or(Label::None, |(_, bytes)| label_of(&String::from_utf8_lossy(&bytes)));
    let name = name_of(shard, key, &picture.0);
    Next::Sample(Streamed { name, key: Some(key.into()), label, picture, others: members })
}

/// Tars of which some are compressed.
struct Compressed {
    paths: std::vec::IntoIter<PathBuf>,
    tar: Option<OpenTar>,
    dots: Dots,
    /// The members of the sample under way.
    pending: Vec<(Arc<str>, Vec<u8>)>,
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
            self.pending.push((extension.unwrap_or_default().into(), bytes));
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
    open: Option<crate::set::ShardReader>,
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
            let members = members.map(|(member, bytes)| (member.extension.clone(), bytes.to_vec())).collect();
            self.sample += 1;
            return Ok(streamed(reader.name(), &entry.key, members));
        }
    }

    fn position(&self) -> u64 {
        self.at
    }
}
