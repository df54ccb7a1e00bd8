//! With libtorch's GPU part, in processes of their own: it stays with the process that loads it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mugs_compute::collective::nccl::{self, Nccl, Version};
use mugs_compute::collective::{Collective, CollectiveError};
use tch::{Cuda, Device, Kind, Tensor};

/// What a child is to do; unset in the test's own process.
const ROLE: &str = "MUGS_NCCL_ROLE";
/// Where the group's id is left.
const FOLDER: &str = "MUGS_NCCL_FOLDER";

#[test]
fn one_rank_on_a_gpu() {
    if let Some(output) = driver().and_then(|()| child("0 of 1", &[])) {
        assert!(output.contains("all calls are right"), "{output}");
    }
}

#[test]
fn two_ranks_on_one_gpu() {
    if driver().is_none() {
        return;
    }
    match nccl::probe() {
        Ok(found) if found.version < Version::new(2, 30, 0) => {
            println!("skipped: {found} does not let two ranks share a GPU, 2.30 does");
        }
        Ok(_) => {
            let environment = [("NCCL_MULTI_RANK_GPU_ENABLE", "1")];
            let folder = tempfile::tempdir().unwrap();
            let ranks = ["0 of 2", "1 of 2"].map(|role| spawn(role, folder.path(), &environment));
            for output in ranks.map(finish) {
                assert!(output.contains("all calls are right"), "{output}");
            }
        }
        Err(error) => println!("skipped: {error}"),
    }
}

/// Whether there is a driver, and so perhaps a GPU.
fn driver() -> Option<()> {
    let there = Path::new("/dev/nvidiactl").exists();
    if !there {
        println!("skipped: no GPU");
    }
    there.then_some(())
}

/// Runs this program once more; what it printed, or nothing where that is why the test is skipped.
pub fn child(role: &str, environment: &[(&str, &str)]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let output = finish(spawn(role, folder.path(), environment));
    match output.lines().find(|line| line.contains("skipped: ")) {
        Some(line) => {
            println!("{line}");
            None
        }
        None => Some(output),
    }
}

fn spawn(role: &str, folder: &Path, environment: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gpu::what_a_child_does", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn what_a_child_does() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // SAFETY: libtorch's own part, for which it looks to be loaded this way, before anything else is asked of it.
    let torch = unsafe {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL)
    };
    let Ok(torch) = torch else {
        println!("skipped: the GPU part of libtorch is not installed");
        return;
    };
    std::mem::forget(torch);
    match role.split_once(" of ") {
        Some((rank, world)) if Cuda::is_available() => calls(rank.parse().unwrap(), world.parse().unwrap()),
        Some(_) => println!("skipped: no GPU"),
        None => libraries(),
    }
}

fn calls(rank: usize, world: usize) {
    let gpu = Device::Cuda(0);
    let id = PathBuf::from(std::env::var(FOLDER).unwrap()).join("id");
    let nccl = Nccl::connect(rank, world, gpu, Duration::from_secs(60), &mut |own| Ok(exchange(&id, own))).unwrap();
    println!("{} on {:?}", nccl.backend(), gpu);
    let ranks = world as f64;
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64, Kind::Int, Kind::Uint8] {
        // Computed right before, on libtorch's stream: the sum must wait for it.
        let tensor = Tensor::full([1 << 20], 3, (kind, gpu)) * (rank as i64 + 1);
        nccl.all_reduce(&tensor).unwrap();
        let expected = 3.0 * ranks * (ranks + 1.0) / 2.0;
        let (least, most) = (tensor.min().double_value(&[]), tensor.max().double_value(&[]));
        assert_eq!((least, most), (expected, expected), "{kind:?}");
    }
    let buckets: Vec<_> = (0..8).map(|i| Tensor::full([1 << 18], i, (Kind::Float, gpu))).collect();
    let pending: Vec<_> = buckets.iter().map(|bucket| nccl.start_all_reduce(bucket).unwrap()).collect();
    pending.into_iter().for_each(|one| one.wait().unwrap());
    for (i, bucket) in buckets.iter().enumerate() {
        assert_eq!(bucket.mean(Kind::Float).double_value(&[]), i as f64 * ranks);
    }
    let all = nccl.all_gather(&Tensor::from(rank as i64).to_device(gpu)).unwrap();
    assert_eq!(all.iter().map(|one| one.int64_value(&[])).collect::<Vec<_>>(), (0..world as i64).collect::<Vec<_>>());
    let tensor = Tensor::from(rank as f64 + 5.0).to_device(gpu);
    nccl.broadcast(&tensor, world - 1).unwrap();
    assert_eq!(tensor.double_value(&[]), ranks + 4.0);
    drop(nccl.start_all_reduce(&Tensor::ones([1 << 20], (Kind::Float, gpu))).unwrap());
    nccl.barrier().unwrap();
    println!("all calls are right");
    nccl.abort();
    assert_eq!(nccl.barrier(), Err(CollectiveError::Aborted { operation: "barrier" }));
}

fn exchange(path: &Path, own: Option<Vec<u8>>) -> Vec<u8> {
    if let Some(own) = own {
        std::fs::write(path.with_extension("new"), &own).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
        return own;
    }
    let start = Instant::now();
    loop {
        match std::fs::read(path) {
            Ok(bytes) => return bytes,
            Err(_) => assert!(start.elapsed() < Duration::from_secs(60), "rank 0 left no id"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Everything is found in the libraries that libtorch brings: what is missing, if anything, is the driver.
fn libraries() {
    let timeout = Duration::from_secs(60);
    match Nccl::connect(0, 1, Device::Cuda(0), timeout, &mut |own| Ok(own.unwrap())) {
        Ok(nccl) => nccl.barrier().unwrap(),
        Err(CollectiveError::Missing { reason, .. }) => assert!(reason.contains("(CUDA error "), "{reason}"),
        Err(other) => panic!("{other}"),
    }
    nccl::probe().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut copies: Vec<&str> = maps.lines().filter_map(|line| line.split_once('/')?.1.split("  ").next()).collect();
    copies.retain(|path| path.contains("libnccl.so"));
    copies.sort_unstable();
    copies.dedup();
    assert_eq!(copies.len(), 1, "{copies:?}");
    println!("one NCCL");
}
