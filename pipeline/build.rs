//! Where the binary finds libtorch's shared libraries, and which commit it was built from.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    rpath();
    commit();
}

/// Link arguments do not pass between crates: each crate with a binary or a test gives its own.
fn rpath() {
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Some(link) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") else { return };
    // The link folder holds symbolic links; the loader must see the folder that holds the libraries' neighbours too.
    let library = PathBuf::from(&link).join("libtorch_cpu.so");
    let folder = library.canonicalize().ok().and_then(|real| real.parent().map(PathBuf::from)).unwrap_or(link.into());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
}

/// Sets MUGS_GIT for the meters' `build_info`; `unknown` outside a checkout.
fn commit() {
    println!("cargo::rerun-if-changed=../.git/HEAD");
    println!("cargo::rerun-if-changed=../.git/logs/HEAD");
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = output.ok().filter(|o| o.status.success()).and_then(|o| String::from_utf8(o.stdout).ok());
    println!("cargo::rustc-env=MUGS_GIT={}", commit.as_deref().map_or("unknown", str::trim));
}
