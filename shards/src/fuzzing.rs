//! What must hold for any bytes whatever: called by the fuzz targets (`fuzz/`) and by a test that runs their corpus.
//!
//! Each function panics if it does not hold.

use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use crate::index::{self, Frame, Index};
use crate::manifest::{self, Manifest};
use crate::tar::{BLOCK, Dots, Grouper, TarError, TarFault, TarMember, TarSlice, TarStream, TarWarning};

/// What messages call the tar.
const NAME: &str = "x.tar";

/// Reads `data` as a tar, from memory and as streams: all must find the same. Where headers have a bad checksum these are
/// then mended and all is read again, for no fuzzer guesses checksums. Whether it could be read in the end.
pub fn tar(data: &[u8]) -> bool {
    let mut error = read_in_all_ways(data);
    let mut data = data.to_vec();
    let mut is_mended = false;
    // Each round mends another block.
    while let Some(block) = error.as_ref().and_then(|error| bad_header(&mut data, error)) {
        mend(block);
        is_mended = true;
        (_, error) = by_slice(TarSlice::new(&data, Path::new(NAME)), &data);
    }
    if is_mended {
        error = read_in_all_ways(&data);
    }
    error.is_none()
}

/// Reads `text` as the index of a shard that its frames fit, or of any plain one. Written again it must be the same.
/// Whether it could be read.
pub fn index(text: &[u8]) -> bool {
    let (tar_bytes, compressed) = lengths(text);
    let Ok(index) = index::parse(text, tar_bytes, compressed) else { return false };
    assert!(written(&index).as_bytes() == text, "another text means the same");
    true
}

/// Reads `text` as a manifest, and once more behind a right checksum. What is read and sealed must be read the same.
/// Whether it could be read.
pub fn manifest(text: &[u8]) -> bool {
    let _ = manifest::newer_version(text);
    let is_whole = Manifest::parse(text).is_ok();
    let body = text.trim_ascii_end().strip_suffix(b"}").unwrap_or(text).trim_ascii_end();
    let Ok((manifest, _)) = Manifest::parse(&manifest::close(body.to_vec()).0) else { return is_whole };
    assert!(manifest.bytes() >= manifest.samples, "a sample without bytes");
    let sealed = manifest.seal().map(|(text, checksum)| (Manifest::parse(&text), checksum));
    assert!(matches!(sealed, Ok((Ok(again), checksum)) if again == (manifest, checksum)), "it is not read back");
    true
}

/// What reading a tar gives.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    members: Vec<(TarMember, Vec<u8>)>,
    warnings: Vec<TarWarning>,
    error: Option<String>,
}

/// Reads a tar in ways that must agree; the error that ended it.
fn read_in_all_ways(data: &[u8]) -> Option<TarError> {
    let path = Path::new(NAME);
    let (outcome, error) = by_slice(TarSlice::new(data, path), data);
    // Small buffers have many borders for headers and data to lie across.
    let buffer = 600;
    let pieces = BufReader::with_capacity(buffer, Pieces { data, given: 0 });
    assert_eq!(outcome, by_stream(TarStream::buffered(pieces, path)), "memory and stream differ");
    let seeking = || {
        let input = BufReader::with_capacity(buffer, Cursor::new(data));
        TarStream::seeking(input, data.len() as u64, path)
    };
    assert_eq!(outcome, by_stream(seeking()), "memory and file differ");
    let ends = (outcome.warnings, outcome.error);
    assert_eq!(ends, skipping(TarStream::buffered(BufReader::with_capacity(buffer, data), path)), "skipping differs");
    assert_eq!(ends, skipping(seeking()), "seeking differs");
    error
}

/// The block whose checksum is the error.
fn bad_header<'a>(data: &'a mut [u8], error: &TarError) -> Option<&'a mut [u8; BLOCK]> {
    let is_bad = match &error.fault {
        TarFault::HeaderChecksum { .. } | TarFault::NotATar { .. } => true,
        TarFault::BadNumber { field } => *field == "checksum",
        _ => false,
    };
    data.get_mut(error.offset as usize..)?.first_chunk_mut().filter(|_| is_bad)
}

fn by_slice(mut tar: TarSlice<'_>, whole: &[u8]) -> (Outcome, Option<TarError>) {
    let mut outcome = Outcome::default();
    let mut groupers = [Dots::First, Dots::Last].map(|dots| Grouper::new(Path::new(NAME), dots));
    let mut fault = None;
    let mut end = 0;
    for item in &mut tar {
        match item {
            Ok((member, data)) => {
                assert!(end <= member.header && member.header < member.offset, "members overlap");
                end = member.end();
                assert_eq!(whole.get(member.offset as usize..end as usize), Some(data));
                for grouper in &mut groupers {
                    let _ = grouper.push(&member);
                }
                outcome.members.push((member, data.to_vec()));
            }
            Err(error) => fault = Some(error),
        }
    }
    assert!(outcome.members.len() as u64 >= groupers[0].passed().total());
    outcome.warnings = tar.warnings().to_vec();
    outcome.error = fault.as_ref().map(TarError::to_string);
    (outcome, fault)
}

fn by_stream<R: Read>(mut tar: TarStream<R>) -> Outcome {
    let mut outcome = Outcome::default();
    let end = loop {
        match tar.next() {
            Ok(Some(member)) => match tar.read_to_vec(u64::MAX) {
                Ok(data) => outcome.members.push((member, data)),
                Err(error) => break Some(error),
            },
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Outcome { warnings: tar.warnings().to_vec(), error: end.as_ref().map(TarError::to_string), ..outcome }
}

fn skipping<R: Read>(mut tar: TarStream<R>) -> (Vec<TarWarning>, Option<String>) {
    let error = loop {
        match tar.next() {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    (tar.warnings().to_vec(), error)
}

/// Gives pieces of 1, 2, 3, … bytes.
struct Pieces<'a> {
    data: &'a [u8],
    given: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.given += 1;
        let most = buffer.len().min(self.given);
        self.data.read(&mut buffer[..most])
    }
}

/// Gives a block the checksum that it should have.
fn mend(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block[154] = 0;
}

/// The lengths of the tar, and of the file if it is compressed, that the last frame in `text` makes right.
fn lengths(text: &[u8]) -> (u64, Option<u64>) {
    let text = String::from_utf8_lossy(text);
    let Some(frame) = text.lines().rfind(|line| line.starts_with("#frame\t")) else { return (u64::MAX, None) };
    let mut numbers = frame.split('\t').skip(1).map(|field| field.parse().unwrap_or(0u64));
    let mut next = || numbers.next().unwrap_or(0);
    let [offset, length, tar_offset, tar_length] = std::array::from_fn(|_| next());
    (tar_offset.saturating_add(tar_length), Some(offset.saturating_add(length)))
}

/// The text of an index.
fn written(index: &Index) -> String {
    let mut text = index::HEADER.to_string();
    let mut samples = index.samples.iter().peekable();
    let mut write = |text: &mut String, end: u64| {
        while let Some(sample) = samples.next_if(|sample| sample.members.iter().all(|member| member.end() <= end)) {
            for member in &sample.members {
                let data = (member.length, member.xxh3);
                index::push_line(text, &sample.key, &member.extension, member.offset, data);
            }
        }
    };
    for frame in &index.frames {
        index::push_frame(&mut text, frame);
        write(&mut text, Frame::tar_end(frame));
    }
    write(&mut text, u64::MAX);
    text
}
