//! Telling what a source is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{self, Layout};
use super::{Classes, Opened, classes, imagenet, list, webdataset};
use crate::manifest::MANIFEST;
use crate::pack::PackError;
use crate::tar::{Dots, TarStream, expand_braces};

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// What it looks like.
    #[default]
    Auto,
    /// A folder of class folders.
    Folder,
    /// A folder of pictures without labels.
    Flat,
    /// ILSVRC2012_img_train.tar: a tar of class tars.
    ImagenetTrain,
    /// ILSVRC2012_img_val.tar, with its labels.
    ImagenetVal,
    /// A list file: TSV (path, label, key) or JSON lines.
    List,
    /// Shards of a WebDataset: a set of ours, a folder of tars, a tar or a brace pattern.
    #[serde(rename = "webdataset")]
    #[value(name = "webdataset")]
    WebDataset,
}

/// What a source is and how its names and labels are read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// What it is.
    pub kind: SourceKind,
    /// Labels of ImageNet's validation tar: the devkit's ground truth or Kaggle's `LOC_val_solution.csv`.
    pub labels: Option<PathBuf>,
    /// The synset of each ILSVRC2012_ID, line by line, for the devkit's ground truth.
    pub synsets: Option<PathBuf>,
    /// Names of the classes in the order of their numbers: one in each line, or a JSON list.
    pub classes: Option<PathBuf>,
    /// Which dot of a WebDataset's file names ends the key.
    pub dots: Dots,
}

/// Opens a source; lists it if its samples can be read in any order.
///
/// # Errors
/// It cannot be read, is nothing that can be packed, or contradicts itself.
pub(crate) fn open(source: &Path, options: &SourceOptions) -> Result<Opened, PackError> {
    let classes = match &options.classes {
        Some(path) => Classes::Fixed(classes::read(path)?),
        None => Classes::Found,
    };
    let kind = match options.kind {
        SourceKind::Auto => detect(source, options)?,
        kind => kind,
    };
    if kind != SourceKind::ImagenetVal && (options.labels.is_some() || options.synsets.is_some()) {
        let reason = "it is not ILSVRC2012_img_val.tar, so it takes no --labels and --synsets".into();
        return Err(PackError::Source { path: source.into(), line: None, reason });
    }
    match kind {
        SourceKind::Auto | SourceKind::Folder if kind == options.kind => {
            folder::list(source, Layout::Classes, classes).map(Opened::Listed)
        }
        SourceKind::Auto | SourceKind::Folder => folder::list(source, Layout::Any, classes).map(Opened::Listed),
        SourceKind::Flat => folder::list(source, Layout::Flat, classes).map(Opened::Listed),
        SourceKind::ImagenetTrain => imagenet::train(source, classes).map(Opened::Streamed),
        SourceKind::ImagenetVal => imagenet::validation(source, options, classes).map(Opened::Streamed),
        SourceKind::List => list::list(source, classes).map(Opened::Listed),
        SourceKind::WebDataset => webdataset::open(source, options.dots, classes),
    }
}

fn detect(source: &Path, options: &SourceOptions) -> Result<SourceKind, PackError> {
    let fault = |error| PackError::Read { path: source.into(), source: error };
    let metadata = match fs::metadata(source) {
        Ok(metadata) => metadata,
        Err(_) if source.to_string_lossy().contains('{') => return Ok(SourceKind::WebDataset),
        Err(error) => return Err(fault(error)),
    };
    if metadata.is_dir() {
        if source.join(MANIFEST).is_file() {
            return Ok(SourceKind::WebDataset);
        }
        let Some(tar) = tar_without_pictures(source).map_err(fault)? else { return Ok(SourceKind::Folder) };
        if let Some(folder) = folder_with_pictures(source).map_err(fault)? {
            let (tar, folder) = (tar.display(), folder.display());
            let reason = format!(
                "it has both tars ({tar}) and folders of pictures ({folder}): say --kind webdataset or --kind folder"
            );
            return Err(PackError::Source { path: source.into(), line: None, reason });
        }
        return Ok(SourceKind::WebDataset);
    }
    let name = source.to_string_lossy().to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&[".tsv", ".txt", ".jsonl", ".ndjson"]) {
        return Ok(SourceKind::List);
    }
    if !ends(&webdataset::ENDINGS) {
        let reason = "it is nothing that can be packed: name a folder of class folders, a folder of pictures, \
                      ILSVRC2012_img_train.tar or ILSVRC2012_img_val.tar, a list (.tsv, .jsonl), or shards (.tar, \
                      .tar.gz, .tar.zst, a set's folder)";
        return Err(PackError::Source { path: source.into(), line: None, reason: reason.into() });
    }
    // ImageNet's own name: without its labels it would become a set without labels.
    if options.labels.is_some() || name.contains("ilsvrc2012_img_val") {
        return Ok(SourceKind::ImagenetVal);
    }
    Ok(if holds_tars(source)? { SourceKind::ImagenetTrain } else { SourceKind::WebDataset })
}

/// The first tar of a folder that has no pictures beside it.
fn tar_without_pictures(folder: &Path) -> io::Result<Option<PathBuf>> {
    let entries = entries(folder)?;
    let picture = entries.iter().any(|path| folder::picture_extension(path).is_some());
    Ok(entries.into_iter().find(|path| !picture && webdataset::is_tar(path)))
}

/// The first folder in `folder` that has a picture in it, which may well be a class: class tars that were unpacked
/// often lie beside their folders.
fn folder_with_pictures(folder: &Path) -> io::Result<Option<PathBuf>> {
    for path in entries(folder)? {
        if path.is_dir() && entries(&path)?.iter().any(|file| folder::picture_extension(file).is_some()) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// What is in a folder, in byte order of the names.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    entries.sort();
    Ok(entries)
}

/// Whether the first file in a plain tar is a tar.
fn holds_tars(path: &Path) -> Result<bool, PackError> {
    if !path.to_string_lossy().to_ascii_lowercase().ends_with(".tar") {
        return Ok(false);
    }
    let file = File::open(path).map_err(|source| PackError::Read { path: path.into(), source })?;
    let mut tar = TarStream::seekable(file, path)?;
    while let Some(member) = tar.next()? {
        if member.kind == crate::tar::MemberKind::File {
            return Ok(member.name.ends_with(b".tar"));
        }
    }
    Ok(false)
}

/// The paths that a name with braces stands for; itself if it is there as it is.
pub(crate) fn expand(source: &Path) -> Result<Vec<PathBuf>, PackError> {
    if source.exists() {
        return Ok(vec![source.into()]);
    }
    let fault = |reason: String| PackError::Source { path: source.into(), line: None, reason };
    let text = source.to_str().ok_or_else(|| fault("it is not UTF-8".into()))?;
    let names = expand_braces(text).map_err(|error| fault(error.to_string()))?;
    Ok(names.into_iter().map(PathBuf::from).collect())
}
