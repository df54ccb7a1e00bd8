//! Reading a tar from beginning to end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use super::header::Block;
use super::machine::{Machine, Step};
use super::{BLOCK, Part, TarError, TarFault, TarMember, TarWarning, header, padding};

/// Bytes read at once from what can only be read.
const BUFFER: usize = 256 << 10;

/// Bytes read at once from a file in which members are skipped by seeking: not much more than headers need.
const SEEK_BUFFER: usize = 32 << 10;

/// A tar that is read from beginning to end.
#[derive(Debug)]
pub struct TarStream<R> {
    input: BufReader<R>,
    machine: Machine,
    /// Bytes of the tar read or skipped so far.
    at: u64,
    /// Where the current member's data begin, their length, and how much of it was not read.
    offset: u64,
    length: u64,
    left: u64,
    /// How to skip without reading, and the length of the file. None: by reading.
    seek: Option<(SeekBy<R>, u64)>,
    /// What is uncompressed on the way.
    pub(super) compression: Option<&'static str>,
    done: bool,
}

type SeekBy<R> = fn(&mut BufReader<R>, u64) -> io::Result<()>;

impl<R: Read> TarStream<R> {
    /// Reads a tar from `reader`, which needs no buffer; `path` is what errors call it. Offsets count from the first
    /// byte that is read.
    pub fn new(reader: R, path: &Path) -> Self {
        Self::buffered(BufReader::with_capacity(BUFFER, reader), path)
    }

    /// As [`TarStream::new`], with the buffer that `input` has.
    pub(crate) fn buffered(input: BufReader<R>, path: &Path) -> Self {
        Self {
            input,
            machine: Machine::new(path),
            at: 0,
            offset: 0,
            length: 0,
            left: 0,
            seek: None,
            compression: None,
            done: false,
        }
    }

    /// Goes to the next member; what was not read of the last one is skipped. None at the end of the tar, and after
    /// an error.
    ///
    /// # Errors
    /// The tar cannot be read on. A member whose data are cut is an error here if the length of the input is known,
    /// else it is delivered, and reading or skipping its data is the error.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend the member's data")]
    pub fn next(&mut self) -> Result<Option<TarMember>, TarError> {
        if self.done {
            return Ok(None);
        }
        let next = self.advance();
        self.done = !matches!(next, Ok(Some(_)));
        next
    }

    /// The data of the current member, or what has not been read of them. Empty before the first member.
    pub fn read_data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    /// All data of the current member that have not been read.
    ///
    /// # Errors
    /// There are more than `limit` bytes, the tar ends inside, or it cannot be read.
    pub fn read_to_vec(&mut self, limit: u64) -> Result<Vec<u8>, TarError> {
        /// Memory for more than this is only taken once the bytes are there.
        const TRUSTED: u64 = 1 << 20;
        let length = self.left;
        if length > limit {
            return Err(self.machine.error(self.offset, TarFault::TooLong { length: self.length, limit }));
        }
        let mut data = Vec::with_capacity(length.min(TRUSTED) as usize);
        let read = (&mut self.input).take(length).read_to_end(&mut data);
        self.at += data.len() as u64;
        self.left -= data.len() as u64;
        read.map_err(|error| self.failed(error))?;
        if self.left > 0 {
            return Err(self.cut());
        }
        Ok(data)
    }

    /// What was odd so far; complete once there is no next member.
    pub fn warnings(&self) -> &[TarWarning] {
        &self.machine.warnings
    }

    /// Bytes of the (uncompressed) tar that were read or skipped so far.
    pub fn position(&self) -> u64 {
        self.at
    }

    fn advance(&mut self) -> Result<Option<TarMember>, TarError> {
        if !self.skip_member()? {
            return Ok(None);
        }
        loop {
            let mut block: Block = [0; BLOCK];
            let at = self.at;
            let found = self.fill(&mut block)?;
            if found < BLOCK {
                return self.machine.end(&block[..found], at).map(|()| None);
            }
            match self.machine.block(&block, at)? {
                Step::Block => {}
                Step::Extension(extension) => {
                    let at = self.at;
                    let data = self.extension(extension.length)?;
                    self.machine.extension(extension, &data, at)?;
                }
                Step::Member(member) => return self.enter(member).map(Some),
                Step::End => return self.look_behind_the_end().map(|()| None),
            }
        }
    }

    fn enter(&mut self, member: TarMember) -> Result<TarMember, TarError> {
        if let Some((_, end)) = self.seek
            && member.end() > end
        {
            let found = end.saturating_sub(member.offset);
            return Err(self.machine.truncated(Part::Data, member.offset, member.length, found));
        }
        (self.offset, self.length, self.left) = (member.offset, member.length, member.length);
        Ok(member)
    }

