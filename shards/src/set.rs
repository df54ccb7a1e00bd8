//! Reading a set: open it, open a shard, read samples by number.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::checksum::Checksum;
use crate::error::ShardError;
use crate::frames::Frames;
use crate::index::{self, Index, Member, SampleEntry};
use crate::manifest::{Manifest, ShardInfo};

/// A set of shards in a folder.
///
/// ```no_run
/// # fn main() -> Result<(), mugs_shards::ShardError> {
/// let set = mugs_shards::ShardSet::open("imagenet-train")?;
/// let shard = set.open_shard(0)?;
/// for number in 0..shard.len() {
///     let sample = shard.read(number)?;
///     println!("{}: {} bytes, label {:?}", sample.key, sample.image.len(), sample.label);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ShardSet {
    folder: PathBuf,
    manifest: Arc<Manifest>,
    digest: Checksum,
}

impl ShardSet {
    /// Opens the set in `folder`: reads and checks its manifest and the sizes of its files, not their content.
    ///
    /// # Errors
    /// The manifest cannot be read or is damaged, or a file is missing or has another size than the manifest says.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, ShardError> {
        let set = Self::open_partial(folder)?;
        for shard in &set.manifest.shards {
            set.check_size(&shard.file, shard.bytes)?;
            set.check_size(&shard.index, shard.index_bytes)?;
        }
        Ok(set)
    }

    /// As [`ShardSet::open`], but shards may be cut or missing: the samples that they still hold can be read.
    ///
    /// # Errors
    /// The manifest cannot be read or is damaged.
    pub fn open_partial(folder: impl Into<PathBuf>) -> Result<Self, ShardError> {
        let folder = folder.into();
        let (manifest, digest) = Manifest::load(&folder)?;
        Ok(Self { folder, manifest: Arc::new(manifest), digest })
    }

    /// What the set holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder of the set.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The manifest's checksum, which covers the checksum of every file: equal digests mean equal sets.
    pub fn digest(&self) -> String {
        self.digest.to_string()
    }

    /// Finds a sample by its key: the numbers of its shard and of the sample in it, both from 0. Reads indices until it
    /// is found.
    ///
    /// # Errors
    /// An index cannot be read.
    pub fn find(&self, key: &str) -> Result<Option<(usize, usize)>, ShardError> {
        for (number, shard) in self.manifest.shards.iter().enumerate() {
            let samples = self.read_index(shard)?.samples;
            if let Some(sample) = samples.iter().position(|sample| &*sample.key == key) {
                return Ok(Some((number, sample)));
            }
        }
        Ok(None)
    }

    /// Opens shard `number`, counted from 0: reads and checks its index.
    ///
    /// # Errors
    /// A file cannot be read, or the index is not the one that the manifest knows.
    pub fn open_shard(&self, number: usize) -> Result<ShardReader, ShardError> {
        let shards = &self.manifest.shards;
        let Some(shard) = shards.get(number) else {
            let path = self.folder.clone();
            return Err(ShardError::OutOfRange { path, what: "shards", count: shards.len(), asked: number });
        };
        let Index { samples: entries, frames } = self.read_index(shard)?;
        let path = self.folder.join(&shard.file);
        let (file, bytes) = open_file(&path).map_err(|source| ShardError::Io { path: path.clone(), source })?;
        Ok(ShardReader {
            number,
            name: shard.file.as_str().into(),
            path,
            file,
            bytes,
            entries,
            frames: Frames::new(frames),
            set: self.manifest.clone(),
        })
    }

    /// Reads a shard's index and compares it with the manifest.
    pub(crate) fn read_index(&self, shard: &ShardInfo) -> Result<Index, ShardError> {
        let path = self.folder.join(&shard.index);
        let bytes = self.index_bytes(shard)?;
        let fault = |offset, reason| ShardError::Index { path: path.clone(), offset, reason };
        let found = Checksum::of(&bytes);
        if found != shard.index_xxh3 {
            return Err(fault(None, format!("its checksum is {found}, the manifest says {}", shard.index_xxh3)));
        }
        let compressed = shard.tar_bytes.map(|_| shard.bytes);
        let index = index::parse(&bytes, shard.tar_bytes(), compressed);
        let index = index.map_err(|f| fault(Some(f.offset), f.reason))?;
        if index.samples.len() as u64 != shard.samples {
            let reason = format!("it has {} samples, the manifest says {}", index.samples.len(), shard.samples);
            return Err(fault(None, reason));
        }
        Ok(index)
    }

    /// The bytes of a shard's index, if they are as many as the manifest says.
    pub(crate) fn index_bytes(&self, shard: &ShardInfo) -> Result<Vec<u8>, ShardError> {
        self.check_size(&shard.index, shard.index_bytes)?;
        let path = self.folder.join(&shard.index);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(shard.index_bytes).read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|source| ShardError::Io { path, source })
    }

    fn check_size(&self, file: &str, expected: u64) -> Result<(), ShardError> {
        let path = self.folder.join(file);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == expected => Ok(()),
            Ok(metadata) => Err(ShardError::Size { path, expected, found: metadata.len() }),
            Err(source) => Err(ShardError::Io { path, source }),
        }
    }
}

