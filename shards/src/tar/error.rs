//! What can be wrong with a tar.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A tar that cannot be read on.
#[derive(Debug)]
pub struct TarError {
    /// The file, as it was named by who opened it.
    pub path: PathBuf,
    /// Where the fault lies, in bytes from the start of the tar (of the uncompressed one).
    pub offset: u64,
    /// The member that the fault lies in or, for faults between members, the one before; none at the start. Bytes
    /// that are not UTF-8 or would not print are escaped, long names are shortened.
    pub member: Option<String>,
    /// What is wrong.
    pub fault: TarFault,
}

/// What is wrong with a tar.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarFault {
    /// The system could not read. Unlike all other faults this one may be gone at the next attempt.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    /// The compressed data are cut or damaged.
    #[error("its {format} data cannot be uncompressed")]
    Compressed {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// What the decoder said.
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("it is empty")]
    Empty,
    /// There are only the zeros that end a tar, or global headers and these.
    #[error("it has no members, only the zeros that end a tar")]
    NoMembers,
    /// The file does not begin with the header of a member.
    #[error("it is no tar{}", .looks_like.map(|what| format!(" but {what}")).unwrap_or_default())]
    NotATar {
        /// What it looks like: `a gzip file`.
        looks_like: Option<&'static str>,
    },
    /// A header's checksum does not fit its bytes: the header is damaged, or the size of the member before is wrong.
    #[error("the header there is damaged or none: its checksum is {said}, its bytes add up to {found}")]
    HeaderChecksum {
        /// The sum that the header says.
        said: u64,
        /// The sum of its bytes.
        found: u64,
    },
    /// A field of a header that must be a number is none.
    #[error("the header's {field} is not a number")]
    BadNumber {
        /// `size` or `checksum`.
        field: &'static str,
    },
    /// The tar ends too early.
    #[error("it is cut, or a size in it is wrong: {part} of {needed} bytes ends after {found}")]
    Truncated {
        /// What is incomplete.
        part: Part,
        /// Its length in bytes.
        needed: u64,
        /// How many of these bytes are there.
        found: u64,
    },
    /// A member that is longer than any file.
    #[error("the member's size is impossible: no file is that long")]
    Size,
    /// A member is longer than the reader allows.
    #[error("the member has {length} bytes, more than the {limit} that are read at once")]
    TooLong {
        /// Length of the member's data in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// An extended header (a PAX header or a GNU long name) is longer than is read.
    #[error("an extended header there has {length} bytes, more than the {limit} that are read")]
    LongHeader {
        /// Its length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A PAX header that breaks its format.
    #[error("the PAX header there is damaged: {reason}")]
    BadPax {
        /// How.
        reason: &'static str,
    },
    /// A sparse member.
    #[error("the member is stored as a sparse file, which is not supported: make the tar again without --sparse")]
    Sparse,
}

/// A part of a tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The header of a member.
    Header,
    /// A PAX header or a GNU long name; also the member's own header that is missing behind it.
    Extension,
    /// The data of a member.
    Data,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "a header",
            Self::Extension => "an extended header",
            Self::Data => "a member",
        })
    }
}

impl TarFault {
    /// A word for counting faults.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Compressed { .. } => "compressed",
            Self::Empty => "empty",
            Self::NoMembers => "no_members",
            Self::NotATar { .. } => "not_a_tar",
            Self::HeaderChecksum { .. } => "header_checksum",
            Self::BadNumber { .. } => "bad_number",
            Self::Truncated { .. } => "truncated",
            Self::Size => "size",
            Self::TooLong { .. } => "too_long",
            Self::LongHeader { .. } => "long_header",
            Self::BadPax { .. } => "bad_pax",
            Self::Sparse => "sparse",
        }
    }

    /// Whether the fault lies in the member that the error names; else it lies behind that member.
    fn is_in_member(&self) -> bool {
        match self {
            Self::Truncated { part, .. } => *part == Part::Data,
            Self::Size | Self::TooLong { .. } | Self::Sparse => true,
            Self::BadNumber { field } => *field == "size",
            _ => false,
        }
    }
}

impl TarError {
    /// A word for counting errors: that of [`TarFault::kind`].
    pub fn kind(&self) -> &'static str {
        self.fault.kind()
    }
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {} at offset {}", self.path.display(), self.offset)?;
        match &self.member {
            Some(member) if self.fault.is_in_member() => write!(f, " ({member})")?,
            Some(member) => write!(f, " (behind {member})")?,
            None => {}
        }
        match &self.fault {
            // All else is said by the source.
            TarFault::Io(_) => Ok(()),
            fault => write!(f, ": {fault}"),
        }
    }
}

impl std::error::Error for TarError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.fault)
    }
}

/// Something odd about a tar of which every member could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarWarning {
    /// The tar ends behind a member, without the two blocks of zeros that end a tar. Either its writer left them out
    /// or the tar was cut between two members, which only an index or a count can tell.
    NoEndBlocks,
    /// One block of zeros ends the tar, not two.
    OneEndBlock,
    /// The tar ends with the last member's last byte, without the zeros that fill its block and without end blocks.
    MissingPadding,
    /// Behind the end of the tar there is more: another tar was appended, or the end was overwritten. It is not read.
    TrailingData {
        /// Where the first block begins that is not all zeros, in bytes from the start of the tar.
        offset: u64,
    },
}

impl fmt::Display for TarWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEndBlocks => write!(f, "it has no end blocks: members may be missing"),
            Self::OneEndBlock => write!(f, "it has one end block, not two"),
            Self::MissingPadding => write!(f, "it ends without the padding of its last member: members may be missing"),
            Self::TrailingData { offset } => write!(f, "what follows its end, from offset {offset} on, is not read"),
        }
    }
}

/// A name for a message: escaped where it would not print, and not too long.
pub(super) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(LONGEST).flat_map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// A control character's escape; any other character itself.
fn printable(character: char) -> impl Iterator<Item = char> {
    let escape = character.is_control().then(|| character.escape_default());
    let itself = escape.is_none().then_some(character);
    escape.into_iter().flatten().chain(itself)
}
