//! Small sources and sets.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mugs_random::{Address, Draws};
use mugs_shards::{
    Hooks, PackConfig, PackError, PackReport, PictureCheck, Resume, VerifyHooks, VerifyReport, pack, verify,
};
use tempfile::TempDir;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A PNM picture of 2x2 pixels, the same for the same number, with bytes behind it up to `length`, 23 or more.
pub fn picture(number: u64, length: usize) -> Vec<u8> {
    const HEADER: &[u8] = b"P6 2 2 255\n";
    let mut draws = Draws::at(17, Address { epoch: 0, position: number, lane: 0 });
    let mut bytes: Vec<u8> = (0..length).map(|_| draws.next_u32() as u8).collect();
    bytes[..HEADER.len()].copy_from_slice(HEADER);
    bytes
}

pub fn put(root: &Path, file: &str, bytes: &[u8]) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Eleven pictures of three classes, of lengths around whole blocks.
pub fn source() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let names = ["bird/1.jpg", "bird/2.JPEG", "bird/deep/er/3.png", "ant/a b.jpg", "ant/a_b.jpg", "cow/é.webp"];
    for (number, name) in names.iter().enumerate() {
        put(root.path(), name, &picture(number as u64, [511, 512, 513, 23, 1024, 2000][number]));
    }
    for number in 0..5 {
        put(root.path(), &format!("cow/{number}.jpeg"), &picture(100 + number, 600 + 77 * number as usize));
    }
    root
}

pub fn config(samples_per_shard: u64, seed: u64) -> PackConfig {
    PackConfig { samples_per_shard: NonZero::new(samples_per_shard).unwrap(), seed, ..PackConfig::default() }
}

pub fn try_pack(source: &Path, set: &Path, config: &PackConfig) -> Result<PackReport, PackError> {
    let hooks = Hooks { pictures: &PictureCheck::default(), progress: &|_| {}, stop: &GO_ON };
    pack(source, set, config, Resume::Auto, hooks)
}

/// A folder that holds a set, packed from [`source`] in shards of 4, 4 and 3 samples.
pub struct Packed {
    _folder: TempDir,
    pub set: PathBuf,
}

pub fn packed() -> Packed {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    try_pack(source().path(), &set, &config(4, 0)).unwrap();
    Packed { _folder: folder, set }
}

pub fn verified(set: &Path) -> VerifyReport {
    verify(set, 2, VerifyHooks { progress: &|_| {}, stop: &GO_ON, decode: None }).unwrap()
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All files of a folder that have a name to be seen, with their content.
pub fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    names(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}