fn open_file(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

/// An open shard. Reading takes `&self` and keeps no position: threads may share a reader.
///
/// Bytes are read with `pread`, not mapped: a file that is cut or a network file system that fails then gives an
/// error that names the sample, where a mapping would end the process with SIGBUS.
#[derive(Debug)]
pub struct ShardReader {
    number: usize,
    name: Arc<str>,
    path: PathBuf,
    file: File,
    /// Length of the file when it was opened; bounds every allocation.
    bytes: u64,
    entries: Vec<SampleEntry>,
    frames: Frames,
    set: Arc<Manifest>,
}

/// One sample as it was packed.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The sample's name, unique in its set.
    pub key: Arc<str>,
    /// Which shard it came from, counted from 0.
    pub shard: usize,
    /// The file name of that shard.
    pub shard_name: Arc<str>,
    /// Where the picture's bytes begin, from the start of the tar (for a compressed shard, of what it decompresses to).
    pub offset: u64,
    /// The picture's extension, lower case. What the picture is follows from its content, not from this.
    pub extension: Arc<str>,
    /// The picture, encoded.
    pub image: Bytes,
    /// Number of the class in the manifest's `classes`, if the sample has a label.
    pub label: Option<u32>,
}

impl ShardReader {
    /// Samples in the shard.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the shard has no samples; a valid one always has.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file name of the shard.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where sample `number`, counted from 0, lies.
    ///
    /// # Panics
    /// There is no such sample; see [`ShardReader::len`].
    pub fn entry(&self, number: usize) -> &SampleEntry {
        &self.entries[number]
    }

    /// All samples in the order of the tar.
    pub fn entries(&self) -> &[SampleEntry] {
        &self.entries
    }

    /// Reads all members of sample `number`, counted from 0, in the order of its [entry](Self::entry), and checks every
    /// byte of them.
    ///
    /// # Errors
    /// The shard cannot be read or ends too early, or a member does not have its checksum.
    pub fn read_members_of(&self, number: usize) -> Result<Vec<Bytes>, ShardError> {
        let entry = self.entries.get(number).ok_or_else(|| self.out_of_range(number))?;
        let (start, bytes) = self.read_members(entry)?;
        let data = |member: &Member| bytes.slice((member.offset - start) as usize..(member.end() - start) as usize);
        let checked = entry.members.iter().map(|member| {
            let data = data(member);
            if Checksum::of(&data) == member.xxh3 { Ok(data) } else { Err(self.wrong_checksum(entry, member)) }
        });
        checked.collect()
    }

