//! What must hold for any bytes whatever: called by the fuzz targets (`fuzz/`) and by a test that runs their corpus.
//!
//! Each function panics if it does not hold.

use std::io::Read;
use std::path::Path;

use crate::index::{self, Frame, Index};
use crate::manifest::{self, Manifest};
use crate::tar::{BLOCK, Dots, Grouper, TarError, TarMember, TarSlice, TarStream, TarWarning};

/// Reads `data` as a tar, from memory and as a stream: both must find the same. Where a header has a bad checksum it is
/// then mended and all read again, for no fuzzer guesses checksums. Whether all could be read in the end.
pub fn tar(data: &[u8]) -> bool {
    let mut data = data.to_vec();
    // Each round mends another block.
    for _ in 0..=data.len() / BLOCK {
        let Some(error) = read_both(&data) else { return true };
        let at = error.offset as usize;
        let is_bad = matches!(error.kind(), "header_checksum" | "bad_number" | "not_a_tar");
        match data.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            Some(block) if is_bad => mend(block),
            _ => return false,
        }
    }
    false
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

/// Reads a tar in three ways that must agree; the error that ended it.
fn read_both(data: &[u8]) -> Option<TarError> {
    let path = Path::new("x.tar");
    let (outcome, error) = by_slice(TarSlice::new(data, path), data);
    let whole = by_stream(TarStream::new(data, path));
    assert_eq!(outcome, whole, "memory and stream differ");
    let pieces = by_stream(TarStream::new(Pieces { data, given: 0 }, path));
    assert_eq!(outcome, pieces, "memory and stream of pieces differ");
    let (warnings, skipped) = skipping(TarStream::new(data, path));
    assert_eq!((&outcome.warnings, &outcome.error), (&warnings, &skipped), "reading and skipping differ");
    error
}

fn by_slice(mut tar: TarSlice<'_>, whole: &[u8]) -> (Outcome, Option<TarError>) {
    let mut outcome = Outcome::default();
    let mut groupers = [Dots::First, Dots::Last].map(|dots| Grouper::new(Path::new("x.tar"), dots));
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
