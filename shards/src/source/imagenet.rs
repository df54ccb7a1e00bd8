//! ImageNet as it ships: the tar of class tars for training, the flat tar for validation. Each is read once, from
//! beginning to end, and nothing is unpacked to disk.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::picture_extension;
use super::labels::Labels;
use super::{Classes, Label, Next, Notes, SharedNotes, SourceOptions, Stream, StreamSource, Streamed, note_warnings};
use crate::pack::PackError;
use crate::tar::{MemberKind, TarError, TarMember, TarStream, TarWarning};
use crate::ustar;

/// Opens `ILSVRC2012_img_train.tar`. A picture's name is `CLASS/FILE`, as if the class tars had been unpacked into
/// folders of their names, so its key is the same.
pub(crate) fn train(path: &Path, classes: Classes) -> Result<StreamSource, PackError> {
    let (file, bytes) = open(path)?;
    let notes = SharedNotes::default();
    let outer = TarStream::seekable(file, path)?;
    let stream = Train { path: path.into(), outer, class: None, at: 0, notes: notes.clone() };
    Ok(StreamSource { stream: Box::new(stream), bytes, classes, notes })
}

/// Opens `ILSVRC2012_img_val.tar` with its labels. A picture's name is `SYNSET/FILE`, as if it had been sorted into
/// class folders.
pub(crate) fn validation(path: &Path, options: &SourceOptions, classes: Classes) -> Result<StreamSource, PackError> {
    let Some(labels_path) = &options.labels else {
        let reason = "its labels are in another file: name it with --labels (the devkit's ground truth, or Kaggle's \
                      LOC_val_solution.csv)";
        return Err(PackError::Source { path: path.into(), line: None, reason: reason.into() });
    };
    let labels = Labels::read(labels_path, options.synsets.as_deref(), &classes)?;
    let (file, bytes) = open(path)?;
    let notes = SharedNotes::default();
    let tar = TarStream::new(file, path);
    let labels_path = labels_path.clone();
    let stream = Validation { path: path.into(), tar, labels, labels_path, seen: HashSet::new(), notes: notes.clone() };
    Ok(StreamSource { stream: Box::new(stream), bytes, classes, notes })
}

fn open(path: &Path) -> Result<(File, u64), PackError> {
    let fault = |source| PackError::Read { path: path.into(), source };
    let file = File::open(path).map_err(fault)?;
    let bytes = file.metadata().map_err(fault)?.len();
    Ok((file, bytes))
}

struct Train {
    path: PathBuf,
    outer: TarStream<File>,
    class: Option<ClassTar>,
    /// Bytes of the outer tar read.
    at: u64,
    notes: SharedNotes,
}

/// The class tar under way.
struct ClassTar {
    name: Arc<str>,
    tar: TarStream<Take<File>>,
    /// Where it begins in the outer tar.
    offset: u64,
    /// Pictures read from it.
    pictures: u64,
}

impl Train {
    /// Enters the next class tar; false at the end.
    fn next_class(&mut self) -> Result<bool, PackError> {
        while let Some(member) = self.outer.next()? {
            let name = String::from_utf8_lossy(&member.name).into_owned();
            let stem = name.strip_suffix(".tar").filter(|_| member.kind == MemberKind::File);
            let Some(stem) = stem.map(|stem| stem.rsplit('/').next().unwrap_or(stem)) else {
                self.notes.with(|notes| notes.ignore(&member));
                continue;
            };
            let fault = |source| PackError::Read { path: self.path.clone(), source };
            // A handle of its own, for its own position; the outer one skips the class tar without reading it.
            let mut file = File::open(&self.path).map_err(fault)?;
            file.seek(SeekFrom::Start(member.offset)).map_err(fault)?;
            let path = self.path.join(&name);
            let tar = TarStream::new(file.take(member.length), &path);
            self.class = Some(ClassTar { name: stem.into(), tar, offset: member.offset, pictures: 0 });
            return Ok(true);
        }
        note_warnings(&self.notes, &self.path, self.outer.warnings());
        Ok(false)
    }

