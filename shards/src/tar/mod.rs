//! The one tar reader of the project.
//!
//! It reads POSIX ustar and PAX archives (IEEE Std 1003.1-2017, pax, "ustar Interchange Format" and "pax Interchange
//! Format"), GNU's long names and base-256 sizes (GNU tar manual, "Basic Tar Format") and the tars of Version 7.
//! Sparse members are refused by name. One state machine judges the headers; two drivers feed it:
//!
//! * [`TarStream`] reads from anything that can be read, also compressed ([`open_stream`]);
//! * [`TarSlice`] walks over a tar in memory, usually a memory map ([`MappedTar`]), and copies no data.
//!
//! Both give the same members, warnings and errors for the same bytes. A fault is a [`TarError`] that names the file,
//! the offset and the member; members before it have been delivered by then. What is odd but loses nothing is a
//! [`TarWarning`]. No size that a tar declares decides how much memory is taken.

mod braces;
mod error;
mod group;
mod header;
mod machine;
mod name;
mod open;
mod pax;
mod slice;
mod stream;

pub use braces::{BraceError, expand_braces};
pub use error::{Part, TarError, TarFault, TarWarning};
pub use group::{GroupError, GroupedMember, GroupedSample, Grouper, Passed};
pub use name::{Dots, split_name};
pub use open::open_stream;
pub use slice::{MappedTar, TarSlice};
pub use stream::{Data, TarStream};

/// The unit of a tar in bytes: headers are blocks, data are padded to whole blocks.
pub(crate) const BLOCK: usize = 512;

/// One entry of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarMember {
    /// The full path as stored: ustar prefixes, GNU long names and PAX paths are resolved, nothing else is changed.
    /// It can be absolute, hold `..` or any bytes but zero: it must not become a path without a check.
    pub name: Vec<u8>,
    /// Where the member's first block begins, in bytes from the start of the tar; its own extended headers are part of it.
    pub header: u64,
    /// Where the data begin, in bytes from the start of the tar.
    pub offset: u64,
    /// Length of the data in bytes, without padding; 0 for folders and links, whatever their header says.
    pub length: u64,
    /// What the member is.
    pub kind: MemberKind,
}

impl TarMember {
    /// Where the data end, in bytes from the start of the tar.
    pub fn end(&self) -> u64 {
        // The sum was checked when the header was read.
        self.offset + self.length
    }
}

/// What a member of a tar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic or hard link.
    Link,
    /// Anything else, with the type flag of its header: a device, a volume label, a kind unknown to us.
    Other(u8),
}

/// How many zeros follow `length` bytes of data, 0 to 511.
fn padding(length: u64) -> u64 {
    length.wrapping_neg() % BLOCK as u64
}