    /// Reads the picture and the label of sample `number`, counted from 0, and checks every byte of its members.
    ///
    /// # Errors
    /// The shard cannot be read or ends too early, a member does not have its checksum, or the label is none.
    pub fn read(&self, number: usize) -> Result<Sample, ShardError> {
        let members = self.read_members_of(number)?;
        let entry = &self.entries[number];
        let data = |member: &Member| {
            let at = entry.members.iter().position(|other| other.offset == member.offset);
            at.and_then(|at| members.get(at).cloned()).unwrap_or_default()
        };
        // The index was refused if a sample had no picture.
        let picture = entry.picture().ok_or_else(|| self.out_of_range(number))?;
        let label = self.label_among(number, &members)?;
        Ok(Sample {
            key: entry.key.clone(),
            shard: self.number,
            shard_name: self.name.clone(),
            offset: picture.offset,
            extension: picture.extension.clone(),
            image: data(picture),
            label,
        })
    }

    /// The label of sample `number`, whose members were read by [`ShardReader::read_members_of`].
    ///
    /// # Errors
    /// The label is none.
    pub(crate) fn label_among(&self, number: usize, members: &[Bytes]) -> Result<Option<u32>, ShardError> {
        let entry = self.entries.get(number).ok_or_else(|| self.out_of_range(number))?;
        let Some(label) = entry.label() else { return Ok(None) };
        let at = entry.members.iter().position(|member| member.offset == label.offset);
        let data = at.and_then(|at| members.get(at)).map_or(&[][..], |data| data);
        self.label(entry, label, data).map(Some)
    }

    /// The bytes from the first member's data to the last one's end, in one read, and where they begin.
    fn read_members(&self, entry: &SampleEntry) -> Result<(u64, Bytes), ShardError> {
        if let Some(first) = entry.members.first().filter(|_| !self.frames.is_empty()) {
            let read = self.frames.read(&self.file, first.offset);
            return read.map_err(|fault| fault.of(&self.path, &entry.key, first.offset, self.bytes));
        }
        if let Some(cut) = entry.members.iter().find(|member| member.end() > self.bytes) {
            return Err(self.truncated(entry, cut, self.bytes));
        }
        let (Some(first), Some(last)) = (entry.members.first(), entry.members.last()) else {
            return Ok((0, Bytes::new()));
        };
        let mut bytes = vec![0; (last.end() - first.offset) as usize];
        match self.file.read_exact_at(&mut bytes, first.offset) {
            Ok(()) => Ok((first.offset, bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // Cut since it was opened.
                let found = self.file.metadata().map_or(0, |metadata| metadata.len());
                Err(self.truncated(entry, first, found))
            }
            Err(source) => Err(ShardError::Io { path: self.path.clone(), source }),
        }
    }

    fn label(&self, entry: &SampleEntry, member: &Member, data: &[u8]) -> Result<u32, ShardError> {
        let classes = self.set.classes.len();
        let fault = |reason| {
            let (path, key) = (self.path.clone(), entry.key.to_string());
            ShardError::Label { path, key, offset: member.offset, reason }
        };
        let text = std::str::from_utf8(data).unwrap_or_default().trim_ascii();
        let label: u32 = text.parse().map_err(|_| fault("is no decimal number".into()))?;
        if classes > 0 && label as usize >= classes {
            return Err(fault(format!("is {label}, but the set has {classes} classes")));
        }
        Ok(label)
    }

    fn truncated(&self, entry: &SampleEntry, member: &Member, found: u64) -> ShardError {
        let (path, key) = (self.path.clone(), entry.key.to_string());
        let needed = entry.members.last().map_or(member.end(), Member::end);
        ShardError::Truncated { path, key, offset: member.offset, needed, found }
    }

    fn wrong_checksum(&self, entry: &SampleEntry, member: &Member) -> ShardError {
        ShardError::Checksum {
            path: self.path.clone(),
            key: entry.key.to_string(),
            extension: member.extension.to_string(),
            offset: member.offset,
            length: member.length,
        }
    }

    fn out_of_range(&self, asked: usize) -> ShardError {
        ShardError::OutOfRange { path: self.path.clone(), what: "samples", count: self.entries.len(), asked }
    }
}
