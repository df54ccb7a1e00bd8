//! Why a folder cannot be packed.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::error::ShardError;
use crate::tar::{GroupError, TarError};

/// A source or destination that cannot be packed. Nothing that looks like a set is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The source has no picture at all.
    #[error("{path} holds no pictures: their names must end in {}", extensions())]
    NoPictures {
        /// The source.
        path: PathBuf,
    },
    /// The source has pictures, but not in class folders.
    #[error("{path} holds pictures but no class folders: put the pictures of each class into a folder of their own")]
    NoClassFolders {
        /// The source.
        path: PathBuf,
    },
    /// Some class folders have no pictures, so their labels would name nothing.
    #[error("class folders without pictures: {}; remove them or fill them", names(paths))]
    EmptyClasses {
        /// The class folders.
        paths: Vec<PathBuf>,
    },
    /// A symbolic link leads back to a folder that it lies in.
    #[error(
        "{link} is a symbolic link to a folder that it lies in ({target}): following it would never end; remove it"
    )]
    Loop {
        /// The link.
        link: PathBuf,
        /// The folder it leads to.
        target: PathBuf,
    },
    /// A class folder's name cannot be written into the manifest.
    #[error("the name of class folder {path} is not UTF-8: rename it")]
    ClassName {
        /// The class folder.
        path: PathBuf,
    },
    /// A file or folder of the source cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file named like a picture is none.
    #[error("{path} is not a picture: {reason}; remove it or rename it")]
    NotAPicture {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Two samples of the source have the same key.
    #[error(
        "{}: key {key} is there twice; rename one of them, or say --on-bad-image skip (the second is left out) or keep \
         (it gets another key)", name.display()
    )]
    DuplicateKey {
        /// The second of the samples.
        name: OsString,
        /// The key.
        key: String,
    },
    /// A sample has a class that is not listed.
    #[error("{}: class {class} is not one of the listed classes", name.display())]
    UnknownClass {
        /// The sample.
        name: OsString,
        /// Its class.
        class: String,
    },
    /// Some samples have names of classes, others numbers.
    #[error("{} has a number for its class, others have names ({class}, …): give all of them the same kind", name.display())]
    MixedLabels {
        /// A sample with a number.
        name: OsString,
        /// The class of another one.
        class: String,
    },
    /// A sample is not what it was when the source was listed.
    #[error("{path} changed while it was packed: {reason}; run the same command again")]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is different.
        reason: String,
    },
    /// A source, or a file that says something about it, is not as it must be.
    #[error("{path}{}: {reason}", line_text(*line))]
    Source {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// A tar of the source is damaged.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The members of a tar make no samples.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A shard set that is packed anew cannot be read.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The source has a checksum of its own, and bytes do not have it.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        reason: String,
    },
    /// A sample is no good, and nothing else was asked for.
    #[error("{}: {reason}; remove it or mend it, or say --on-bad-image skip or keep", name.display())]
    BadSample {
        /// The sample.
        name: OsString,
        /// What is wrong with it.
        reason: String,
    },
    /// The destination holds an unfinished pack that cannot be gone on with.
    #[error(
        "{path} holds an unfinished pack, but {reason}: repeat the command that began it, or begin anew with --resume never"
    )]
    Resume {
        /// The destination.
        path: PathBuf,
        /// What is different.
        reason: String,
    },
    /// All samples were left out.
    #[error("{path}: none of its {count} samples can be packed; report: {report}")]
    AllBad {
        /// The source.
        path: PathBuf,
        /// How many there are.
        count: u64,
        /// The first of them and why.
        report: String,
    },
    /// The destination is not an empty or new folder.
    #[error("destination {path} {reason}: name a folder that is empty or not there yet")]
    Destination {
        /// The destination.
        path: PathBuf,
        /// What is in the way.
        reason: &'static str,
    },
    /// The destination cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The options cannot be used.
    #[error("{0}")]
    Config(String),
    /// The caller asked to stop.
    #[error("stopped before the set was finished; the same command goes on where it stopped")]
    Stopped,
}

fn line_text(line: Option<u64>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

fn extensions() -> String {
    crate::PICTURE_EXTENSIONS.map(|extension| format!(".{extension}")).join(" ")
}

/// The first few of `paths`, and how many more there are.
fn names(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    if paths.len() > SHOWN {
        names.push(format!("and {} more", paths.len() - SHOWN));
    }
    names.join(", ")
}