    /// Skips what is left of the current member and its padding. False if the tar ends inside the padding.
    fn skip_member(&mut self) -> Result<bool, TarError> {
        self.left -= self.skip(self.left)?;
        if self.left > 0 {
            return Err(self.cut());
        }
        let padding = padding(std::mem::take(&mut self.length));
        let complete = self.skip(padding)? == padding;
        if !complete {
            self.machine.end_in_padding();
        }
        Ok(complete)
    }

    /// Skips `length` bytes, or as many as there are.
    fn skip(&mut self, length: u64) -> Result<u64, TarError> {
        let skipped = match self.seek {
            Some((by, end)) => {
                let length = length.min(end.saturating_sub(self.at));
                by(&mut self.input, length).map(|()| length)
            }
            None => discard(&mut self.input, length),
        };
        let skipped = skipped.map_err(|error| self.failed(error))?;
        self.at += skipped;
        Ok(skipped)
    }

    /// Reads a whole buffer, or as much as there is.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }

    /// Reads the data of an extended header, whose length has been limited, and skips their padding.
    fn extension(&mut self, length: u64) -> Result<Vec<u8>, TarError> {
        let at = self.at;
        let mut data = vec![0; (length + padding(length)) as usize];
        let found = self.fill(&mut data)?;
        if found < data.len() {
            return Err(self.machine.truncated(Part::Extension, at, data.len() as u64, found as u64));
        }
        data.truncate(length as usize);
        Ok(data)
    }

    fn look_behind_the_end(&mut self) -> Result<(), TarError> {
        loop {
            let mut block: Block = [0; BLOCK];
            let at = self.at;
            let found = self.fill(&mut block)?;
            if !header::is_zero(&block[..found]) {
                self.machine.trailing(at);
            } else if found == BLOCK {
                continue;
            }
            return Ok(());
        }
    }

    /// The error of a tar that ends inside the current member.
    fn cut(&self) -> TarError {
        self.machine.truncated(Part::Data, self.offset, self.length, self.at - self.offset)
    }

    fn failed(&self, error: io::Error) -> TarError {
        let fault = match self.compression {
            // What the system says has a number; what a decoder says has none.
            Some(format) if error.raw_os_error().is_none() => TarFault::Compressed { format, source: error },
            _ => TarFault::Io(error),
        };
        self.machine.error(self.at, fault)
    }
}

/// Reads and drops `length` bytes, or as many as there are.
fn discard(input: &mut impl BufRead, length: u64) -> io::Result<u64> {
    let mut left = length;
    while left > 0 {
        let there = match input.fill_buf() {
            Ok(buffer) => (buffer.len() as u64).min(left),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if there == 0 {
            break;
        }
        input.consume(there as usize);
        left -= there;
    }
    Ok(length - left)
}

impl TarStream<File> {
    /// Reads a tar from a file, from where the file is; members that are not read are skipped by seeking.
    ///
    /// # Errors
    /// The file's length or position cannot be found out.
    pub fn seekable(mut file: File, path: &Path) -> Result<Self, TarError> {
        let seek = match file.metadata() {
            // A pipe can only be read, whatever a seek says.
            Ok(metadata) if metadata.is_file() => file.stream_position().map(|start| Some((start, metadata.len()))),
            Ok(_) => Ok(None),
            Err(error) => Err(error),
        };
        let fault = |error| TarError { path: path.into(), offset: 0, member: None, fault: TarFault::Io(error) };
        let Some((start, end)) = seek.map_err(fault)? else { return Ok(Self::new(file, path)) };
        let input = BufReader::with_capacity(SEEK_BUFFER, file);
        Ok(Self::seeking(input, end.saturating_sub(start), path))
    }
}

impl<R: Read + Seek> TarStream<R> {
    /// Reads a tar that ends after `length` bytes of `input`.
    pub(crate) fn seeking(input: BufReader<R>, length: u64, path: &Path) -> Self {
        let by: SeekBy<R> = |input, length| input.seek_relative(length.min(i64::MAX as u64) as i64);
        Self { seek: Some((by, length)), ..Self::buffered(input, path) }
    }
}

/// The data of one member; ends where they end. An error of this reader holds a [`TarError`].
#[derive(Debug)]
pub struct Data<'a, R>(&'a mut TarStream<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = &mut *self.0;
        let most = usize::try_from(stream.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = stream.input.read(&mut buffer[..most]).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, stream.failed(error)),
        })?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, stream.cut()));
        }
        stream.at += read as u64;
        stream.left -= read as u64;
        Ok(read)
    }
}
