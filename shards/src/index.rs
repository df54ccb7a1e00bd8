//! `NAME-000000.idx`: where each member of a shard lies, and its checksum.
//!
//! Tab-separated text. The first line is [`HEADER`]; then one line per member in the order of the tar: key,
//! extension, offset of the data from the start of the tar, length of the data (both in bytes, decimal) and
//! XXH3-128 of the data. The members of a sample are adjacent.
//!
//! A compressed shard (`.tar.zst`) is a row of zstd frames, each of which holds whole samples. Before the members of a
//! frame comes its own line: `#frame`, its offset and length in the file, and the offset and length of what it
//! decompresses to in the tar. Offsets of members are those in the tar. So one sample is read by decompressing one
//! frame.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::checksum::Checksum;
use crate::ustar;

/// The first line of an index: what it is, its version, and the columns.
pub(crate) const HEADER: &str = "#mugs-index\t1\tkey\textension\toffset\tlength\txxh3\n";

/// The extension of the member that holds the label: ASCII decimal digits.
pub const LABEL_EXTENSION: &str = "cls";

/// The extensions of files that are taken for pictures, lower case.
pub const PICTURE_EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// One file of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What follows the key and a dot in the tar, lower case: `jpeg`, `cls`.
    pub extension: Arc<str>,
    /// Where the data begin, in bytes from the start of the tar.
    pub offset: u64,
    /// Length of the data in bytes.
    pub length: u64,
    /// XXH3-128 of the data.
    pub xxh3: Checksum,
}

impl Member {
    /// Where the data end, in bytes from the start of the tar.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// Whether this is the picture of its sample.
    pub fn is_picture(&self) -> bool {
        PICTURE_EXTENSIONS.contains(&&*self.extension)
    }
}

/// One sample of a shard, as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleEntry {
    /// The sample's name, unique in its set.
    pub key: Arc<str>,
    /// Its files in the order of the tar, at least one picture among them.
    pub members: Vec<Member>,
}

impl SampleEntry {
    /// The picture: the first member with a picture's extension.
    pub fn picture(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.is_picture())
    }

    /// The label, if the sample has one.
    pub fn label(&self) -> Option<&Member> {
        self.members.iter().find(|member| &*member.extension == LABEL_EXTENSION)
    }
}

/// A zstd frame of a compressed shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in the file in bytes.
    pub length: u64,
    /// Where its content begins in the tar, in bytes.
    pub tar_offset: u64,
    /// The length of its content in bytes.
    pub tar_length: u64,
}

impl Frame {
    /// Where its content ends in the tar.
    pub(crate) fn tar_end(&self) -> u64 {
        self.tar_offset + self.tar_length
    }
}

/// What the line of a frame begins with; no key does.
const FRAME: &str = "#frame";

/// What an index says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) samples: Vec<SampleEntry>,
    /// Empty for a tar that is not compressed.
    pub(crate) frames: Vec<Frame>,
}

/// Appends a frame's line to the text of an index.
pub(crate) fn push_frame(text: &mut String, frame: &Frame) {
    let Frame { offset, length, tar_offset, tar_length } = frame;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{FRAME}\t{offset}\t{length}\t{tar_offset}\t{tar_length}");
}

/// Appends a member's line to the text of an index.
pub(crate) fn push_line(text: &mut String, key: &str, extension: &str, offset: u64, data: (u64, Checksum)) {
    let (length, xxh3) = data;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{key}\t{extension}\t{offset}\t{length}\t{xxh3}");
}

/// A line of an index that cannot be right.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Where the line begins, in bytes from the start of the index.
    pub(crate) offset: u64,
    pub(crate) reason: String,
}

