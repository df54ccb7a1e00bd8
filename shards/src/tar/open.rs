//! Opening a tar whatever it is compressed with.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{TarError, TarFault, TarStream};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// zstd frames that decoders skip: 0x50 to 0x5f, then these.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Opens the tar at `path`: plain, or compressed with gzip or zstd, as its first bytes say. All gzip members and zstd
/// frames are read. Whatever is compressed otherwise is no tar, which is the first error.
///
/// # Errors
/// The file cannot be opened or read.
pub fn open_stream(path: &Path) -> Result<TarStream<Box<dyn Read + Send>>, TarError> {
    let error = |source| TarError { path: path.into(), offset: 0, member: None, fault: TarFault::Io(source) };
    let mut file = File::open(path).map_err(error)?;
    let mut start = Vec::new();
    (&mut file).take(ZSTD.len() as u64).read_to_end(&mut start).map_err(error)?;
    let (is_gzip, is_zstd) = (start.starts_with(&GZIP), is_zstd(&start));
    // A pipe cannot be wound back.
    let whole = Cursor::new(start).chain(file);
    let (reader, compression): (Box<dyn Read + Send>, _) = if is_gzip {
        (Box::new(MultiGzDecoder::new(whole)), Some("gzip"))
    } else if is_zstd {
        (Box::new(zstd::Decoder::new(whole).map_err(error)?), Some("zstd"))
    } else {
        (Box::new(whole), None)
    };
    let mut stream = TarStream::new(reader, path);
    stream.compression = compression;
    Ok(stream)
}

fn is_zstd(start: &[u8]) -> bool {
    start == ZSTD || (start.len() == 4 && start[0] & 0xf0 == 0x50 && start[1..] == ZSTD_SKIPPABLE)
}