    /// Leaves the class tar under way. One without pictures is an error, as the class folder that it makes is.
    fn end_class(&mut self) -> Result<(), PackError> {
        let Some(class) = self.class.take() else { return Ok(()) };
        let path = self.path.join(format!("{}.tar", class.name));
        if class.pictures == 0 {
            let reason = format!("it holds no pictures (at offset {} of the outer tar)", class.offset);
            return Err(PackError::Source { path, line: None, reason });
        }
        let shifted: Vec<TarWarning> = class
            .tar
            .warnings()
            .iter()
            .map(|warning| match warning {
                TarWarning::TrailingData { offset } => TarWarning::TrailingData { offset: class.offset + offset },
                other => *other,
            })
            .collect();
        note_warnings(&self.notes, &path, &shifted);
        Ok(())
    }
}

impl Stream for Train {
    fn next(&mut self) -> Result<Next, PackError> {
        loop {
            let Some(class) = &mut self.class else {
                if self.next_class()? {
                    continue;
                }
                return Ok(Next::End);
            };
            // Offsets are those in the file that is on the disk.
            let base = class.offset;
            let shift = |mut error: TarError| {
                error.offset += base;
                error
            };
            let Some(member) = class.tar.next().map_err(shift)? else {
                self.end_class()?;
                continue;
            };
            self.at = base + member.offset;
            let Some(extension) = picture(&member) else {
                self.notes.with(|notes| notes.ignore(&member));
                continue;
            };
            let bytes = class.tar.read_to_vec(ustar::LENGTH_LIMIT).map_err(shift)?;
            class.pictures += 1;
            let mut name = OsString::from(&*class.name);
            name.push("/");
            // As `tar -C FOLDER .` stores it.
            name.push(OsStr::from_bytes(member.name.strip_prefix(b"./").unwrap_or(&member.name)));
            let (name, label) = (name.into_boxed_os_str(), Label::Class(class.name.clone()));
            let picture = (Arc::from(extension), bytes);
            return Ok(Next::Sample(Streamed { name, key: None, label, picture, others: Vec::new() }));
        }
    }

    fn position(&self) -> u64 {
        self.at
    }
}

struct Validation {
    path: PathBuf,
    tar: TarStream<File>,
    labels: Labels,
    labels_path: PathBuf,
    seen: HashSet<String>,
    notes: SharedNotes,
}

impl Validation {
    fn fault(&self, reason: String) -> PackError {
        PackError::Source { path: self.path.clone(), line: None, reason }
    }

    /// Whether each label has its picture.
    fn end(&self) -> Result<(), PackError> {
        let Some((line, name)) = self.labels.first_without(&self.seen) else { return Ok(()) };
        let (tar, pictures, labels) = (self.path.display(), self.seen.len(), self.labels.len());
        let reason = format!("{name} is not in {tar}: {labels} labels, {pictures} pictures");
        Err(PackError::Source { path: self.labels_path.clone(), line: Some(line), reason })
    }
}

impl Stream for Validation {
    fn next(&mut self) -> Result<Next, PackError> {
        loop {
            let Some(member) = self.tar.next()? else {
                note_warnings(&self.notes, &self.path, self.tar.warnings());
                self.end()?;
                return Ok(Next::End);
            };
            let Some(extension) = picture(&member) else {
                self.notes.with(|notes| notes.ignore(&member));
                continue;
            };
            let file = member.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let file = String::from_utf8_lossy(file).into_owned();
            let stem = &file[..file.len().saturating_sub(extension.len() + 1)];
            let Some(synset) = self.labels.get(stem).cloned() else {
                let labels = self.labels_path.display();
                return Err(self.fault(format!("{file} at offset {} has no label in {labels}", member.header)));
            };
            if !self.seen.insert(stem.to_owned()) {
                return Err(self.fault(format!("{file} at offset {} is there twice", member.header)));
            }
            let bytes = self.tar.read_to_vec(ustar::LENGTH_LIMIT)?;
            let name = OsString::from(format!("{synset}/{file}")).into_boxed_os_str();
            let picture = (Arc::from(extension), bytes);
            let label = Label::Class(synset);
            return Ok(Next::Sample(Streamed { name, key: None, label, picture, others: Vec::new() }));
        }
    }

    fn position(&self) -> u64 {
        self.tar.position()
    }
}

/// The extension if a member is a picture by its name.
fn picture(member: &TarMember) -> Option<&'static str> {
    match member.kind {
        MemberKind::File => picture_extension(Path::new(OsStr::from_bytes(&member.name))),
        _ => None,
    }
}

impl Notes {
    /// Counts a member that is no picture; folders are no files.
    fn ignore(&mut self, member: &TarMember) {
        if member.kind != MemberKind::Folder {
            self.ignored.add(OsStr::from_bytes(&member.name));
        }
    }
}
