//! `manifest.json`: what a set holds, with the checksum of each of its files and of itself.
//!
//! The file is JSON, and its last field is the checksum of every byte before the checksum's own digits:
//!
//! ```json
//! {
//!   "format": "mugs-shards",
//!   "version": 1,
//!   ...
//!   "checksum": "5f0c…"
//! }
//! ```
//!
//! After the digits come `"`, a line break, `}` and a line break, and nothing else. So no byte of the file can
//! change unseen, not even a space or a digit of a sample count.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::error::ShardError;
use crate::ustar;

/// The name of the manifest in a set's folder.
pub const MANIFEST: &str = "manifest.json";

/// The format version of the manifest, the index and the layout of the shards.
pub const VERSION: u32 = 1;

const FORMAT: &str = "mugs-shards";
const SEAL: &str = ",\n  \"checksum\": \"";
const CLOSE: &str = "\"\n}\n";
/// Far above the manifest of a million shards; what is larger is no manifest and is not read into memory.
const LONGEST: u64 = 1 << 30;

/// What a set holds. Shards are numbered from 0 in the order of `shards`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `mugs-shards`.
    pub format: String,
    /// The format version, [`VERSION`].
    pub version: u32,
    /// What the names of the files begin with: `NAME-000000.tar`.
    pub name: String,
    /// Samples in all shards, at least 1.
    pub samples: u64,
    /// The seed of the order in which the samples were packed.
    pub seed: u64,
    /// Whether the tars were made elsewhere and only indexed by us: their files may have any names, and their headers
    /// need not be ours. Left out of the file if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
    /// Names of the classes; label `i` means `classes[i]`. Empty where samples have no labels, or labels no names.
    pub classes: Vec<String>,
    /// The shards, at least one.
    pub shards: Vec<ShardInfo>,
}

/// One shard: a tar and its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardInfo {
    /// The tar's file name, `NAME-000000.tar`, or `NAME-000000.tar.zst` if it is compressed.
    pub file: String,
    /// The index's file name, `NAME-000000.idx`.
    pub index: String,
    /// Samples in the shard, at least 1.
    pub samples: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Length of the tar in bytes once it is decompressed; left out for a tar that is not compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar_bytes: Option<u64>,
    /// XXH3-128 of the whole file: headers, padding and end blocks too.
    pub xxh3: Checksum,
    /// Length of the index in bytes.
    pub index_bytes: u64,
    /// XXH3-128 of the whole index.
    pub index_xxh3: Checksum,
}

/// The file names of shard `number` of the set `name`: the tar and the index.
pub(crate) fn file_names(name: &str, number: usize, compressed: bool) -> (String, String) {
    let ending = if compressed { "tar.zst" } else { "tar" };
    (format!("{name}-{number:06}.{ending}"), format!("{name}-{number:06}.idx"))
}

/// Whether `name` can be the name of a file in a set's folder.
fn plain_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && name != MANIFEST && !name.contains(['/', '\0'])
}

/// Whether `name` can be the name of a set: 1 to 64 letters, digits, `_` and `-`.
pub fn valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

impl Manifest {
    /// The manifest of finished shards.
    pub(crate) fn new(name: &str, seed: u64, classes: Vec<String>, shards: Vec<ShardInfo>) -> Self {
        let samples = shards.iter().map(|shard| shard.samples).sum();
        let (format, version, name) = (FORMAT.into(), VERSION, name.into());
        Self { format, version, name, samples, seed, foreign: false, classes, shards }
    }

    /// Length of all shards' files together in bytes.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }

