//! What can be wrong with a shard set that is being read.

use std::io;
use std::path::PathBuf;

/// A shard set, shard or sample that cannot be read as it was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The system could not read a file. Unlike all other errors this one may be gone at the next attempt.
    #[error("cannot read {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder has no manifest: it is no set, or packing it was interrupted.
    #[error("{path} is not a shard set: it has no manifest.json (packing writes it last)")]
    NotASet {
        /// The folder.
        path: PathBuf,
    },
    /// The set was written by a newer program.
    #[error("{path} has format version {found}, this program reads version {supported}: use a newer mugs-shard")]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The version that the file says.
        found: u64,
        /// The newest version that can be read.
        supported: u32,
    },
    /// The manifest is damaged, was edited, or contradicts itself.
    #[error("{path} is damaged: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The index of a shard is damaged or does not belong to its shard.
    #[error("{path} is damaged{}: {reason}", at(*offset))]
    Index {
        /// The index file.
        path: PathBuf,
        /// Where, in bytes from its start, if that can be told.
        offset: Option<u64>,
        /// What does not fit.
        reason: String,
    },
    /// A file of the set is longer or shorter than the manifest says.
    #[error("{path} has {found} bytes, the manifest says {expected}: it was cut, copied in part or replaced")]
    Size {
        /// The shard or index.
        path: PathBuf,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes on disk.
        found: u64,
    },
    /// The shard ends before the sample does.
    #[error(
        "shard {path} is truncated: sample {key} at offset {offset} needs {needed} bytes of file, there are {found}"
    )]
    Truncated {
        /// The shard.
        path: PathBuf,
        /// The sample.
        key: String,
        /// Where the member's data begin, in bytes from the start of the shard.
        offset: u64,
        /// How long the shard must be to hold the sample.
        needed: u64,
        /// How long the shard is.
        found: u64,
    },
    /// A member's bytes are not those that were packed.
    #[error(
        "shard {path} is damaged: {key}.{extension} ({length} bytes at offset {offset}) does not have its checksum"
    )]
    Checksum {
        /// The shard.
        path: PathBuf,
        /// The sample.
        key: String,
        /// The member.
        extension: String,
        /// Where the member's data begin, in bytes from the start of the shard.
        offset: u64,
        /// Length of the member's data in bytes.
        length: u64,
    },
    /// The compressed bytes that hold a sample cannot be decompressed.
    #[error("shard {path} is damaged: the frame at offset {offset} that holds {key} cannot be decompressed: {reason}")]
    Frame {
        /// The shard.
        path: PathBuf,
        /// The sample.
        key: String,
        /// Where the frame begins, in bytes from the start of the file.
        offset: u64,
        /// What does not fit.
        reason: String,
    },
    /// A label is no number or names no class of the manifest.
    #[error("shard {path} has a bad label: {key}.cls at offset {offset} {reason}")]
    Label {
        /// The shard.
        path: PathBuf,
        /// The sample.
        key: String,
        /// Where the label begins, in bytes from the start of the shard.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A shard or sample was asked for that the set does not have.
    #[error("{path} has {count} {what}, number {asked} (from 0) was asked for")]
    OutOfRange {
        /// The set or shard.
        path: PathBuf,
        /// "shards" or "samples".
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The number that was asked for.
        asked: usize,
    },
}

impl ShardError {
    /// A word for counting errors: `io`, `truncated`, `checksum`, `frame`, `label`, `index`, `manifest` or `range`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Size { .. } | Self::Truncated { .. } => "truncated",
            Self::Checksum { .. } => "checksum",
            Self::Frame { .. } => "frame",
            Self::Label { .. } => "label",
            Self::Index { .. } => "index",
            Self::NotASet { .. } | Self::Version { .. } | Self::Manifest { .. } => "manifest",
            Self::OutOfRange { .. } => "range",
        }
    }

    /// Whether the bytes of one sample are at fault, so that the samples around it can still be read.
    pub fn is_bad_sample(&self) -> bool {
        matches!(self, Self::Truncated { .. } | Self::Checksum { .. } | Self::Frame { .. } | Self::Label { .. })
    }
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default()
}
