//! Writing one shard: the tar and its index.

use std::io::{BufWriter, Write};

use super::atomic::{AtomicFile, Destination};
use super::error::PackError;
use super::read::Loaded;
use crate::checksum::{Checksum, Hasher};
use crate::index::{self, LABEL_EXTENSION};
use crate::manifest::{ShardInfo, file_names};
use crate::ustar;

/// Large enough that the system is called once per picture or less.
const BUFFER: usize = 1 << 20;

/// A shard being written; dropped before [`ShardWriter::finish`] it leaves nothing.
pub(crate) struct ShardWriter {
    tar: BufWriter<AtomicFile>,
    hash: Hasher,
    bytes: u64,
    samples: u64,
    index: String,
    names: (String, String),
}

impl ShardWriter {
    pub(crate) fn create(destination: &Destination, set: &str, number: usize) -> Result<Self, PackError> {
        let names = file_names(set, number, false);
        let tar = BufWriter::with_capacity(BUFFER, AtomicFile::create(destination, &names.0)?);
        Ok(Self { tar, hash: Hasher::default(), bytes: 0, samples: 0, index: index::HEADER.into(), names })
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Appends the picture and its label.
    pub(crate) fn add(&mut self, key: &str, extension: &str, label: u32, picture: &Loaded) -> Result<(), PackError> {
        self.member(key, extension, &picture.bytes, picture.xxh3)?;
        let label = label.to_string();
        self.member(key, LABEL_EXTENSION, label.as_bytes(), Checksum::of(label.as_bytes()))?;
        self.samples += 1;
        Ok(())
    }

    fn member(&mut self, key: &str, extension: &str, data: &[u8], xxh3: Checksum) -> Result<(), PackError> {
        let length = data.len() as u64;
        let header = ustar::header(&format!("{key}.{extension}"), length);
        let header = header.map_err(|source| self.fault(source))?;
        self.put(&header)?;
        index::push_line(&mut self.index, key, extension, self.bytes, (length, xxh3));
        self.put(data)?;
        self.put(&[0; ustar::BLOCK as usize][..ustar::padding(length) as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.tar.write_all(bytes).map_err(|source| self.fault(source))
    }

    fn fault(&self, source: std::io::Error) -> PackError {
        PackError::Write { path: self.tar.get_ref().path().into(), source }
    }

    /// Ends the tar and gives both files their names.
    pub(crate) fn finish(mut self, destination: &mut Destination) -> Result<ShardInfo, PackError> {
        self.put(&ustar::END)?;
        let Self { tar, hash, bytes, samples, index, names: (file, index_file) } = self;
        let path = tar.get_ref().path().to_path_buf();
        let tar = tar.into_inner().map_err(|error| PackError::Write { path, source: error.into_error() })?;
        destination.commit(tar)?;
        destination.write(&index_file, index.as_bytes())?;
        let (xxh3, index_xxh3) = (hash.finish(), Checksum::of(index.as_bytes()));
        Ok(ShardInfo {
            file,
            index: index_file,
            samples,
            bytes,
            tar_bytes: None,
            xxh3,
            index_bytes: index.len() as u64,
            index_xxh3,
        })
    }
}