    /// The manifest as it is written, and its checksum.
    pub(crate) fn seal(&self) -> Result<(Vec<u8>, Checksum), serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.truncate(text.len() - "\n}".len());
        Ok(close(text.into_bytes()))
    }

    /// Reads and checks the bytes of a manifest; also gives its checksum.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, Checksum), String> {
        let (manifest, checksum) = unseal(bytes)?;
        manifest.check()?;
        Ok((manifest, checksum))
    }

    /// Reads and checks the manifest of the set in `folder`; also gives its checksum.
    ///
    /// # Errors
    /// No manifest, a newer version, a byte that was changed, or fields that contradict each other.
    pub(crate) fn load(folder: &Path) -> Result<(Self, Checksum), ShardError> {
        let path = folder.join(MANIFEST);
        let bytes = match read_limited(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => {
                return Err(ShardError::NotASet { path: folder.into() });
            }
            Err(source) => return Err(ShardError::Io { path, source }),
        };
        if let Some(found) = newer_version(&bytes) {
            return Err(ShardError::Version { path, found, supported: VERSION });
        }
        Self::parse(&bytes).map_err(|reason| ShardError::Manifest { path, reason })
    }

    /// Whether the fields fit each other.
    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT || self.version != VERSION {
            return Err(format!("its format is {} {}, not {FORMAT} {VERSION}", self.format, self.version));
        }
        if !valid_name(&self.name) {
            return Err(format!("{:?} is no name of a set", self.name));
        }
        if self.shards.is_empty() {
            return Err("it lists no shards".into());
        }
        for (number, shard) in self.shards.iter().enumerate() {
            if !self.foreign {
                shard.check_names(&self.name, number)?;
            }
            shard.check()?;
        }
        self.check_files()?;
        let total = self.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(shard.samples));
        if total != Some(self.samples) {
            return Err(format!("its shards do not add up to its {} samples", self.samples));
        }
        let bytes = self.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(shard.bytes.max(shard.tar_bytes())));
        if bytes.is_none() {
            return Err("its shards have more bytes than can be counted".into());
        }
        let mut seen = HashSet::new();
        match self.classes.iter().find(|class| !seen.insert(class.as_str())) {
            Some(class) => Err(format!("it lists class {class:?} twice")),
            None => Ok(()),
        }
    }

    /// Whether all files have names of their own, and in this folder.
    fn check_files(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        let files = self.shards.iter().flat_map(|shard| [&shard.file, &shard.index]);
        for file in files {
            if !plain_file_name(file) {
                return Err(format!("{file:?} is no name of a file in its folder"));
            }
            if !seen.insert(file) {
                return Err(format!("it lists {file} twice"));
            }
        }
        Ok(())
    }
}

impl ShardInfo {
    /// Length of the tar in bytes, decompressed if it is compressed.
    pub fn tar_bytes(&self) -> u64 {
        self.tar_bytes.unwrap_or(self.bytes)
    }

    /// Whether the names are those that packing gives.
    fn check_names(&self, name: &str, number: usize) -> Result<(), String> {
        let (file, index) = file_names(name, number, self.tar_bytes.is_some());
        if !self.tar_bytes().is_multiple_of(ustar::BLOCK) {
            return Err(format!("shard {} has {} bytes, which are no whole blocks", self.file, self.tar_bytes()));
        }
        if self.file != file || self.index != index {
            return Err(format!(
                "shard {number} is called {:?} and {:?}, not {file} and {index}",
                self.file, self.index
            ));
        }
        Ok(())
    }

    /// Whether the tar can hold the samples: each takes at least one header.
    fn check(&self) -> Result<(), String> {
        let (samples, bytes) = (self.samples, self.tar_bytes());
        let least = samples.checked_mul(ustar::BLOCK);
        if samples == 0 || least.is_none_or(|least| bytes < least) {
            return Err(format!("shard {} cannot hold {samples} samples in {bytes} bytes", self.file));
        }
        Ok(())
    }
}

/// Reads the whole file, whatever its length says, up to [`LONGEST`].
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long for a manifest"));
    }
    Ok(bytes)
}

/// The version of a manifest that this program is too old for; other faults are found elsewhere.
pub(crate) fn newer_version(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Probe {
        format: String,
        version: u64,
    }
    let probe: Probe = serde_json::from_slice(bytes).ok()?;
    (probe.format == FORMAT && probe.version > u64::from(VERSION)).then_some(probe.version)
}

