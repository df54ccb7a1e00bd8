//! The zip file around a pickle: stored members, storages aligned as PyTorch aligns them.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};

use tch::{Device, Kind, Tensor};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::pickle::{PickleError, TensorSpec, Tree, Unsupported, parse, pickle};
use super::value::Value;

/// The folder inside the zip file that everything lies in.
const ROOT: &str = "checkpoint";
/// PyTorch's alignment of storages, in bytes.
const ALIGNMENT: u16 = 64;
/// Members from this size on get zip64 fields; a little less than where they become necessary.
const LARGE: u64 = 0xf000_0000;

/// Why a file cannot be written or read, without its path.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be opened, read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no sound zip file.
    #[error("not a sound zip file, as PyTorch 1.6 and later writes it")]
    Zip(#[source] ZipError),
    /// One of its members is missing, damaged or unfit.
    #[error("member `{member}`: {what}")]
    Member {
        /// The name inside the zip file.
        member: String,
        /// What is wrong.
        what: String,
    },
    /// The pickle is cut, damaged or of an unknown sort.
    #[error("member `data.pkl`: {0}")]
    Pickle(#[from] PickleError),
    /// The pickle names a class or function that no checkpoint holds.
    #[error(
        "its pickle names `{0}`, which no checkpoint of this method needs; nothing was run, and nothing is taken from \
         such a file"
    )]
    Refused(String),
    /// A value cannot be written.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// PyTorch cannot move or copy a tensor.
    #[error("copying tensor {0} to the host: {1}")]
    Tensor(usize, tch::TchError),
}

impl From<ZipError> for FileError {
    fn from(error: ZipError) -> FileError {
        match error {
            // A full disk says nothing about the format.
            ZipError::Io(error) => FileError::Io(error),
            error => FileError::Zip(error),
        }
    }
}

/// A file that takes everything once it has failed: a zip writer that is dropped after an error tries to end its file,
/// and complains on standard error where it cannot.
struct Fused<W> {
    file: W,
    failed: bool,
    /// Place and length as they would be.
    at: u64,
    length: u64,
}

impl<W> Fused<W> {
    fn new(file: W) -> Fused<W> {
        Fused { file, failed: false, at: 0, length: 0 }
    }

    fn unless_failed<T>(&mut self, instead: T, act: impl FnOnce(&mut W) -> std::io::Result<T>) -> std::io::Result<T> {
        if self.failed {
            return Ok(instead);
        }
        act(&mut self.file).inspect_err(|error| self.failed = error.kind() != std::io::ErrorKind::Interrupted)
    }
}

impl<W: Write> Write for Fused<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.unless_failed(bytes.len(), |file| file.write(bytes))?;
        self.at += written as u64;
        self.length = self.length.max(self.at);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.unless_failed((), Write::flush)
    }
}

impl<W: Seek> Seek for Fused<W> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let instead = match to {
            SeekFrom::Start(place) => place,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(by) => self.length.saturating_add_signed(by),
        };
        self.at = self.unless_failed(instead, |file| file.seek(to))?;
        Ok(self.at)
    }
}

/// Writes `value` as a zip file. Tensors are copied to the host one at a time.
pub fn write<W: Write + Seek>(value: &Value, target: W) -> Result<W, FileError> {
    let (bytes, tensors) = pickle(value)?;
    let mut zip = ZipWriter::new(Fused::new(target));
    member(&mut zip, "data.pkl", &bytes)?;
    member(&mut zip, "byteorder", b"little")?;
    for (index, tensor) in tensors.iter().enumerate() {
        storage(&mut zip, index, tensor)?;
    }
    member(&mut zip, "version", b"3\n")?;
    Ok(zip.finish()?.file)
}

fn member<W: Write + Seek>(zip: &mut ZipWriter<W>, name: &str, bytes: &[u8]) -> Result<(), FileError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(ALIGNMENT)
        .large_file(bytes.len() as u64 >= LARGE);
    zip.start_file(format!("{ROOT}/{name}"), options)?;
    zip.write_all(bytes)?;
    Ok(())
}

fn storage<W: Write + Seek>(zip: &mut ZipWriter<W>, index: usize, tensor: &Tensor) -> Result<(), FileError> {
    let host = tensor.detach().f_to_device(Device::Cpu).and_then(|host| host.f_contiguous());
    let host = host.map_err(|error| FileError::Tensor(index, error))?;
    let length = host.numel() * host.kind().elt_size_in_bytes();
    let name = format!("data/{index}");
    if length == 0 {
        return member(zip, &name, &[]);
    }
    // SAFETY: `host` is a contiguous tensor on the CPU of `length` bytes, which outlives the slice; nothing writes to
    // it meanwhile: the state's owner updates nothing until it has been written (`TrainState`).
    let bytes = unsafe { std::slice::from_raw_parts(host.data_ptr().cast::<u8>(), length) };
    member(zip, &name, bytes)
}

/// What is done about classes and functions that a state dict has no use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// They become [`Value::Opaque`].
    Describe,
    /// The file is refused, wherever in it they are named.
    Refuse,
}

/// Reads a whole file into a tree of values. Only what the pickle names is read; nothing is executed.
pub(super) fn read<R: Read + Seek>(source: R, unknown: Unknown) -> Result<Value, FileError> {
    let mut archive = Archive::of(source)?;
    let tree = archive.tree(unknown)?;
    let mut storages = HashMap::new();
    tree.into_value(|spec| archive.tensor(&mut storages, spec))
}

