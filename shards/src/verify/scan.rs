//! One pass over a tar: the checksum of the whole, and by the index the first wrong byte of each part.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{Problem, VerifyHooks, whole_file};
use crate::checksum::Hasher;
use crate::index::{Member, SampleEntry};
use crate::manifest::ShardInfo;
use crate::ustar;

/// Bytes read at once; no size in a file decides how much memory is taken.
const PIECE: usize = 1 << 20;

pub(crate) struct Scanned {
    pub(crate) problems: Vec<Problem>,
    pub(crate) bytes: u64,
}

/// Reads the whole tar at `path`. Without `entries` only its length and checksum are compared.
pub(crate) fn scan(
    path: &Path,
    shard: &ShardInfo,
    entries: &[SampleEntry],
    hooks: VerifyHooks<'_>,
) -> io::Result<Scanned> {
    let file = BufReader::with_capacity(PIECE, File::open(path)?);
    let mut scan = Scan { file, hash: Hasher::default(), at: 0, shard, hooks, problems: Vec::new() };
    match scan.parts(entries) {
        Ok(()) => {}
        Err(Halt::End) => scan.truncated(entries),
        Err(Halt::Stop) => return Ok(Scanned { problems: scan.problems, bytes: scan.at }),
        Err(Halt::Io(error)) => return Err(error),
    }
    scan.whole();
    Ok(Scanned { problems: scan.problems, bytes: scan.at })
}

struct Scan<'a> {
    file: BufReader<File>,
    hash: Hasher,
    /// Bytes read.
    at: u64,
    shard: &'a ShardInfo,
    hooks: VerifyHooks<'a>,
    problems: Vec<Problem>,
}

/// Why a pass ends before the end that the index says.
enum Halt {
    End,
    Stop,
    Io(io::Error),
}

impl Scan<'_> {
    /// Reads all parts that the index says, then the rest.
    fn parts(&mut self, entries: &[SampleEntry]) -> Result<(), Halt> {
        for entry in entries {
            for member in &entry.members {
                if member.offset != self.at + ustar::BLOCK {
                    let what = format!("the index puts {} at offset {}", member.extension, member.offset);
                    self.problem(Some(&entry.key), self.at, what);
                    return self.rest();
                }
                self.member(&entry.key, member)?;
            }
        }
        if !entries.is_empty() {
            self.fixed(None, &ustar::END, "the end blocks")?;
        }
        self.rest()
    }

    fn member(&mut self, key: &str, member: &Member) -> Result<(), Halt> {
        let name = format!("{key}.{}", member.extension);
        match ustar::header(&name, member.length) {
            Ok(header) => self.fixed(Some(key), &header, &format!("the header of {name}"))?,
            Err(error) => {
                self.problem(Some(key), self.at, format!("{name}: {error}"));
                self.pieces(ustar::BLOCK, |_| {})?;
            }
        }
        let mut hasher = Hasher::default();
        self.pieces(member.length, |piece| hasher.update(piece))?;
        if hasher.finish() != member.xxh3 {
            let what = format!("{name}: its {} bytes do not have their checksum", member.length);
            self.problem(Some(key), member.offset, what);
        }
        let zeros = &[0; ustar::BLOCK as usize][..ustar::padding(member.length) as usize];
        self.fixed(Some(key), zeros, &format!("the padding of {name}"))
    }

    /// Reads bytes that can only be `expected`.
    fn fixed(&mut self, key: Option<&str>, expected: &[u8], what: &str) -> Result<(), Halt> {
        let (start, mut done, mut wrong) = (self.at, 0, None);
        self.pieces(expected.len() as u64, |piece| {
            let differs = piece.iter().zip(&expected[done..]).position(|(found, expected)| found != expected);
            wrong = wrong.or(differs.map(|place| done + place));
            done += piece.len();
        })?;
        if let Some(place) = wrong {
            self.problem(key, start + place as u64, format!("{what} is damaged"));
        }
        Ok(())
    }

    /// Gives the next `length` bytes in pieces.
    fn pieces(&mut self, length: u64, mut take: impl FnMut(&[u8])) -> Result<(), Halt> {
        let mut left = length;
        while left > 0 {
            let taken = self.piece(left, &mut take)?;
            if taken == 0 {
                return Err(Halt::End);
            }
            left -= taken;
        }
        Ok(())
    }

    /// Gives at most `limit` bytes; tells how many, 0 at the end of the file.
    fn piece(&mut self, limit: u64, mut take: impl FnMut(&[u8])) -> Result<u64, Halt> {
        let refilled = self.file.buffer().is_empty();
        let buffer = self.file.fill_buf().map_err(Halt::Io)?;
        if refilled {
            (self.hooks.progress)(buffer.len() as u64);
            if self.hooks.stop.load(Ordering::Relaxed) {
                return Err(Halt::Stop);
            }
        }
        let piece = &buffer[..buffer.len().min(usize::try_from(limit).unwrap_or(usize::MAX))];
        take(piece);
        self.hash.update(piece);
        let taken = piece.len();
        self.file.consume(taken);
        self.at += taken as u64;
        Ok(taken as u64)
    }

    /// Reads to the end of the file.
    fn rest(&mut self) -> Result<(), Halt> {
        while self.piece(u64::MAX, |_| {})? > 0 {}
        Ok(())
    }

    /// The file ended before its last sample or its end blocks did.
    fn truncated(&mut self, entries: &[SampleEntry]) {
        let lost = |entry: &&SampleEntry| entry.members.iter().any(|member| member.end() > self.at);
        let missing: Vec<&SampleEntry> = entries.iter().filter(lost).collect();
        let key = missing.first().map(|entry| entry.key.clone());
        let what = format!("truncated: it has {} of {} bytes", self.at, self.shard.bytes);
        let what = match missing.len() {
            0 => format!("{what}; its samples are whole"),
            count => format!("{what}; {count} of its {} samples are cut or missing, from here on", entries.len()),
        };
        self.problem(key.as_deref(), self.at, what);
    }

    /// Compares the length and checksum of the whole; says so if no part was found at fault.
    fn whole(&mut self) {
        let found = self.hash.finish();
        if !self.problems.is_empty() || found == self.shard.xxh3 {
            return;
        }
        if self.at == self.shard.bytes {
            self.problems.push(whole_file(&self.shard.file, found, self.shard.xxh3));
        } else {
            let what = format!("it has {} bytes, the manifest says {}", self.at, self.shard.bytes);
            self.problem(None, self.at.min(self.shard.bytes), what);
        }
    }

    fn problem(&mut self, key: Option<&str>, offset: u64, what: String) {
        let (file, key) = (self.shard.file.clone(), key.map(str::to_owned));
        self.problems.push(Problem { file, key, offset: Some(offset), what });
    }
}
