//! Reading a tar that is in memory, without copying.

use std::fs::File;
use std::iter::FusedIterator;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::machine::{Machine, Step};
use super::{BLOCK, Part, TarError, TarFault, TarMember, TarWarning, header, padding};

/// The members of a tar in memory with their data, in the tar's order. Ends after the first error.
#[derive(Debug)]
pub struct TarSlice<'a> {
    tar: &'a [u8],
    machine: Machine,
    /// Where the next block begins.
    at: usize,
    done: bool,
}

impl<'a> TarSlice<'a> {
    /// Reads the tar `tar`; `path` is what errors call it.
    pub fn new(tar: &'a [u8], path: &Path) -> Self {
        Self { tar, machine: Machine::new(path), at: 0, done: false }
    }

    /// What was odd so far; complete once the iterator has ended.
    pub fn warnings(&self) -> &[TarWarning] {
        &self.machine.warnings
    }

    fn advance(&mut self) -> Result<Option<(TarMember, &'a [u8])>, TarError> {
        // Only the padding of the last member can end behind the end.
        if self.at > self.tar.len() {
            self.machine.end_in_padding();
            return Ok(None);
        }
        loop {
            let (at, rest) = (self.at as u64, &self.tar[self.at..]);
            let Some((block, behind)) = rest.split_first_chunk::<BLOCK>() else {
                return self.machine.end(rest, at).map(|()| None);
            };
            self.at += BLOCK;
            match self.machine.block(block, at)? {
                Step::Block => {}
                Step::Extension(extension) => {
                    let data = self.extension(behind, extension.length)?;
                    self.machine.extension(extension, data, at + BLOCK as u64)?;
                }
                Step::Member(member) => {
                    let data = self.data(behind, member.length)?;
                    return Ok(Some((member, data)));
                }
                Step::End => {
                    self.look_behind_the_end();
                    return Ok(None);
                }
            }
        }
    }

    /// Steps over the data of a member, and gives them.
    fn data(&mut self, behind: &'a [u8], length: u64) -> Result<&'a [u8], TarError> {
        let data = usize::try_from(length).ok().and_then(|length| behind.get(..length));
        let cut = || self.machine.truncated(Part::Data, self.at as u64, length, behind.len() as u64);
        let data = data.ok_or_else(cut)?;
        self.at += data.len() + padding(length) as usize;
        Ok(data)
    }

    /// Steps over an extended header of a length that has been limited, and gives its data.
    fn extension(&mut self, behind: &'a [u8], length: u64) -> Result<&'a [u8], TarError> {
        let padded = length + padding(length);
        let cut = || self.machine.truncated(Part::Extension, self.at as u64, padded, behind.len() as u64);
        let data = behind.get(..padded as usize).ok_or_else(cut)?;
        self.at += data.len();
        Ok(&data[..length as usize])
    }

    fn look_behind_the_end(&mut self) {
        let mut blocks = self.tar[self.at..].chunks(BLOCK);
        if let Some(number) = blocks.position(|block| !header::is_zero(block)) {
            self.machine.trailing((self.at + number * BLOCK) as u64);
        }
    }
}

impl<'a> Iterator for TarSlice<'a> {
    type Item = Result<(TarMember, &'a [u8]), TarError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl FusedIterator for TarSlice<'_> {}

/// A local tar, mapped into memory.
///
/// A file that is cut by another program while it is mapped ends this process with SIGBUS when the lost part is read,
/// and one that is changed in place gives whatever is there: map only files that nobody writes to. Shards are never
/// changed in place.
#[derive(Debug)]
pub struct MappedTar {
    path: PathBuf,
    map: Mmap,
}

impl MappedTar {
    /// Maps the file at `path`. It is not read yet.
    ///
    /// # Errors
    /// The file cannot be opened or mapped, or is empty.
    pub fn open(path: &Path) -> Result<Self, TarError> {
        let error = |fault| TarError { path: path.into(), offset: 0, member: None, fault };
        let file = File::open(path).map_err(|source| error(TarFault::Io(source)))?;
        // SAFETY: the map is only read, and the type's documentation says that nobody may write to the file. What
        // another program does nevertheless is no undefined behaviour of this reader in practice: it checks every
        // offset against the length of the map, which does not change, and keeps no reference to checked bytes other
        // than as bytes.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| error(TarFault::Io(source)))?;
        if map.is_empty() {
            return Err(error(TarFault::Empty));
        }
        Ok(Self { path: path.into(), map })
    }

    /// The file's path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the tar.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Its members, from the first one on.
    pub fn members(&self) -> TarSlice<'_> {
        TarSlice::new(&self.map, &self.path)
    }
}
