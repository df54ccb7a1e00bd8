//! What tests share: where golden data lie, when a test is skipped, how many cases ran, which port is free.
//!
//! Golden data that need nothing beside the checkout are in `tests/golden`; the rest, and the pictures, are in a
//! folder `shared` beside the checkout, which a public clone does not have. With `MUGS_TEST_STRICT=1` in the
//! environment (as in CI) a skipped test is a failure.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "this crate is only linked into tests")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/support is two folders deep").to_path_buf()
}

/// A golden file or folder that is part of the checkout, for example `augment/ops.jsonl`.
pub fn golden(relative: &str) -> PathBuf {
    let path = checkout().join("tests/golden").join(relative);
    assert!(path.exists(), "{} is missing from the checkout", path.display());
    path
}

/// Something in the folder `shared` beside the checkout (`data/...`, `golden/...`), or none in a public clone.
pub fn shared(relative: &str) -> Option<PathBuf> {
    let path = checkout().parent()?.join("shared").join(relative);
    path.exists().then_some(path)
}

/// A golden file of the checkout, or else of `shared/golden`.
pub fn golden_anywhere(relative: &str) -> Option<PathBuf> {
    let path = checkout().join("tests/golden").join(relative);
    if path.exists() { Some(path) } else { shared(&format!("golden/{relative}")) }
}

/// Whether a skipped test counts as a failure.
pub fn strict() -> bool {
    std::env::var_os("MUGS_TEST_STRICT").is_some_and(|value| value == "1")
}

/// Says that a test is skipped, or fails it where that is not allowed.
pub fn skip(what: &str, why: &str) {
    note(&format!("skipped-{what}"), &format!("skipped: {why} ({what})"));
    println!("skipped: {why} ({what})");
    assert!(!strict(), "{what} must not be skipped here: {why}");
}

/// Says that a test is skipped because the host does not let it do what it needs. That is no failure anywhere.
pub fn not_permitted(what: &str, why: &str) {
    note(&format!("skipped-{what}"), &format!("skipped: {why} ({what})"));
    println!("skipped: {why} ({what})");
}

/// Records how many golden cases a suite ran; `make test` prints the records at its end.
pub fn tally(suite: &str, ran: usize, unit: &str) {
    println!("golden: {suite}: {ran} {unit}");
    note(suite, &format!("{ran:>6} {unit}"));
}

fn note(name: &str, line: &str) {
    let Some(folder) = std::env::var_os("MUGS_TEST_TALLY") else { return };
    let folder = PathBuf::from(folder);
    let name: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    std::fs::create_dir_all(&folder).expect("the tally folder can be made");
    std::fs::write(folder.join(name), format!("{line}\n")).expect("the tally can be written");
}

/// A port that nobody serves now, and that this process is given once. It lies below those that Linux hands to outgoing
/// connections and to servers that name none, any of which might take it before it is used.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Not all processes begin at the same one.
    let start = std::process::id().wrapping_mul(1013);
    let next = || FIRST + start.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
    let mut ports = (0..COUNT).filter_map(|_| u16::try_from(next()).ok());
    let free = |&port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    ports.find(free).expect("one of 12000 ports is free")
}

/// A Python that imports all the named modules: the set-up's, or else `python3`.
pub fn python(modules: &[&str]) -> Option<PathBuf> {
    let own = checkout().join(".libtorch/venv/bin/python");
    [own, PathBuf::from("python3")].into_iter().find(|python| {
        let imports: String = modules.iter().map(|module| format!("import {module}\n")).collect();
        Command::new(python).args(["-c", &imports]).output().is_ok_and(|output| output.status.success())
    })
}
