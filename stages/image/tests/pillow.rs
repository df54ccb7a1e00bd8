//! Damaged JPEGs decode as Pillow decodes them, pixel by pixel, or fail where it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;

use common::sha256;
use mugs_image::Decoder;
use mugs_random::{Address, Draws};
use mugs_test_support::{golden, python, skip, tally};

/// Prints one line per file: the hash of its RGB pixels, or `error`.
const SCRIPT: &str = r#"
import hashlib, os, sys, warnings
from PIL import Image
warnings.simplefilter("ignore")
for name in sorted(os.listdir(sys.argv[1])):
    try:
        print(name, hashlib.sha256(Image.open(os.path.join(sys.argv[1], name)).convert("RGB").tobytes()).hexdigest())
    except Exception:
        print(name, "error")
"#;

/// How many damaged versions of each file are tried.
const VERSIONS: usize = 40;

#[test]
fn damaged_jpegs_decode_as_in_pillow() {
    let Some(python) = python(&["PIL"]) else {
        return skip("damaged-jpegs-against-pillow", "no Python with Pillow");
    };
    let folder = tempfile::tempdir().unwrap();
    let files = write_damaged(folder.path());
    let output = Command::new(python).args(["-c", SCRIPT]).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), files);

    let mut decoder = Decoder::new().unwrap();
    let mut wrong = Vec::new();
    for line in lines.lines() {
        let (name, theirs) = line.split_once(' ').unwrap();
        let ours = match decoder.decode(&std::fs::read(folder.path().join(name)).unwrap()) {
            Ok(decoded) => sha256(&decoded.image.pixels),
            Err(_) => "error".into(),
        };
        if ours != theirs {
            wrong.push(format!("{name}: {ours}, in Pillow {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {files} differ:\n{}", wrong.len(), wrong.join("\n"));
    tally("damaged-jpegs-against-pillow", files, "files");
}

/// Writes damaged versions of the smaller golden JPEGs and says how many. Those that are damaged already are left out:
/// where such a file is cut as well, Pillow takes some for whole that lack their end.
fn write_damaged(folder: &Path) -> usize {
    let mut names: Vec<_> =
        std::fs::read_dir(golden("augment/images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut written = 0;
    for (number, path) in names.iter().enumerate() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let file = std::fs::read(path).unwrap();
        let sound = !name.starts_with("bad_") && !name.starts_with("w_");
        if !(sound && file.starts_with(b"\xFF\xD8\xFF") && file.len() < 20_000) {
            continue;
        }
        for version in 0..VERSIONS {
            let address = Address { epoch: 0, position: number as u64, lane: version as u16 };
            let damaged = damage(&file, &mut Draws::at(1, address));
            std::fs::write(folder.join(format!("{version:02}_{name}")), damaged).unwrap();
            written += 1;
        }
    }
    written
}

/// Cuts a file, or changes, drops or adds a byte or two.
fn damage(file: &[u8], draws: &mut Draws) -> Vec<u8> {
    let mut file = file.to_vec();
    if draws.chance(0.2) {
        file.truncate(1 + draws.below(file.len() as u64 - 1) as usize);
        return file;
    }
    for _ in 0..1 + draws.below(2) {
        let at = draws.below(file.len() as u64) as usize;
        let value = draws.next_u32() as u8;
        match draws.below(4) {
            0 => drop(file.remove(at)),
            1 => file.insert(at, value),
            _ => file[at] = value,
        }
    }
    file
}
