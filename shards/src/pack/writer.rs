//! Writing one shard: the tar, compressed or not, and its index.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::error::PackError;
use crate::checksum::{Checksum, Hasher};
use crate::index::{self, Frame};
use crate::manifest::{ShardInfo, file_names};
use crate::ustar;

/// Large enough that the system is called once per picture or less.
const BUFFER: usize = 1 << 20;

/// A frame ends with the sample that brings it to so many bytes of the tar: reading one sample decompresses little
/// more, and the frames' own bytes are lost among their content.
const FRAME: usize = 1 << 20;

/// After so many bytes the disk is set to work, so that little is left to wait for when the shard is finished.
const WRITE_OUT: u64 = 8 << 20;

/// One member of a sample.
pub(crate) struct NewMember<'a> {
    pub(crate) extension: &'a str,
    pub(crate) data: &'a [u8],
    pub(crate) xxh3: Checksum,
}

/// A shard being written into the work folder.
pub(crate) struct ShardWriter {
    out: Out,
    /// Length of the tar so far.
    bytes: u64,
    samples: u64,
    index: String,
    names: (String, String),
    path: PathBuf,
}

/// A shard whose bytes are written, but perhaps not on the disk.
pub(crate) struct Finished {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) index: String,
    pub(crate) info: ShardInfo,
}

/// The bytes that a sample of such members takes in a tar.
pub(crate) fn tar_length(members: impl IntoIterator<Item = u64>) -> u64 {
    members.into_iter().map(|length| ustar::BLOCK + length + ustar::padding(length)).sum()
}

impl ShardWriter {
    pub(crate) fn create(folder: &Path, set: &str, number: usize, zstd: Option<i32>) -> Result<Self, PackError> {
        let names = file_names(set, number, zstd.is_some());
        let path = folder.join(&names.0);
        let out = File::create(&path).and_then(|file| Out::new(file, zstd));
        let out = out.map_err(|source| PackError::Write { path: path.clone(), source })?;
        Ok(Self { out, bytes: 0, samples: 0, index: index::HEADER.into(), names, path })
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Length of the tar in bytes if it ended here.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + ustar::END.len() as u64
    }

    /// Appends a sample.
    pub(crate) fn add(&mut self, key: &str, members: &[NewMember<'_>]) -> Result<(), PackError> {
        for NewMember { extension, data, xxh3 } in members {
            let length = data.len() as u64;
            let header = ustar::header(&format!("{key}.{extension}"), length).map_err(|error| self.fault(error))?;
            self.put(&header)?;
            index::push_line(self.out.lines(&mut self.index), key, extension, self.bytes, (length, *xxh3));
            self.put(data)?;
            self.put(&[0; ustar::BLOCK as usize][..ustar::padding(length) as usize])?;
        }
        self.samples += 1;
        let ended = self.out.end_sample(&mut self.index);
        ended.map_err(|error| self.fault(error))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.bytes += bytes.len() as u64;
        self.out.put(bytes).map_err(|source| self.fault(source))
    }

    fn fault(&self, source: io::Error) -> PackError {
        PackError::Write { path: self.path.clone(), source }
    }

    /// Ends the tar.
    pub(crate) fn finish(mut self) -> Result<Finished, PackError> {
        self.put(&ustar::END)?;
        let Self { out, bytes: tar_bytes, samples, mut index, names: (file_name, index_file), path } = self;
        let compressed = matches!(out, Out::Compressed { .. });
        let ended = out.finish(&mut index);
        let (file, bytes, xxh3) = ended.map_err(|source| PackError::Write { path: path.clone(), source })?;
        let info = ShardInfo {
            file: file_name,
            index: index_file,
            samples,
            bytes,
            tar_bytes: compressed.then_some(tar_bytes),
            xxh3,
            index_bytes: index.len() as u64,
            index_xxh3: Checksum::of(index.as_bytes()),
        };
        Ok(Finished { file, path, index, info })
    }
}

/// The file and its checksum.
struct Sink {
    file: BufWriter<File>,
    hash: Hasher,
    bytes: u64,
    /// How many of them the system was told to write out.
    started: u64,
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)?;
        if self.bytes - self.started >= WRITE_OUT {
            self.started = self.bytes;
            start_writing_out(self.file.get_ref());
        }
        Ok(())
    }

    fn finish(self) -> io::Result<(File, u64, Checksum)> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((file, self.bytes, self.hash.finish()))
    }
}

/// Asks the system to begin writing a file's pages to the disk. Only a hint: what matters is the sync at the end.
fn start_writing_out(file: &File) {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and no memory is handed over.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// A tar on its way to the disk.
enum Out {
    Plain(Sink),
    Compressed { sink: Sink, zstd: Box<zstd::bulk::Compressor<'static>>, frame: OpenFrame },
}

/// The samples of the frame under way.
#[derive(Default)]
struct OpenFrame {
    /// Where it begins in the tar.
    tar_offset: u64,
    content: Vec<u8>,
    /// The lines of its members: they come behind the frame's own.
    lines: String,
}

impl Out {
    fn new(file: File, zstd: Option<i32>) -> io::Result<Self> {
        let sink = Sink { file: BufWriter::with_capacity(BUFFER, file), hash: Hasher::default(), bytes: 0, started: 0 };
        let Some(level) = zstd else { return Ok(Self::Plain(sink)) };
        let mut zstd = zstd::bulk::Compressor::new(level)?;
        // Any zstd reader then sees a damaged frame by itself.
        zstd.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
        Ok(Self::Compressed { sink, zstd: Box::new(zstd), frame: OpenFrame::default() })
    }

    /// Where the line of the next member goes.
    fn lines<'a>(&'a mut self, index: &'a mut String) -> &'a mut String {
        match self {
            Self::Plain(_) => index,
            Self::Compressed { frame, .. } => &mut frame.lines,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.put(bytes),
            Self::Compressed { frame, .. } => {
                frame.content.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Ends the frame if it is long enough.
    fn end_sample(&mut self, index: &mut String) -> io::Result<()> {
        match self {
            Self::Compressed { frame, .. } if frame.content.len() >= FRAME => self.end_frame(index),
            _ => Ok(()),
        }
    }

    fn end_frame(&mut self, index: &mut String) -> io::Result<()> {
        let Self::Compressed { sink, zstd, frame } = self else { return Ok(()) };
        let packed = zstd.compress(&frame.content)?;
        let (offset, tar_offset) = (sink.bytes, frame.tar_offset);
        let (length, tar_length) = (packed.len() as u64, frame.content.len() as u64);
        sink.put(&packed)?;
        index::push_frame(index, &Frame { offset, length, tar_offset, tar_length });
        index.push_str(&frame.lines);
        frame.tar_offset += tar_length;
        frame.content.clear();
        frame.lines.clear();
        Ok(())
    }

    fn finish(mut self, index: &mut String) -> io::Result<(File, u64, Checksum)> {
        self.end_frame(index)?;
        match self {
            Self::Plain(sink) | Self::Compressed { sink, .. } => sink.finish(),
        }
    }
}
