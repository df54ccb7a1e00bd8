//! An existing WebDataset, ours or anyone's, to be packed anew.
//!
//! Plain tars are listed by their headers and read in any order; compressed ones are read once, from beginning to end.
//! A sample keeps its key and all its members but `cls`, which becomes its label. Our own sets are listed by their
//! index, and their checksums are compared.

mod stream;

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::detect::expand;
use super::{
    BadItem, Classes, Ignored, Label, Listing, Notes, Opened, Part, Place, RawItem, SharedNotes, cls, note_warnings,
};
use crate::checksum::Checksum;
use crate::index::{LABEL_EXTENSION, PICTURE_EXTENSIONS};
use crate::manifest::MANIFEST;
use crate::pack::PackError;
use crate::set::ShardSet;
use crate::tar::{Dots, GroupedSample, Grouper, TarStream};

/// How the names of tars end.
pub(crate) const ENDINGS: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];

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
    stream::compressed(paths, dots, classes).map(Opened::Streamed)
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
        return Ok(Opened::Streamed(stream::own(set, classes)));
    }
    let mut listing = empty(classes);
    for (number, shard) in set.manifest().shards.iter().enumerate() {
        let path = folder.join(&shard.file);
        let tar = PlainTar::open(&path)?;
        for entry in set.read_index(shard)?.samples {
            let members = entry.members.iter().map(|member| Part {
                extension: member.extension.clone(),
                place: Place::Range { file: number as u32, offset: member.offset },
                length: member.length,
                xxh3: Some(member.xxh3),
            });
            tar.add(&mut listing, &entry.key, members.collect())?;
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
        let shard = PlainTar::open(path)?;
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
            shard.add(&mut listing, &key, members.collect())
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

/// A plain tar whose samples are listed.
struct PlainTar<'a> {
    path: &'a Path,
    name: String,
    /// For the labels.
    file: File,
}

impl<'a> PlainTar<'a> {
    fn open(path: &'a Path) -> Result<Self, PackError> {
        let file = File::open(path).map_err(|source| PackError::Read { path: path.into(), source })?;
        Ok(Self { path, name: file_name(path), file })
    }

    /// Adds a sample, or why it cannot be packed.
    fn add(&self, listing: &mut Listing, key: &str, mut members: Vec<Part>) -> Result<(), PackError> {
        let cls = members.iter().position(|member| &*member.extension == LABEL_EXTENSION);
        let cls = cls.map(|at| members.remove(at));
        let Some(at) = members.iter().position(|member| is_picture(&member.extension)) else {
            listing.bad.push(no_picture(&self.name, key, members.iter().map(|member| &*member.extension)));
            return Ok(());
        };
        let picture = members.remove(at);
        let label = match cls.map(|part| self.label(key, &part)).transpose()? {
            None => Label::None,
            Some(Ok(label)) => label,
            Some(Err(bad)) => {
                listing.bad.push(bad);
                return Ok(());
            }
        };
        let name = name_of(&self.name, key, &picture.extension);
        listing.items.push(RawItem { name, key: Some(key.into()), label, picture, others: members });
        Ok(())
    }

    /// Reads a label; the inner error is a label that is none.
    fn label(&self, key: &str, part: &Part) -> Result<Result<Label, BadItem>, PackError> {
        let Place::Range { offset, .. } = part.place else { return Ok(Ok(Label::None)) };
        if part.length > cls::LONGEST {
            return Ok(Err(bad_label(&self.name, key, offset, &cls::too_long(part.length))));
        }
        let mut bytes = vec![0; part.length as usize];
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(|source| PackError::Read { path: self.path.into(), source })?;
        if part.xxh3.is_some_and(|said| said != Checksum::of(&bytes)) {
            let reason = format!("{key}.{LABEL_EXTENSION} at offset {offset} does not have its checksum");
            return Err(PackError::Damaged { path: self.path.into(), reason });
        }
        Ok(cls::label(&bytes).map_err(|reason| bad_label(&self.name, key, offset, &reason)))
    }
}

fn is_picture(extension: &str) -> bool {
    PICTURE_EXTENSIONS.contains(&extension)
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
        kind: "no_picture".into(),
        what: format!("it has no picture{only}{hint}"),
    }
}

/// A sample whose label is none; `reason` is what [`cls::label`] says.
fn bad_label(shard: &str, key: &str, offset: u64, reason: &str) -> BadItem {
    BadItem {
        name: format!("{shard}/{key}").into(),
        kind: "bad_label".into(),
        what: format!("its label at offset {offset} {reason}"),
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
