//! What the blocks of a tar mean, whatever they are read from.
//!
//! A driver gives the machine each block where a header can begin, and does what the [`Step`] says. The machine
//! knows no data: the driver skips or delivers them, and tells it when the tar ends inside.

use std::path::{Path, PathBuf};

use super::error::shown;
use super::header::{self, Block, Header};
use super::pax::Attributes;
use super::{BLOCK, MemberKind, Part, TarError, TarFault, TarMember, TarWarning};

/// The longest extended header that is read, in bytes. Paths are at most 4 KiB on Linux.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// What the driver does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Gives the next block.
    Block,
    /// Gives the data of an extended header, skips its padding, and gives the block behind it.
    Extension(Extension),
    /// Delivers the member, skips what is left of its data and its padding, and gives the block behind it.
    Member(TarMember),
    /// Reads nothing more but the rest, to find the first block of it that is not all zeros.
    End,
}

/// An extended header: what it says is in its data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension {
    kind: ExtensionKind,
    /// Length of its data in bytes, at most [`EXTENSION_LIMIT`].
    pub(super) length: u64,
}

#[derive(Debug, Clone, Copy)]
enum ExtensionKind {
    /// PAX, for all members behind it.
    Global,
    /// PAX, for the next member.
    Local,
    /// GNU's name of the next member.
    LongName,
    /// GNU's target of the next member, a link.
    LongLink,
}

#[derive(Debug)]
pub(super) struct Machine {
    path: PathBuf,
    pub(super) warnings: Vec<TarWarning>,
    /// The name of the last member.
    last: Option<Vec<u8>>,
    /// Where the extended headers of the next member begin, if it has any. Global ones belong to no member.
    start: Option<u64>,
    global: Attributes,
    local: Option<Attributes>,
    long_name: Option<Vec<u8>>,
    /// Whether the last block was one of zeros.
    zeros: bool,
}

