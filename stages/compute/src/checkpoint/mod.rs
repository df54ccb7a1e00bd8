//! Checkpoints: plain PyTorch state dicts in the published layout, with what a resume needs beside it under `mugs`.
//!
//! `torch.load(path, weights_only=True)` opens them. [`Loaded::read`] takes those of the published implementation too.
//! Nothing in a file is ever executed: [`load_value`] reads any PyTorch file of plain values and tensors and describes
//! the rest; what is to become a run must not even name a class or function that checkpoints have no use for.
//!
//! Writing needs no memory beside the state: the file is a stream, and each tensor's bytes are taken from where they
//! lie (from a device they are copied to the host one tensor at a time).

mod layout;
mod optimizer;
mod pickle;
mod published;
mod value;
mod zipfile;

use std::fs::{File, Permissions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use layout::LayoutError;
pub use pickle::PickleError;
pub use published::Published;
use tempfile::NamedTempFile;
pub use value::{Opaque, Value};
pub use zipfile::FileError;

use self::zipfile::Unknown;
use crate::state::TrainState;

/// What the names of files under way begin with: a process that was killed leaves them in the folder of the checkpoint.
pub const TEMPORARY_PREFIX: &str = ".checkpoint-";

/// The state of a run between two steps.
#[derive(Debug)]
pub struct Checkpoint {
    /// Weights, memories, queues, centre and optimiser.
    pub state: TrainState,
    /// Epochs finished.
    pub epoch: usize,
    /// The options of the run under their published names.
    pub args: Vec<(String, Value)>,
    /// What a resume needs beside the published entries.
    pub mugs: MugsState,
}

/// The position in the data and what it depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MugsState {
    /// Seed of the run.
    pub seed: u64,
    /// Streams that the data are divided into.
    pub streams: u64,
    /// Samples of a step over all ranks.
    pub global_batch: u64,
    /// Epoch of the next step.
    pub epoch: u64,
    /// The next step within that epoch.
    pub step: u64,
    /// The resolved configuration as JSON.
    pub configuration: String,
    /// Digest of the data set's manifest.
    pub data: String,
    /// Sums of the unfinished epoch's log line as JSON.
    pub sums: String,
}

/// What a file holds.
#[derive(Debug)]
pub enum Loaded {
    /// A checkpoint that [`Checkpoint::write`] wrote.
    Own(Box<Checkpoint>),
    /// One of the published implementation.
    Published(Box<Published>),
}

/// Where a checkpoint stands; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Epoch of the next step.
    pub epoch: u64,
    /// The next step within that epoch.
    pub step: u64,
}

/// Why a checkpoint cannot be written or read; the cause says what and where.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It cannot be written; an older file of that name is as it was.
    #[error("cannot write checkpoint {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// The file cannot be read.
    #[error("cannot read checkpoint {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// The file is sound, but no checkpoint to resume from.
    #[error("cannot resume from checkpoint {}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LayoutError,
    },
}

impl CheckpointError {
    /// Whether the file is cut or damaged, so that another one is the better choice. A file that cannot be opened, one
    /// that is refused and a sound one that is no checkpoint are not.
    pub fn is_damage(&self) -> bool {
        matches!(self, CheckpointError::Read { source: FileError::Zip(_) | FileError::Member { .. }, .. })
    }
}

impl Loaded {
    /// Reads a checkpoint of either sort, all checksums included; tensors are on the CPU.
    pub fn read(path: &Path) -> Result<Loaded, CheckpointError> {
        let value = read_value(path, |file| zipfile::read(file, Unknown::Refuse))?;
        let loaded = match value.get("mugs") {
            Some(_) => layout::from_value(&value).map(|own| Loaded::Own(Box::new(own))),
            None => Published::from_value(&value).map(|published| Loaded::Published(Box::new(published))),
        };
        loaded.map_err(|source| CheckpointError::Layout { path: path.to_owned(), source })
    }
}

impl Position {
    /// Reads where a checkpoint of either sort stands, and none of its tensors.
    pub fn read(path: &Path) -> Result<Position, CheckpointError> {
        let value = read_value(path, zipfile::outline)?;
        layout::position(&value).map_err(|source| CheckpointError::Layout { path: path.to_owned(), source })
    }
}

impl Checkpoint {
    /// Writes the checkpoint in place of `path`, which holds the old or the new file whatever happens.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        self.write_beside(path)?.publish()
    }

    /// Writes the checkpoint into a temporary file beside `path`. The state is not needed any more then.
    pub fn write_beside(&self, path: &Path) -> Result<Unpublished, CheckpointError> {
        let value = layout::to_value(self);
        let value = value.map_err(|source| CheckpointError::Layout { path: path.to_owned(), source })?;
        Unpublished::write(&value, path)
    }

    /// Reads a checkpoint written by [`Checkpoint::write`]; tensors are on the CPU.
    pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let value = read_value(path, |file| zipfile::read(file, Unknown::Refuse))?;
        layout::from_value(&value).map_err(|source| CheckpointError::Layout { path: path.to_owned(), source })
    }
}

/// Writes any tree of plain values and tensors as a PyTorch file, in place of `path`.
pub fn save_value(value: &Value, path: &Path) -> Result<(), CheckpointError> {
    Unpublished::write(value, path)?.publish()
}

/// Reads any PyTorch file; objects that are no plain values are described.
pub fn load_value(path: &Path) -> Result<Value, CheckpointError> {
    read_value(path, |file| zipfile::read(file, Unknown::Describe))
}

fn read_value(
    path: &Path,
    read: impl FnOnce(BufReader<File>) -> Result<Value, FileError>,
) -> Result<Value, CheckpointError> {
    let value = File::open(path).map_err(FileError::from).and_then(|file| read(BufReader::new(file)));
    value.map_err(|source| CheckpointError::Read { path: path.to_owned(), source })
}

/// A whole file beside the one that it is to replace. Without [`publish`](Self::publish) it goes away.
#[derive(Debug)]
pub struct Unpublished {
    file: NamedTempFile,
    path: PathBuf,
}

impl Unpublished {
    fn write(value: &Value, path: &Path) -> Result<Unpublished, CheckpointError> {
        let write = || -> Result<NamedTempFile, FileError> {
            let mut file = tempfile::Builder::new()
                .prefix(TEMPORARY_PREFIX)
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(folder(path))?;
            zipfile::write(value, BufWriter::with_capacity(1 << 20, file.as_file_mut()))?.flush()?;
            Ok(file)
        };
        let file = write().map_err(|source| CheckpointError::Write { path: path.to_owned(), source })?;
        Ok(Unpublished { file, path: path.to_owned() })
    }

    /// Makes the file durable, then puts it in its place, which holds the old or the new one whatever happens.
    pub fn publish(self) -> Result<(), CheckpointError> {
        let Unpublished { file, path } = self;
        let publish = || -> std::io::Result<()> {
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            File::open(folder(&path))?.sync_all()
        };
        publish().map_err(|error| CheckpointError::Write { path: path.clone(), source: error.into() })
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
