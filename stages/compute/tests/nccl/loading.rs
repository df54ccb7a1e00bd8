//! Where the library comes from: NVIDIA's own where it is installed, and what is said where it is not.

use std::process::Command;

use mugs_compute::collective::nccl::{self, Nccl, Version};
use tch::Device;

use crate::fake::{Fake, Id, LONG};
use crate::gpu::child;

/// The message of a group that a library is no good for.
fn refusal(flags: &[&str]) -> (String, String) {
    let fake = Fake::built(flags);
    let error = fake.rank(0, 1, LONG, &Id::default()).unwrap_err();
    (fake.path.display().to_string(), error.to_string())
}

#[test]
fn a_library_that_is_not_there_is_named() {
    let fake = Fake::new();
    let path = fake.path.with_file_name("libelsewhere.so");
    let error = Nccl::rehearse(&path, 0, 1, LONG, &mut |own| Ok(own.unwrap())).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "no nccl here: NVIDIA's NCCL cannot be loaded ({}: cannot open shared object file: No such file or directory); \
             CUDA=1 scripts/setup.sh fetches it",
            path.display()
        )
    );
}

#[test]
fn a_library_that_lacks_a_function_is_named_with_it() {
    let (path, error) = refusal(&["-DWITHOUT_ABORT"]);
    assert_eq!(error, format!("no nccl here: {path} (NCCL 2.28.9) lacks ncclCommAbort"));
}

#[test]
fn a_library_that_is_too_old_is_named_with_its_version() {
    let (path, error) = refusal(&["-DVERSION=21701"]);
    assert_eq!(
        error,
        format!(
            "no nccl here: {path} is NCCL 2.17.1, and 2.18.0 or newer is needed; CUDA=1 scripts/setup.sh fetches one"
        )
    );
}

#[test]
fn the_cpu_is_no_gpu() {
    let error = Nccl::connect(1, 2, Device::Cpu, LONG, &mut |_| panic!("nothing to exchange")).unwrap_err();
    assert_eq!(error.to_string(), "no nccl here: it works between GPUs, and not on Cpu; gloo does on the CPU");
}

#[test]
fn nvidias_own_library_answers_without_a_gpu() {
    match nccl::probe() {
        Ok(found) => {
            // The wheel of libtorch 2.11 has 2.28.9; another one may be there.
            assert!(found.version >= Version::new(2, 18, 0), "{found}");
            assert!(found.path.is_file() && found.to_string().starts_with("NCCL 2."), "{found}");
            if found.path.ends_with("nvidia/nccl/lib/libnccl.so.2") {
                assert!(found.version >= Version::new(2, 28, 0), "{found}");
            }
            assert_eq!(nccl::probe(), Ok(found));
        }
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("no nccl here: ") && error.contains("CUDA=1 scripts/setup.sh"), "{error}");
            println!("skipped: {error}");
        }
    }
}

/// With libtorch's GPU part and no driver, everything is found and the driver is missed; there is one NCCL.
#[test]
fn libtorchs_gpu_part_brings_all_that_is_needed() {
    if let Some(output) = child("libtorch's own libraries", &[]) {
        assert!(output.contains("one NCCL"), "{output}");
    }
}

#[test]
fn nothing_of_cuda_is_linked() {
    let program = std::env::current_exe().unwrap();
    let Ok(read) = Command::new("readelf").arg("-d").arg(&program).output() else {
        println!("skipped: there is no readelf");
        return;
    };
    let dynamic = String::from_utf8(read.stdout).unwrap();
    let needed: Vec<&str> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(needed.iter().any(|line| line.contains("libtorch_cpu.so")), "{dynamic}");
    for part in ["cuda", "nccl", "nvrtc", "nvidia"] {
        assert!(!needed.iter().any(|line| line.contains(part)), "{part} in {needed:?}");
    }
}
