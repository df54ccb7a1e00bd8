//! Compiles the C++ against libtorch's headers, and tells tests where its libraries lie.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=cpp");
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Some(link) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo::error=torch-sys does not say where libtorch is: run scripts/setup.sh");
        return;
    };
    let include = link.join("../include");
    if !include.join("torch/csrc/distributed/c10d/TCPStore.hpp").exists() {
        println!("cargo::error=no headers of c10d in {}: run scripts/setup.sh", include.display());
        return;
    }
    let mut build = cc::Build::new();
    for file in ["store", "gloo", "autograd"] {
        build.file(format!("cpp/{file}.cpp"));
    }
    build
        .cpp(true)
        .std("c++17")
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        .define("USE_C10D_GLOO", None)
        .define("USE_DISTRIBUTED", None)
        .include("cpp/gloo_stubs")
        .flag(format!("-isystem{}", include.display()))
        .flag(format!("-isystem{}", include.join("torch/csrc/api/include").display()))
        .flag_if_supported("-Wno-unused-parameter")
        .opt_level(1)
        .compile("mugs_torch_ext");
    rpath(&link);
}

/// Link arguments do not pass between crates: each crate with a binary or a test gives its own.
fn rpath(link: &std::path::Path) {
    let library = link.join("libtorch_cpu.so");
    let folder = library.canonicalize().ok().and_then(|real| real.parent().map(PathBuf::from)).unwrap_or(link.into());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
}
