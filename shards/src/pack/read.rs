//! Reading and checking samples ahead, by several threads, in the order in which they are packed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use super::error::PackError;
use super::order::Job;
use crate::checksum::Checksum;
use crate::pictures::{BadPicture, Examined, Pictures};
use crate::source::{Part, Place};
use crate::ustar;

/// Samples that each thread may be ahead.
const AHEAD: usize = 8;

/// Where the bytes of all samples are.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<PathBuf>,
}

/// A member's bytes.
pub(crate) struct Data {
    pub(crate) extension: Arc<str>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) xxh3: Checksum,
}

/// A sample that was read.
pub(crate) struct Loaded {
    pub(crate) picture: Data,
    pub(crate) others: Vec<Data>,
    /// Columns and rows of the picture, if they are known.
    pub(crate) size: Option<(u32, u32)>,
    /// The length of the picture in the source, if another one is packed in its place.
    pub(crate) reencoded_from: Option<usize>,
    /// What is wrong with the picture.
    pub(crate) bad: Option<BadPicture>,
}

/// Samples in order, each as it was read or why it was not.
pub(crate) struct ReadAhead {
    lanes: Vec<Receiver<Result<Loaded, PackError>>>,
    next: usize,
}

/// Starts `workers` threads that read `jobs`. Sample i comes from thread i mod `workers`, so taking from the threads
/// in turn gives the samples in order. Dropping the result ends the threads.
pub(crate) fn read_ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    origin: &'scope Origin,
    jobs: &'scope [Job],
    workers: usize,
    pictures: &'scope dyn Pictures,
) -> ReadAhead {
    let lane = |worker| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            let mut reader = Reader { origin, open: HashMap::new() };
            for job in jobs.iter().skip(worker).step_by(workers) {
                let loaded = reader.load(job, pictures);
                let failed = loaded.is_err();
                if sender.send(loaded).is_err() || failed {
                    break;
                }
            }
        });
        receiver
    };
    ReadAhead { lanes: (0..workers).map(lane).collect(), next: 0 }
}

impl Iterator for ReadAhead {
    type Item = Result<Loaded, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        let lane = self.next % self.lanes.len();
        self.next += 1;
        self.lanes[lane].recv().ok()
    }
}

/// One thread's open files.
struct Reader<'a> {
    origin: &'a Origin,
    open: HashMap<u32, File>,
}

impl Reader<'_> {
    fn load(&mut self, job: &Job, pictures: &dyn Pictures) -> Result<Loaded, PackError> {
        let picture = self.data(&job.name, &job.picture)?;
        let others = job.others.iter().map(|part| self.data(&job.name, part)).collect::<Result<_, _>>()?;
        let mut loaded = Loaded { picture, others, size: None, reencoded_from: None, bad: None };
        match pictures.examine(&loaded.picture.bytes) {
            Ok(Examined { size, replacement: None }) => loaded.size = size,
            Ok(Examined { size, replacement: Some(bytes) }) => {
                loaded.size = size;
                loaded.reencoded_from = Some(loaded.picture.bytes.len());
                let extension = free_extension(&loaded.others).ok_or_else(|| {
                    let reason = "has further members jpg and jpeg, so its picture cannot become a JPEG";
                    PackError::BadSample { name: job.name.clone().into(), reason: reason.into() }
                })?;
                loaded.picture = Data { extension: extension.into(), xxh3: Checksum::of(&bytes), bytes };
            }
            Err(bad) => loaded.bad = Some(bad),
        }
        Ok(loaded)
    }

    fn data(&mut self, name: &OsStr, part: &Part) -> Result<Data, PackError> {
        let path = self.path(name, part);
        if part.length > ustar::LENGTH_LIMIT {
            let reason = "is longer than a tar member can be (8 GiB)".into();
            return Err(PackError::BadSample { name: path.into(), reason });
        }
        let bytes = match part.place {
            Place::Own => whole(&path, part.length)?,
            Place::Range { file, offset } => self.range(&path, file, offset, part.length)?,
        };
        let xxh3 = Checksum::of(&bytes);
        if part.xxh3.is_some_and(|said| said != xxh3) {
            let at = if let Place::Range { offset, .. } = part.place { offset } else { 0 };
            let reason = format!("{} at offset {at} does not have its checksum", name.display());
            return Err(PackError::Damaged { path, reason });
        }
        Ok(Data { extension: part.extension.clone(), bytes, xxh3 })
    }

    fn path(&self, name: &OsStr, part: &Part) -> PathBuf {
        match part.place {
            Place::Own => self.origin.root.join(name),
            Place::Range { file, .. } => self.origin.files.get(file as usize).cloned().unwrap_or_default(),
        }
    }

    fn range(&mut self, path: &Path, file: u32, offset: u64, length: u64) -> Result<Vec<u8>, PackError> {
        /// Few enough for the usual limit of open files, whatever the number of threads.
        const OPEN: usize = 16;
        let fault = |source| PackError::Read { path: path.into(), source };
        if !self.open.contains_key(&file) {
            if self.open.len() == OPEN {
                self.open.clear();
            }
            self.open.insert(file, File::open(path).map_err(fault)?);
        }
        let Some(open) = self.open.get(&file) else { return Err(fault(io::ErrorKind::NotFound.into())) };
        if open.metadata().map_err(fault)?.len() < offset.saturating_add(length) {
            let reason = format!("it ends before the {length} bytes at offset {offset}");
            return Err(PackError::Changed { path: path.into(), reason });
        }
        let mut bytes = vec![0; length as usize];
        open.read_exact_at(&mut bytes, offset).map_err(fault)?;
        Ok(bytes)
    }
}

/// What a JPEG is called beside the sample's other members.
fn free_extension(others: &[Data]) -> Option<&'static str> {
    ["jpg", "jpeg"].into_iter().find(|extension| others.iter().all(|other| *other.extension != **extension))
}

/// Reads a file that should have `length` bytes.
fn whole(path: &Path, length: u64) -> Result<Vec<u8>, PackError> {
    let fault = |source| PackError::Read { path: path.into(), source };
    let changed =
        || PackError::Changed { path: path.into(), reason: format!("it had {length} bytes when it was listed") };
    let mut file = File::open(path).map_err(fault)?;
    // A growing buffer would ask for its end five times as often.
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => changed(),
        _ => fault(error),
    })?;
    match file.read(&mut [0]).map_err(fault)? {
        0 => Ok(bytes),
        _ => Err(changed()),
    }
}
