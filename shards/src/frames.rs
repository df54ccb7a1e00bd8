//! The frames of a compressed shard: one is decompressed to read any of its samples.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::ShardError;
use crate::index::Frame;

/// The frames of a shard, in the order of the file, and the content of the one that was read last: samples are mostly
/// read one after the other.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    frames: Vec<Frame>,
    last: Mutex<Option<(u64, Bytes)>>,
}

/// Why a frame cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    /// The file ends before the frame does; where the frame ends.
    Truncated(u64),
    /// The bytes at this offset are not a frame of that content.
    Damaged(u64, String),
}

impl Fault {
    /// The fault of the sample `key`, whose data begin at `offset` of the tar, in a file of `found` bytes.
    pub(crate) fn of(self, path: &Path, key: &Arc<str>, offset: u64, found: u64) -> ShardError {
        let (path, key) = (path.to_path_buf(), key.to_string());
        match self {
            Self::Io(source) => ShardError::Io { path, source },
            Self::Truncated(needed) => ShardError::Truncated { path, key, offset, needed, found },
            Self::Damaged(offset, reason) => ShardError::Frame { path, key, offset, reason },
        }
    }
}

impl Frames {
    pub(crate) fn new(frames: Vec<Frame>) -> Self {
        Self { frames, last: Mutex::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The content of the frame that holds byte `at` of the tar, and where it begins in the tar.
    pub(crate) fn read(&self, file: &File, at: u64) -> Result<(u64, Bytes), Fault> {
        let number = self.frames.partition_point(|frame| frame.tar_offset <= at).saturating_sub(1);
        let Some(frame) = self.frames.get(number) else {
            return Err(Fault::Damaged(0, "it has no frames".into()));
        };
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((start, content)) = last.filter(|(start, _)| *start == frame.tar_offset) {
            return Ok((start, content));
        }
        // Other threads may decompress the same frame meanwhile; waiting for them would be no faster.
        let content = Bytes::from(decompress(file, frame)?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((frame.tar_offset, content.clone()));
        Ok((frame.tar_offset, content))
    }
}

/// Reads and decompresses a frame.
pub(crate) fn decompress(file: &File, frame: &Frame) -> Result<Vec<u8>, Fault> {
    let damaged = |reason: String| Fault::Damaged(frame.offset, reason);
    let end = frame.offset + frame.length;
    if file.metadata().map_err(Fault::Io)?.len() < end {
        return Err(Fault::Truncated(end));
    }
    let mut packed = vec![0; frame.length as usize];
    file.read_exact_at(&mut packed, frame.offset).map_err(Fault::Io)?;
    let decoder = zstd::stream::read::Decoder::with_buffer(&packed[..]).map_err(|error| damaged(error.to_string()))?;
    // Grows with what really comes out, whatever the index says, and never beyond it.
    let mut content = Vec::new();
    let read = decoder.take(frame.tar_length + 1).read_to_end(&mut content);
    read.map_err(|error| damaged(error.to_string()))?;
    if content.len() as u64 != frame.tar_length {
        let found = content.len().min(frame.tar_length as usize + 1);
        return Err(damaged(format!("it holds {found} bytes, the index says {}", frame.tar_length)));
    }
    Ok(content)
}
