//! How many GPUs this host has, without loading anything of NVIDIA's.

use anyhow::{Context, Result, ensure};

/// What `--nproc` takes beside numbers, and means where no number is given.
pub const PER_GPU: &str = "gpus";

/// Reads `--nproc`: a number, or `gpus` for one process per GPU.
///
/// # Errors
/// It is neither, or there is no GPU here.
pub fn processes(text: &str) -> Result<usize> {
    if text != PER_GPU {
        return text.parse().with_context(|| format!("it should be a number of processes, or {PER_GPU}"));
    }
    let names = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let count = usable(std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref(), names);
    ensure!(count > 0, "there is no GPU here for a process each: say how many, as --nproc 2");
    Ok(count)
}

/// The GPUs that CUDA would see: those that `visible` lists (as CUDA reads it, up to the first that is none), or all
/// whose device files are among `names`.
fn usable(visible: Option<&str>, names: impl Iterator<Item = String>) -> usize {
    if let Some(list) = visible {
        let named = |item: &&str| !item.is_empty() && !item.starts_with('-');
        return list.split(',').map(str::trim).take_while(named).count();
    }
    let number = |name: &String| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok());
    names.filter(number).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_counted_as_cuda_would() {
        let devices = || ["null", "nvidia0", "nvidia1", "nvidia12", "nvidiactl", "nvidia-uvm"].map(String::from);
        assert_eq!(usable(None, devices().into_iter()), 3);
        for (visible, count) in [("", 0), ("-1", 0), ("0", 1), ("0, 2", 2), ("GPU-1,GPU-2,-1,3", 2)] {
            assert_eq!(usable(Some(visible), devices().into_iter()), count, "{visible}");
        }
    }

    #[test]
    fn a_number_of_processes_is_a_number_or_that_of_the_gpus() {
        assert_eq!(processes("3").unwrap(), 3);
        let error = processes("all").unwrap_err().to_string();
        assert_eq!(error, "it should be a number of processes, or gpus");
    }
}
