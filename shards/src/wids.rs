//! The index that `wids` reads: where each shard is, its length, samples and MD5.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use md5::{Digest, Md5};
use serde::Serialize;

use crate::error::ShardError;
use crate::set::ShardSet;

/// `wids-shard-index-v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WidsIndex {
    /// Always `wids-shard-index-v1`.
    #[serde(rename = "__kind__")]
    kind: &'static str,
    wids_version: u32,
    /// The name of the set.
    pub name: String,
    /// The shards, in their order.
    pub shardlist: Vec<WidsShard>,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WidsShard {
    /// The file's name behind the base URL.
    pub url: String,
    /// MD5 of the file, 32 lower-case hexadecimal digits.
    pub md5sum: String,
    /// Samples in the shard.
    pub nsamples: u64,
    /// Length of the file in bytes.
    pub filesize: u64,
}

impl WidsIndex {
    /// Makes the index of a set; reads all of it for the MD5 sums. `base` is put before each file's name, with a slash
    /// between. `progress` is told of the bytes read.
    ///
    /// # Errors
    /// A shard cannot be read, or is compressed: `wids` reads plain tars only.
    pub fn new(set: &ShardSet, base: Option<&str>, progress: &dyn Fn(u64)) -> Result<Self, ShardError> {
        let mut shardlist = Vec::new();
        for shard in &set.manifest().shards {
            let path = set.folder().join(&shard.file);
            let fault = |source| ShardError::Io { path: path.clone(), source };
            if shard.tar_bytes.is_some() {
                let reason = "wids reads plain tars only: pack the set anew without --zstd";
                return Err(fault(io::Error::new(io::ErrorKind::Unsupported, reason)));
            }
            let (md5sum, filesize) = md5(&path, progress).map_err(fault)?;
            let url = match base {
                Some(base) => format!("{}/{}", base.trim_end_matches('/'), shard.file),
                None => shard.file.clone(),
            };
            shardlist.push(WidsShard { url, md5sum, nsamples: shard.samples, filesize });
        }
        Ok(Self { kind: "wids-shard-index-v1", wids_version: 1, name: set.manifest().name.clone(), shardlist })
    }
}

fn md5(path: &Path, progress: &dyn Fn(u64)) -> io::Result<(String, u64)> {
    let (mut file, mut hasher, mut piece, mut bytes) = (File::open(path)?, Md5::new(), vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&piece[..read]);
                bytes += read as u64;
                progress(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), bytes))
}
