//! Small tars, sound and not, and reading them in every way.

use std::fs::File;
use std::io::{self, Read};

use mugs_shards::tar::{MappedTar, TarError, TarFault, TarSlice, TarStream, TarWarning, open_stream};

use crate::support::picture;

/// What reading a tar gives: names and data of the members that are whole, and how it ends.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub members: Vec<(String, Vec<u8>)>,
    pub warnings: Vec<TarWarning>,
    pub error: Option<String>,
}

/// Gives at most 100 bytes at once.
pub struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(100);
        self.0.read(&mut buffer[..most])
    }
}

pub fn name(bytes: &[u8]) -> String {
    String::from_utf8(bytes.into()).unwrap()
}

pub fn by_slice(mut tar: TarSlice<'_>) -> (Found, Option<TarError>) {
    let (mut members, mut error) = (Vec::new(), None);
    for item in &mut tar {
        match item {
            Ok((member, data)) => {
                assert_eq!(data.len() as u64, member.length);
                members.push((name(&member.name), data.to_vec()));
            }
            Err(fault) => error = Some(fault),
        }
    }
    assert!(tar.next().is_none());
    (Found { members, warnings: tar.warnings().into(), error: error.as_ref().map(TarError::to_string) }, error)
}

/// Reads the data too, or skips them: then the last member can be one that is not whole.
pub fn by_stream<R: Read>(mut tar: TarStream<R>, reads: bool) -> Found {
    let (mut members, mut error) = (Vec::new(), None);
    loop {
        match tar.next() {
            Ok(None) => break,
            Ok(Some(member)) if !reads => members.push((name(&member.name), Vec::new())),
            Ok(Some(member)) => match tar.read_to_vec(u64::MAX) {
                Ok(data) => members.push((name(&member.name), data)),
                Err(fault) => {
                    // What could not be read cannot be skipped.
                    assert_eq!(tar.next().unwrap_err().to_string(), fault.to_string());
                    error = Some(fault.to_string());
                }
            },
            Err(fault) => error = Some(fault.to_string()),
        }
    }
    Found { members, warnings: tar.warnings().into(), error }
}

/// Reads a tar in every way: all must agree.
pub fn read(tar: &[u8]) -> (Found, Option<TarFault>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    std::fs::write(&path, tar).unwrap();
    let (found, error) = by_slice(TarSlice::new(tar, &path));
    assert_eq!(by_stream(TarStream::new(Pieces(tar), &path), true), found);
    assert_eq!(by_stream(TarStream::seekable(File::open(&path).unwrap(), &path).unwrap(), true), found);
    assert_eq!(by_stream(open_stream(&path).unwrap(), true), found);
    match MappedTar::open(&path) {
        Ok(map) => assert_eq!(by_slice(map.members()).0, found),
        Err(error) => assert_eq!(Some(error.to_string()), found.error),
    }
    let names = |members: &[(String, Vec<u8>)]| members.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let seeking = by_stream(TarStream::seekable(File::open(&path).unwrap(), &path).unwrap(), false);
    assert_eq!((names(&seeking.members), seeking.warnings), (names(&found.members), found.warnings.clone()));
    assert_eq!(seeking.error, found.error);
    let skipping = by_stream(TarStream::new(Pieces(tar), &path), false);
    assert_eq!((skipping.warnings, skipping.error), (found.warnings.clone(), found.error.clone()));
    let named = found.error.as_ref().is_none_or(|error| error.contains("x.tar at offset "));
    assert!(named, "{found:?}");
    (found, error.map(|error| error.fault))
}

/// Six samples: `0.jpg`, `0.cls`, `1.jpg`, …
pub fn files() -> Vec<(String, Vec<u8>)> {
    let pictures = (0..6).map(|number| (format!("{number}.jpg"), picture(number, 700 + 97 * number as usize)));
    pictures.flat_map(|(name, data)| [(name.clone(), data), (name.replace("jpg", "cls"), b"7".into())]).collect()
}

pub fn header(name: &str, length: u64, flag: u8) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    // As it is: no check of the name, and no splitting.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_size(length);
    header.set_entry_type(tar::EntryType::new(flag));
    header.set_cksum();
    header
}

pub fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn member_of(flag: u8, name: &str, data: &[u8]) -> Vec<u8> {
    padded([header(name, data.len() as u64, flag).as_bytes(), data].concat())
}

pub fn member(name: &str, data: &[u8]) -> Vec<u8> {
    member_of(b'0', name, data)
}

/// A tar of [`files`] without end blocks.
pub fn open_ended() -> Vec<u8> {
    files().iter().flat_map(|(name, data)| member(name, data)).collect()
}

pub const END: [u8; 1024] = [0; 1024];

pub fn good() -> Vec<u8> {
    [&open_ended()[..], &END].concat()
}

/// The first `count` files and no error.
pub fn assert_files(found: &Found, count: usize, warnings: &[TarWarning]) {
    assert_eq!(found.members, files()[..count]);
    assert_eq!((&found.warnings[..], &found.error), (warnings, &None));
}

/// A record of a PAX header.
pub fn record(keyword: &str, value: &str) -> String {
    let rest = format!(" {keyword}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length += 1;
    }
    format!("{length}{rest}")
}