impl Machine {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            warnings: Vec::new(),
            last: None,
            start: None,
            global: Attributes::default(),
            local: None,
            long_name: None,
            zeros: false,
        }
    }

    /// Takes the block at `at` bytes from the start of the tar.
    pub(super) fn block(&mut self, block: &Block, at: u64) -> Result<Step, TarError> {
        if header::is_zero(block) {
            return self.zero_block(at);
        }
        if self.zeros {
            return self.one_end_block(at).map(|()| Step::End);
        }
        let header = Header::new(block).map_err(|fault| {
            let is_tar = at > 0 || header::has_magic(block);
            let other = TarFault::NotATar { looks_like: header::looks_like(block) };
            self.error(at, if is_tar { fault } else { other })
        })?;
        let kind = match header.flag() {
            b'L' => ExtensionKind::LongName,
            b'K' => ExtensionKind::LongLink,
            b'x' | b'X' => ExtensionKind::Local,
            b'g' => ExtensionKind::Global,
            _ => return self.member(header, at).map(Step::Member),
        };
        if !matches!(kind, ExtensionKind::Global) {
            self.start.get_or_insert(at);
        }
        let length = header.size().map_err(|fault| self.error(at, fault))?;
        if length > EXTENSION_LIMIT {
            return Err(self.error(at, TarFault::LongHeader { length, limit: EXTENSION_LIMIT }));
        }
        Ok(Step::Extension(Extension { kind, length }))
    }

    fn zero_block(&mut self, at: u64) -> Result<Step, TarError> {
        if self.start.is_some() {
            return Err(self.missing_header(at));
        }
        if !std::mem::replace(&mut self.zeros, true) {
            return Ok(Step::Block);
        }
        if self.last.is_none() { Err(self.error(0, TarFault::NoMembers)) } else { Ok(Step::End) }
    }

    /// Takes the data of an extended header that begin at `at`.
    pub(super) fn extension(&mut self, extension: Extension, data: &[u8], at: u64) -> Result<(), TarError> {
        let done = match extension.kind {
            ExtensionKind::Local => self.local.get_or_insert_with(|| self.global.clone()).read(data),
            ExtensionKind::Global => self.global.read(data),
            ExtensionKind::LongName => {
                self.long_name = Some(header::until_zero(data).to_vec());
                Ok(())
            }
            ExtensionKind::LongLink => Ok(()),
        };
        done.map_err(|fault| self.error(at, fault))
    }

    fn member(&mut self, header: Header<'_>, at: u64) -> Result<TarMember, TarError> {
        let attributes = self.local.take();
        let attributes = attributes.as_ref().unwrap_or(&self.global);
        let long_name = self.long_name.take().filter(|name| !name.is_empty());
        let name = attributes.path.clone().or(long_name).unwrap_or_else(|| header.name());
        let (size, sparse) = (attributes.size, attributes.sparse || header.flag() == b'S');
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(&name);
        if sparse {
            return Err(self.error(at, TarFault::Sparse));
        }
        let start = self.start.take().unwrap_or(at);
        let offset = at + BLOCK as u64;
        let length = if has_data(header.flag()) { size.map_or_else(|| header.size(), Ok) } else { Ok(0) };
        let length = length.map_err(|fault| self.error(at, fault))?;
        // Room for the padding too, so that no later sum overflows.
        if offset.checked_add(length).is_none_or(|end| end > i64::MAX as u64 - BLOCK as u64) {
            return Err(self.error(at, TarFault::Size));
        }
        let kind = match kind(header.flag()) {
            // Version 7 knew no flag for folders.
            MemberKind::File if length == 0 && name.ends_with(b"/") => MemberKind::Folder,
            kind => kind,
        };
        Ok(TarMember { name, header: start, offset, length, kind })
    }

    /// Takes something else behind a single block of zeros: the end, for reading on could make two tars look like one.
    fn one_end_block(&mut self, at: u64) -> Result<(), TarError> {
        if self.last.is_none() {
            return Err(self.error(0, TarFault::NoMembers));
        }
        self.warnings.extend([TarWarning::OneEndBlock, TarWarning::TrailingData { offset: at }]);
        Ok(())
    }

    /// Takes the end of the tar where a block could have begun, with `rest`, the at most 511 bytes of it that are
    /// there.
    pub(super) fn end(&mut self, rest: &[u8], at: u64) -> Result<(), TarError> {
        let (needed, found) = (BLOCK as u64, rest.len() as u64);
        if at == 0 && rest.is_empty() {
            return Err(self.error(0, TarFault::Empty));
        }
        if !header::is_zero(rest) {
            return match (at, self.zeros) {
                (0, _) => Err(self.error(0, TarFault::NotATar { looks_like: header::looks_like(rest) })),
                (_, true) => self.one_end_block(at),
                (_, false) => Err(self.error(at, TarFault::Truncated { part: Part::Header, needed, found })),
            };
        }
        if self.start.is_some() {
            return Err(self.missing_header(at));
        }
        if self.last.is_none() {
            return Err(self.error(0, TarFault::NoMembers));
        }
        // Less than a block of zeros is as good as none.
        self.warnings.push(if self.zeros { TarWarning::OneEndBlock } else { TarWarning::NoEndBlocks });
        Ok(())
    }

    /// Takes the end of the tar inside the padding of the last member.
    pub(super) fn end_in_padding(&mut self) {
        self.warnings.push(TarWarning::MissingPadding);
    }

    /// Takes the first block behind the end of the tar that is not all zeros.
    pub(super) fn trailing(&mut self, offset: u64) {
        // One that the end was told by is known already.
        let known = self.warnings.iter().any(|warning| matches!(warning, TarWarning::TrailingData { .. }));
        if !known {
            self.warnings.push(TarWarning::TrailingData { offset });
        }
    }

    /// The error of a tar that ends `found` bytes into the `needed` bytes of a part that begins at `at`.
    pub(super) fn truncated(&self, part: Part, at: u64, needed: u64, found: u64) -> TarError {
        self.error(at, TarFault::Truncated { part, needed, found })
    }

    /// An error at `offset`, with the last member's name.
    pub(super) fn error(&self, offset: u64, fault: TarFault) -> TarError {
        TarError { path: self.path.clone(), offset, member: self.last.as_deref().map(shown), fault }
    }

    /// The error of extended headers behind which there is no member.
    fn missing_header(&self, at: u64) -> TarError {
        self.truncated(Part::Extension, at, BLOCK as u64, 0)
    }
}

/// What the type flag means.
fn kind(flag: u8) -> MemberKind {
    match flag {
        b'0' | b'\0' | b'7' => MemberKind::File,
        b'5' => MemberKind::Folder,
        b'1' | b'2' => MemberKind::Link,
        other => MemberKind::Other(other),
    }
}

/// Whether data follow the header. Those of links, devices, folders and pipes can have a size that means something
/// else or nothing; all other kinds are skipped like files, as the standard says.
fn has_data(flag: u8) -> bool {
    !matches!(flag, b'1'..=b'6')
}