/// Ends the text of a manifest, which lacks its last `\n}`, with its checksum.
pub(crate) fn close(mut text: Vec<u8>) -> (Vec<u8>, Checksum) {
    text.extend_from_slice(SEAL.as_bytes());
    let checksum = Checksum::of(&text);
    text.extend_from_slice(checksum.to_string().as_bytes());
    text.extend_from_slice(CLOSE.as_bytes());
    (text, checksum)
}

/// Checks the checksum and parses what it covers.
fn unseal(bytes: &[u8]) -> Result<(Manifest, Checksum), String> {
    let no_seal = "it does not end in its checksum";
    let open = bytes.strip_suffix(CLOSE.as_bytes()).ok_or(no_seal)?;
    let (head, digits) = open.split_at(open.len().checked_sub(Checksum::DIGITS).ok_or(no_seal)?);
    let said: Checksum = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(no_seal)?;
    let body = head.strip_suffix(SEAL.as_bytes()).ok_or(no_seal)?;
    let found = Checksum::of(head);
    if found != said {
        return Err(format!("its content has checksum {found}, but it says {said}: a byte changed or it was edited"));
    }
    let manifest = serde_json::from_slice(&[body, b"\n}"].concat()).map_err(|error| error.to_string())?;
    Ok((manifest, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        let shard = |number, samples| {
            let (file, index) = file_names("train", number, number == 1);
            let sum = Checksum::of(file.as_bytes());
            let tar_bytes = (number == 1).then_some(8192);
            ShardInfo { file, index, samples, bytes: 4096, tar_bytes, xxh3: sum, index_bytes: 200, index_xxh3: sum }
        };
        Manifest::new("train", 7, vec!["ant".into(), "bee".into()], vec![shard(0, 2), shard(1, 1)])
    }

    #[test]
    fn what_is_sealed_is_read_back() {
        let (text, sum) = example().seal().unwrap();
        assert_eq!(unseal(&text).unwrap(), (example(), sum));
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(json["checksum"], sum.to_string());
        assert_eq!(json["samples"], 3);
    }

    #[test]
    fn no_byte_changes_unseen() {
        let (text, _) = example().seal().unwrap();
        for offset in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[offset] ^= 1 << bit;
                assert!(unseal(&damaged).is_err(), "byte {offset}, bit {bit}");
            }
        }
        for length in 0..text.len() {
            assert!(unseal(&text[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn contradictions_are_seen_behind_a_right_checksum() {
        let faults: [fn(&mut Manifest); 13] = [
            |m| m.samples += 1,
            |m| m.shards[1].file = "../train-000001.tar".into(),
            |m| m.shards.swap(0, 1),
            |m| m.shards.clear(),
            |m| m.classes[1] = "ant".into(),
            |m| m.shards[0].samples = u64::MAX,
            |m| m.shards[0].bytes += 1,
            |m| m.name = "a/b".into(),
            |m| m.shards[0].bytes = u64::MAX - 511,
            |m| m.shards[1].tar_bytes = None,
            |m| m.shards[1].tar_bytes = Some(511),
            |m| (m.foreign, m.shards[0].file) = (true, "../a.tar".into()),
            |m| (m.foreign, m.shards[0].file) = (true, m.shards[1].index.clone()),
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            let mut manifest = example();
            fault(&mut manifest);
            let (text, _) = manifest.seal().unwrap();
            assert!(Manifest::parse(&text).is_err(), "fault {number}");
        }
    }

    #[test]
    fn tars_made_elsewhere_may_have_any_names() {
        let mut manifest = example();
        (manifest.foreign, manifest.shards[0].file) = (true, "imagenet1k-train-0000.tar".into());
        assert_eq!(Manifest::parse(&manifest.seal().unwrap().0).unwrap().0, manifest);
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut manifest = example();
        manifest.version = 2;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(MANIFEST), manifest.seal().unwrap().0).unwrap();
        let error = Manifest::load(folder.path()).unwrap_err();
        assert!(matches!(error, ShardError::Version { found: 2, supported: 1, .. }), "{error}");
    }
}