/// Reads the plain values of a file; its tensors are left out, undefined ones in their places.
pub(super) fn outline<R: Read + Seek>(source: R) -> Result<Value, FileError> {
    Archive::of(source)?.tree(Unknown::Refuse)?.into_value(|_| Ok(Tensor::new()))
}

/// An open zip file.
struct Archive<R> {
    zip: ZipArchive<R>,
    root: String,
    /// Bytes that may still be read: no honest file gives more than its own length.
    budget: u64,
}

impl<R: Read + Seek> Archive<R> {
    fn of(mut source: R) -> Result<Archive<R>, FileError> {
        let length = source.seek(SeekFrom::End(0))?;
        source.rewind()?;
        let mut archive = Archive::open(source, length)?;
        archive.check_byte_order()?;
        Ok(archive)
    }

    /// The pickle, parsed.
    fn tree(&mut self, unknown: Unknown) -> Result<Tree, FileError> {
        let mut bytes = Vec::new();
        self.read("data.pkl", |reader, size| {
            let read = reader.take(size).read_to_end(&mut bytes)? as u64;
            if read == size { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
        })?;
        let tree = parse(&bytes)?;
        match tree.unknown_global().filter(|_| unknown == Unknown::Refuse) {
            Some(global) => Err(FileError::Refused(global.to_owned())),
            None => Ok(tree),
        }
    }

    fn open(source: R, length: u64) -> Result<Archive<R>, FileError> {
        let zip = ZipArchive::new(source)?;
        let names: Vec<String> = zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        let root = names.iter().find_map(|name| name.strip_suffix("/data.pkl").filter(|root| !root.contains('/')));
        let missing = || unfit("data.pkl", "is missing; is this a PyTorch file?");
        let root = root.ok_or_else(missing)?.to_owned();
        Ok(Archive { zip, root, budget: length })
    }

    fn check_byte_order(&mut self) -> Result<(), FileError> {
        let name = format!("{}/byteorder", self.root);
        if self.zip.index_for_name(&name).is_none() {
            return Ok(());
        }
        let mut order = Vec::new();
        self.read("byteorder", |reader, _| reader.take(16).read_to_end(&mut order).map(drop))?;
        if order == b"little" { Ok(()) } else { Err(unfit("byteorder", "only little-endian files are read")) }
    }

    /// Opens a stored member, hands it with its size to `fill`, and checks its end and checksum.
    fn read(
        &mut self,
        member: &str,
        fill: impl FnOnce(&mut dyn Read, u64) -> std::io::Result<()>,
    ) -> Result<(), FileError> {
        let failed = |what: &dyn std::fmt::Display| unfit(member, &what.to_string());
        let name = format!("{}/{member}", self.root);
        let mut file = self.zip.by_name(&name).map_err(|error| failed(&error))?;
        if file.compression() != CompressionMethod::Stored {
            return Err(unfit(member, "is compressed, which PyTorch never does"));
        }
        let size = file.size();
        self.budget = self.budget.checked_sub(size).ok_or_else(|| unfit(member, "is larger than the file"))?;
        fill(&mut file, size).map_err(|error| failed(&error))?;
        // The checksum is compared only when the end is read.
        match file.read(&mut [0]).map_err(|error| failed(&error))? {
            0 => Ok(()),
            _ => Err(unfit(member, "is longer than expected")),
        }
    }

    fn tensor(&mut self, storages: &mut HashMap<String, Tensor>, spec: &TensorSpec) -> Result<Tensor, FileError> {
        let member = format!("data/{}", spec.key);
        if !storages.contains_key(&spec.key) {
            let storage = self.storage(&member, spec)?;
            storages.insert(spec.key.clone(), storage);
        }
        let storage = &storages[&spec.key];
        if storage.kind() != spec.kind || storage.numel() as i64 != spec.elements {
            return Err(unfit(&member, "is described in two ways"));
        }
        let view = storage.f_as_strided(&spec.sizes[..], &spec.strides[..], spec.offset);
        view.map_err(|error| unfit(&member, &error.to_string()))
    }

    /// A whole storage as a flat tensor.
    fn storage(&mut self, member: &str, spec: &TensorSpec) -> Result<Tensor, FileError> {
        let expected =
            u64::try_from(spec.elements).ok().and_then(|n| n.checked_mul(spec.kind.elt_size_in_bytes() as u64));
        let (kind, elements, budget) = (spec.kind, spec.elements, self.budget);
        let mut tensor = None;
        self.read(member, |reader, size| {
            if expected != Some(size) || size > budget {
                let what = format!("holds {size} bytes, not {elements} elements of {kind:?}");
                return Err(std::io::Error::other(what));
            }
            tensor = Some(filled(reader, elements, kind)?);
            Ok(())
        })?;
        tensor.ok_or_else(|| unfit(member, "is empty"))
    }
}

/// A new tensor filled from `reader`; its size has been checked against the length of the file.
fn filled(reader: &mut dyn Read, elements: i64, kind: Kind) -> std::io::Result<Tensor> {
    let tensor = Tensor::f_zeros([elements], (kind, Device::Cpu)).map_err(std::io::Error::other)?;
    let length = tensor.numel() * kind.elt_size_in_bytes();
    if length > 0 {
        // SAFETY: a new contiguous tensor on the CPU of `length` initialised bytes, which nothing else can reach.
        let bytes = unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<u8>(), length) };
        reader.read_exact(bytes)?;
    }
    Ok(tensor)
}

fn unfit(member: &str, what: &str) -> FileError {
    FileError::Member { member: member.to_owned(), what: what.to_owned() }
}
