//! One pass over a tar: the checksum of the whole, and by the index the first wrong byte of each part.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{Problem, VerifyHooks, walk, whole_file};
use crate::checksum::Hasher;
use crate::index::{Member, SampleEntry};
use crate::manifest::ShardInfo;
use crate::ustar;

/// How a problem begins after which nothing more is known of where members lie.
const MISPLACED: &str = "the index puts";

/// Bytes read at once; no size in a file decides how much memory is taken.
const PIECE: usize = 1 << 20;

pub(crate) struct Scanned {
    pub(crate) problems: Vec<Problem>,
    pub(crate) bytes: u64,
}

/// Reads the whole tar at `path`. Without `entries` only its length and checksum are compared. The headers of a
/// `foreign` tar are not ours: what is between the members is judged by the checksum of the whole, and a second pass
/// over its headers finds where they do not fit the index.
pub(crate) fn scan(
    path: &Path,
    shard: &ShardInfo,
    entries: &[SampleEntry],
    foreign: bool,
    hooks: VerifyHooks<'_>,
) -> io::Result<Scanned> {
    let file = BufReader::with_capacity(PIECE, File::open(path)?);
    let mut scan = Scan::new(file, 0, shard, hooks);
    let done = if foreign { scan.foreign(entries) } else { scan.parts(entries) };
    match done {
        Ok(()) => {}
        Err(Halt::End) => scan.truncated(entries),
        Err(Halt::Stop) => return Ok(Scanned { problems: scan.problems, bytes: scan.at }),
        Err(Halt::Io(error)) => return Err(error),
    }
    let samples_are_whole = scan.problems.is_empty();
    scan.whole();
    let Scan { mut problems, at: bytes, .. } = scan;
    if foreign && samples_are_whole && bytes == shard.bytes {
        if problems.is_empty() {
            problems.extend(walk::judge_index(path, shard, entries)?);
        } else if let Some(precise) = walk::damaged_header(path, shard, entries)? {
            problems = vec![precise];
        }
    }
    Ok(Scanned { problems, bytes })
}

/// What is in the part of a tar that begins at `start` and lies in memory: whole samples, and the end if it is the last.
/// Gives the problems of the samples.
pub(crate) fn scan_part(
    content: &[u8],
    start: u64,
    shard: &ShardInfo,
    entries: &[SampleEntry],
    hooks: VerifyHooks<'_>,
) -> Vec<Problem> {
    // What was read is counted where the compressed bytes are.
    let hooks = VerifyHooks { progress: &|_| {}, ..hooks };
    let mut scan = Scan::new(content, start, shard, hooks);
    let last = start + content.len() as u64 == shard.tar_bytes();
    let done = scan.members(entries).and_then(|()| if last { scan.end() } else { Ok(()) });
    if matches!(done, Err(Halt::End)) || (done.is_ok() && scan.at != start + content.len() as u64) {
        scan.problem(None, scan.at, "its samples do not fill its frame".into());
    }
    scan.problems
}

struct Scan<'a, R> {
    file: R,
    hash: Hasher,
    /// Bytes read.
    at: u64,
    /// Bytes that progress was told of.
    told: u64,
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

impl<'a, R: io::BufRead> Scan<'a, R> {
    fn new(file: R, at: u64, shard: &'a ShardInfo, hooks: VerifyHooks<'a>) -> Self {
        Self { file, hash: Hasher::default(), at, told: at, shard, hooks, problems: Vec::new() }
    }

    /// Reads all parts that the index says, then the rest.
    fn parts(&mut self, entries: &[SampleEntry]) -> Result<(), Halt> {
        self.members(entries)?;
        if !entries.is_empty() && self.problems.iter().all(|problem| !problem.what.starts_with(MISPLACED)) {
            self.end()?;
        }
        self.rest()
    }

    fn members(&mut self, entries: &[SampleEntry]) -> Result<(), Halt> {
        for entry in entries {
            for member in &entry.members {
                if member.offset != self.at + ustar::BLOCK {
                    let what = format!("{MISPLACED} {} at offset {}", member.extension, member.offset);
                    self.problem(Some(&entry.key), self.at, what);
                    return Ok(());
                }
                self.member(&entry.key, member)?;
            }
        }
        Ok(())
    }

    /// Compares the data of all members; reads what is between and behind them.
    fn foreign(&mut self, entries: &[SampleEntry]) -> Result<(), Halt> {
        for entry in entries {
            for member in &entry.members {
                self.pieces(member.offset.saturating_sub(self.at), |_| {})?;
                self.data(&entry.key, member)?;
            }
        }
        self.rest()
    }

    fn end(&mut self) -> Result<(), Halt> {
        self.fixed(None, &ustar::END, "the end blocks")
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
        self.data(key, member)?;
        let zeros = &[0; ustar::BLOCK as usize][..ustar::padding(member.length) as usize];
        self.fixed(Some(key), zeros, &format!("the padding of {name}"))
    }

    fn data(&mut self, key: &str, member: &Member) -> Result<(), Halt> {
        let mut hasher = Hasher::default();
        self.pieces(member.length, |piece| hasher.update(piece))?;
        if hasher.finish() != member.xxh3 {
            let (extension, length) = (&member.extension, member.length);
            let what = format!("{key}.{extension}: its {length} bytes do not have their checksum");
            self.problem(Some(key), member.offset, what);
        }
        Ok(())
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
        let buffer = self.file.fill_buf().map_err(Halt::Io)?;
        if self.at >= self.told {
            self.told = self.at + buffer.len() as u64;
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
