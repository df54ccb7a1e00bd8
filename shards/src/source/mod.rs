//! What can be packed: each kind of source becomes a list of samples, or a stream of them where it can only be read
//! from beginning to end.
//!
//! A source says what its samples are called and where their bytes lie; it gives no keys and draws no order. Those
//! are given by packing, from the names alone, so that the same samples make the same set whatever they come from.

mod classes;
mod cls;
mod detect;
mod fingerprint;
mod folder;
mod imagenet;
mod labels;
mod list;
mod webdataset;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::checksum::Checksum;
use crate::pack::PackError;
use crate::tar::TarWarning;

pub(crate) use self::classes::read as read_classes;
pub use self::detect::{SourceKind, SourceOptions};
pub(crate) use self::detect::{expand, open};
pub use self::fingerprint::{Fingerprint, fingerprint};
pub(crate) use self::webdataset::tars;

/// A sample of a source, in the source's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawItem {
    /// What people call it: the picture's path relative to the source, with `/` between a tar in a tar and its members.
    /// Keys are made of it, so a tar of class tars and the folders it came from get the same.
    pub(crate) name: Box<OsStr>,
    /// The key that the source wants; none: it is made from the name.
    pub(crate) key: Option<Box<str>>,
    /// The class.
    pub(crate) label: Label,
    /// The picture.
    pub(crate) picture: Part,
    /// Further members that are kept as they are (captions, metadata); never `cls`, for which `label` stands.
    pub(crate) others: Vec<Part>,
}

/// One member of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Lower case, without the dot.
    pub(crate) extension: Arc<str>,
    /// Where its bytes are.
    pub(crate) place: Place,
    /// How many bytes it has; a file that has another length by the time it is read has changed, which is an error.
    pub(crate) length: u64,
    /// The checksum that the source has of them (our own sets do): bytes that do not have it are an error.
    pub(crate) xxh3: Option<Checksum>,
}

/// Where bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The whole file at the item's name below [`Listing::root`] (an absolute name stands for itself).
    Own,
    /// A part of one of [`Listing::files`].
    Range {
        /// Number of the file.
        file: u32,
        /// Where it begins, in bytes.
        offset: u64,
    },
}

/// The class of a sample as its source knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Label {
    /// The source has no labels.
    None,
    /// The name of the class; numbered in byte order of all names, or as the list of classes says.
    Class(Arc<str>),
    /// The number itself.
    Number(u32),
}

/// The names of the classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Classes {
    /// All names that occur, in byte order. Without names there are no classes.
    Found,
    /// These, in this order; another name or a number beyond them is an error.
    Fixed(Vec<String>),
}

/// Files that are no pictures by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ignored {
    /// How many.
    pub count: u64,
    /// The first of them, at most 10, relative to the source; bytes that are not UTF-8 are shown as U+FFFD.
    pub first: Vec<String>,
}

impl Ignored {
    /// Counts a file, and names it if it is among the first.
    pub(crate) fn add(&mut self, name: &OsStr) {
        const NAMED: usize = 10;
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(name.to_string_lossy().into_owned());
        }
    }
}

/// A source whose samples can be read in any order.
#[derive(Debug)]
pub(crate) struct Listing {
    /// What the names are relative to.
    pub(crate) root: PathBuf,
    /// The files that [`Place::Range`] counts.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) items: Vec<RawItem>,
    pub(crate) classes: Classes,
    pub(crate) ignored: Ignored,
    /// Samples that cannot be packed, found while listing (a sample without a picture, …).
    pub(crate) bad: Vec<BadItem>,
    /// What is odd about the source but loses nothing that is known.
    pub(crate) warnings: Vec<String>,
}

/// What was noticed while a source was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    pub(crate) ignored: Ignored,
    pub(crate) warnings: Vec<String>,
}

/// Notes that a stream takes while it is read by somebody else.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedNotes(Arc<Mutex<Notes>>);

impl SharedNotes {
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Notes) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Notes what a tar's reader found odd.
fn note_warnings(notes: &SharedNotes, path: &Path, warnings: &[TarWarning]) {
    let lines = warnings.iter().map(|warning| format!("{}: {warning}", path.display()));
    notes.with(|notes| notes.warnings.extend(lines));
}

/// A sample that cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadItem {
    pub(crate) name: OsString,
    /// One word for counting: `no_picture`, `duplicate_key`, …
    pub(crate) kind: Cow<'static, str>,
    /// A sentence's end: `it has no picture, only txt and cls`.
    pub(crate) what: String,
}

/// A sample with its bytes, from a source that is read once.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// As [`RawItem::name`].
    pub(crate) name: Box<OsStr>,
    /// As [`RawItem::key`].
    pub(crate) key: Option<Box<str>>,
    pub(crate) label: Label,
    /// Extension and bytes of the picture.
    pub(crate) picture: (Arc<str>, Vec<u8>),
    /// Extensions and bytes of the others.
    pub(crate) others: Vec<(Arc<str>, Vec<u8>)>,
}

/// What a stream has next.
#[derive(Debug)]
pub(crate) enum Next {
    Sample(Streamed),
    Bad(BadItem),
    End,
}

/// A source that can only be read from beginning to end.
pub(crate) trait Stream: Send {
    /// Reads on. After an error or [`Next::End`] it is not called again.
    fn next(&mut self) -> Result<Next, PackError>;

    /// Bytes of the source read so far, for progress; see [`StreamSource::bytes`].
    fn position(&self) -> u64;
}

/// A [`Stream`] and what is known of it before it is read.
pub(crate) struct StreamSource {
    pub(crate) stream: Box<dyn Stream>,
    /// Length of the source's files in bytes, as [`Stream::position`] counts.
    pub(crate) bytes: u64,
    pub(crate) classes: Classes,
    /// Taken while the stream is read.
    pub(crate) notes: SharedNotes,
}

/// An opened source.
pub(crate) enum Opened {
    Listed(Listing),
    Streamed(StreamSource),
}

/// The relative path without its extension: what a key is made of.
pub(crate) fn stem<'a>(name: &'a OsStr, extension: &str) -> &'a [u8] {
    let name = name.as_bytes();
    &name[..name.len().saturating_sub(extension.len() + 1)]
}

/// Reads a file of text that people or spreadsheets write, without the byte order mark that some put before it.
fn read_text(path: &Path) -> Result<String, PackError> {
    let text = std::fs::read_to_string(path).map_err(|source| PackError::Read { path: path.into(), source })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
