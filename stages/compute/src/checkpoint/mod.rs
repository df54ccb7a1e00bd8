//! Checkpoints: plain PyTorch state dicts in the published layout, with what a resume needs beside it under `mugs`.
//!
//! `torch.load(path, weights_only=True)` opens them. [`load_value`] reads any PyTorch file of plain values and
//! tensors, published checkpoints included, without executing anything in it.

mod layout;
mod optimizer;
mod pickle;
mod value;
mod zipfile;

use std::fs::{File, Permissions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use layout::LayoutError;
pub use pickle::PickleError;
pub use value::{Opaque, Value};
pub use zipfile::FileError;

use crate::state::TrainState;

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

impl Checkpoint {
    /// Writes the checkpoint in place of `path`, which holds the old or the new file whatever happens.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let value = layout::to_value(self);
        let value = value.map_err(|source| CheckpointError::Layout { path: path.to_owned(), source })?;
        save_value(&value, path)
    }

    /// Reads a checkpoint written by [`Checkpoint::write`]; tensors are on the CPU.
    pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let value = load_value(path)?;
        layout::from_value(&value).map_err(|source| CheckpointError::Layout { path: path.to_owned(), source })
    }
}

/// Writes any tree of plain values and tensors as a PyTorch file, in place of `path`.
pub fn save_value(value: &Value, path: &Path) -> Result<(), CheckpointError> {
    replace(value, path).map_err(|source| CheckpointError::Write { path: path.to_owned(), source })
}

/// Reads any PyTorch file.
pub fn load_value(path: &Path) -> Result<Value, CheckpointError> {
    let value = File::open(path).map_err(FileError::from).and_then(|file| zipfile::read(BufReader::new(file)));
    value.map_err(|source| CheckpointError::Read { path: path.to_owned(), source })
}

/// Writes beside `path`, makes it durable, renames. The temporary file goes away with its handle on any error.
fn replace(value: &Value, path: &Path) -> Result<(), FileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new()
        .prefix(".checkpoint-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    let mut written = zipfile::write(value, BufWriter::with_capacity(1 << 20, temporary.as_file_mut()))?;
    written.flush()?;
    drop(written);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()?;
    Ok(())
}
