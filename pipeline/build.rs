//! Gives this crate's tests the folder of libtorch's shared libraries: link arguments do not pass between crates.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Some(link) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") else { return };
    // The link folder holds symbolic links; the loader must see the folder that holds the libraries' neighbours too.
    let library = PathBuf::from(&link).join("libtorch_cpu.so");
    let folder = library.canonicalize().ok().and_then(|real| real.parent().map(PathBuf::from)).unwrap_or(link.into());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
}
