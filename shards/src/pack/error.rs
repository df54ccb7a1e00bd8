//! Why a folder cannot be packed.

use std::io;
use std::path::PathBuf;

/// A source or destination that cannot be packed. Nothing that looks like a set is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The source has no picture at all.
    #[error("{path} holds no pictures: files in its class folders must end in {}", extensions())]
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
    #[error("stopped before the set was finished; nothing is left of it")]
    Stopped,
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