/// Reads an index of a tar of `tar_bytes` bytes; `compressed` is the length of the file if that is a `.tar.zst`. Every
/// offset and length it returns lies within the tar, behind the one before, and leaves room for the header; frames
/// follow each other without gaps and hold whole samples.
pub(crate) fn parse(bytes: &[u8], tar_bytes: u64, compressed: Option<u64>) -> Result<Index, Fault> {
    let start = Fault { offset: 0, reason: "its first line is not that of an index of version 1".into() };
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fault { offset: error.valid_up_to() as u64, reason: "not text".into() })?;
    let lines = text.strip_prefix(HEADER).ok_or(start)?;
    let mut parser = Parser { tar_bytes, compressed, ..Parser::default() };
    let mut offset = HEADER.len() as u64;
    for line in lines.split_inclusive('\n') {
        parser.line(line).map_err(|reason| Fault { offset, reason })?;
        offset += line.len() as u64;
    }
    parser.finish().map_err(|reason| Fault { offset, reason })
}

#[derive(Default)]
struct Parser {
    samples: Vec<SampleEntry>,
    frames: Vec<Frame>,
    /// Samples before the last frame.
    before_frame: usize,
    keys: HashSet<Arc<str>>,
    extensions: HashSet<Arc<str>>,
    /// Where the last member's data end.
    end: u64,
    tar_bytes: u64,
    compressed: Option<u64>,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let fields: Vec<&str> = line.strip_suffix('\n').ok_or("the last line is cut")?.split('\t').collect();
        let [key, extension, offset, length, xxh3] = fields[..] else {
            return Err(format!("a line has {} fields, not 5", fields.len()));
        };
        if key == FRAME {
            return self.frame([extension, offset, length, xxh3]);
        }
        if key.is_empty() || extension.is_empty() {
            return Err("a line has no key or no extension".into());
        }
        let member = Member {
            extension: self.extension(extension),
            offset: number(offset)?,
            length: number(length)?,
            xxh3: xxh3.parse().map_err(|error| format!("{key}: {error}"))?,
        };
        self.place(key, &member)?;
        self.add(key, member)
    }

    /// A frame begins where the one before ended, in the file and in the tar.
    fn frame(&mut self, fields: [&str; 4]) -> Result<(), String> {
        let Some(bytes) = self.compressed else {
            return Err("it has frames, but its shard is not compressed".into());
        };
        let [offset, length, tar_offset, tar_length] = fields.map(number);
        let frame = Frame { offset: offset?, length: length?, tar_offset: tar_offset?, tar_length: tar_length? };
        let (end, tar_end) = self.frames.last().map_or((0, 0), |last| (last.offset + last.length, last.tar_end()));
        let fits = |start: u64, length: u64, limit| start.checked_add(length).is_some_and(|end| end <= limit);
        let within =
            fits(frame.offset, frame.length, bytes) && fits(frame.tar_offset, frame.tar_length, self.tar_bytes);
        if (frame.offset, frame.tar_offset) != (end, tar_end) || !within {
            return Err(format!("the frame at offset {} does not follow the one before", frame.offset));
        }
        self.complete()?;
        self.frames.push(frame);
        self.before_frame = self.samples.len();
        Ok(())
    }

    /// One copy of each extension serves all members.
    fn extension(&mut self, extension: &str) -> Arc<str> {
        if let Some(known) = self.extensions.get(extension) {
            return known.clone();
        }
        let new: Arc<str> = extension.into();
        self.extensions.insert(new.clone());
        new
    }

    /// Whether the member lies within the tar and behind the one before.
    fn place(&mut self, key: &str, member: &Member) -> Result<(), String> {
        let end = member.offset.checked_add(member.length).filter(|end| *end <= self.tar_bytes);
        let Some(end) = end else {
            return Err(format!("{key}.{} ends behind the end of the shard", member.extension));
        };
        // Subtracting cannot overflow where adding to what the file says could.
        let header = member.offset.checked_sub(ustar::BLOCK).filter(|header| *header >= self.end);
        let Some(header) = header.filter(|_| member.offset.is_multiple_of(ustar::BLOCK)) else {
            return Err(format!("{key}.{} cannot begin at offset {}", member.extension, member.offset));
        };
        if self.compressed.is_some() {
            let frame = self.frames.last().filter(|frame| header >= frame.tar_offset);
            if frame.is_none_or(|frame| end > frame.tar_end()) {
                return Err(format!("{key}.{} lies in no frame", member.extension));
            }
        }
        self.end = end;
        Ok(())
    }

    fn add(&mut self, key: &str, member: Member) -> Result<(), String> {
        // A sample lies in one frame: behind the start of a frame begins another one.
        match self.samples[self.before_frame..].last_mut().filter(|sample| &*sample.key == key) {
            Some(sample) if sample.members.iter().any(|other| other.extension == member.extension) => {
                return Err(format!("{key}.{} is there twice", member.extension));
            }
            Some(sample) => sample.members.push(member),
            None => {
                self.complete()?;
                let key: Arc<str> = key.into();
                if !self.keys.insert(key.clone()) {
                    return Err(format!("the members of {key} are not adjacent"));
                }
                self.samples.push(SampleEntry { key, members: vec![member] });
            }
        }
        Ok(())
    }

    /// Whether the last sample has all it needs.
    fn complete(&self) -> Result<(), String> {
        match self.samples.last() {
            Some(sample) if sample.picture().is_none() => Err(format!("sample {} has no picture", sample.key)),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Index, String> {
        self.complete()?;
        let end = self.frames.last().map(|last| (last.offset + last.length, last.tar_end()));
        if let (Some(bytes), Some(end)) = (self.compressed, end.or(Some((0, 0))))
            && end != (bytes, self.tar_bytes)
        {
            return Err("its frames do not add up to the shard".into());
        }
        Ok(Index { samples: self.samples, frames: self.frames })
    }
}

/// A number as we write it: decimal digits, no sign, no leading zero.
fn number(text: &str) -> Result<u64, String> {
    let value = text.parse::<u64>().ok().filter(|value| value.to_string() == text);
    value.ok_or_else(|| format!("{text:?} is no number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, extension, offset and length.
    type Line = (&'static str, &'static str, u64, u64);

    fn text(lines: &[Line]) -> String {
        let mut text = HEADER.to_string();
        for (key, extension, offset, length) in lines {
            push_line(&mut text, key, extension, *offset, (*length, Checksum::of(key.as_bytes())));
        }
        text
    }

    const GOOD: [Line; 4] =
        [("a", "jpg", 512, 700), ("a", "cls", 2048, 1), ("b", "png", 3072, 512), ("b", "cls", 4096, 0)];

    #[test]
    fn members_are_grouped_into_samples() {
        let samples = parse(text(&GOOD).as_bytes(), 6144, None).unwrap().samples;
        assert_eq!(samples.iter().map(|s| (&*s.key, s.members.len())).collect::<Vec<_>>(), [("a", 2), ("b", 2)]);
        assert_eq!(samples[1].picture().unwrap().offset, 3072);
        assert_eq!(samples[0].label().unwrap().end(), 2049);
    }

    #[test]
    fn impossible_lines_are_refused_with_their_offset() {
        let cases: [(usize, Line, &str); 8] = [
            (1, ("a", "jpg", 2048, 1), "twice"),
            (1, ("a", "cls", 2049, 1), "cannot begin"),
            (1, ("a", "cls", 1024, 1), "cannot begin"),
            (3, ("b", "cls", 4096, 2049), "behind the end"),
            (3, ("b", "cls", 4096, u64::MAX), "behind the end"),
            (2, ("a", "txt", 3072, 1), "sample b has no picture"),
            (0, ("a", "txt", 512, 700), "sample a has no picture"),
            (3, ("", "cls", 4096, 0), "no key"),
        ];
        for (line, replacement, reason) in cases {
            let mut lines = GOOD;
            lines[line] = replacement;
            let fault = parse(text(&lines).as_bytes(), 6144, None).unwrap_err();
            assert!(fault.reason.contains(reason), "{replacement:?}: {}", fault.reason);
            assert!(fault.offset >= HEADER.len() as u64);
        }
        let torn = [("a", "jpg", 512, 1), ("b", "jpg", 1536, 1), ("a", "cls", 2560, 1)];
        assert!(parse(text(&torn).as_bytes(), 6144, None).unwrap_err().reason.contains("not adjacent"));
    }

    #[test]
    fn other_texts_are_no_index() {
        let good = text(&GOOD);
        for bad in ["", "key\tjpg\t512\t1\n", &good[..good.len() - 1], &good.replace("\t512\t", "\t+512\t")] {
            assert!(parse(bad.as_bytes(), 6144, None).is_err(), "{bad:?}");
        }
        assert!(parse(b"\xff\xfe", 6144, None).is_err());
    }

    /// An index of two frames: what frames say, and the lines behind each.
    fn framed(frames: [[u64; 4]; 2], lines: [&[Line]; 2]) -> String {
        let mut whole = HEADER.to_string();
        for ([offset, length, tar_offset, tar_length], lines) in frames.into_iter().zip(lines) {
            push_frame(&mut whole, &Frame { offset, length, tar_offset, tar_length });
            whole.push_str(&text(lines)[HEADER.len()..]);
        }
        whole
    }

    #[test]
    fn frames_hold_whole_samples_and_follow_each_other() {
        let frames = [[0, 100, 0, 2560], [100, 50, 2560, 3584]];
        let (first, second) = GOOD.split_at(2);
        let index = parse(framed(frames, [first, second]).as_bytes(), 6144, Some(150)).unwrap();
        assert_eq!((index.samples.len(), index.frames.len()), (2, 2));
        assert_eq!(index.frames[1], Frame { offset: 100, length: 50, tar_offset: 2560, tar_length: 3584 });
        /// What the frames say, the lines behind each, and why that is wrong.
        type Wrong<'a> = ([[u64; 4]; 2], [&'a [Line]; 2], &'a str);
        let faults: [Wrong<'_>; 6] = [
            ([frames[0], [101, 49, 2560, 3584]], [first, second], "does not follow"),
            ([frames[0], [100, 51, 2560, 3584]], [first, second], "does not follow"),
            ([frames[0], [100, 50, 2560, 3583]], [first, second], "add up"),
            (frames, [&GOOD[..1], &GOOD[1..]], "lies in no frame"),
            (frames, [&GOOD, &[]], "lies in no frame"),
            ([frames[0], [u64::MAX, 50, 2560, 3584]], [first, second], "does not follow"),
        ];
        for (frames, lines, reason) in faults {
            let fault = parse(framed(frames, lines).as_bytes(), 6144, Some(150)).unwrap_err();
            assert!(fault.reason.contains(reason), "{reason} is not {}", fault.reason);
        }
        let plain = parse(framed(frames, [first, second]).as_bytes(), 6144, None).unwrap_err();
        assert!(plain.reason.contains("not compressed"));
        assert!(parse(text(&GOOD).as_bytes(), 6144, Some(150)).unwrap_err().reason.contains("no frame"));
        assert!(parse(HEADER.as_bytes(), 6144, Some(150)).unwrap_err().reason.contains("add up"));
    }

    #[test]
    fn numbers_at_their_limit_do_not_overflow() {
        let last = u64::MAX - 511;
        let reason = |text: String, compressed| parse(text.as_bytes(), u64::MAX, compressed).unwrap_err().reason;
        let behind_the_last: [Line; 2] = [("a", "jpg", last, 511), ("a", "cls", 512, 0)];
        assert!(reason(text(&behind_the_last), None).contains("cannot begin at offset 512"));
        let frames = [[0, 1, 0, last], [1, 1, last, 511]];
        assert!(reason(framed(frames, [&[], &[("a", "jpg", last, 1)]]), Some(2)).contains("lies in no frame"));
    }
}
