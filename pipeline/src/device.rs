//! Where the step is computed.

use anyhow::{Result, bail, ensure};
use mugs_compute::model::Precision;
use tch::{Cuda, Device};

use crate::config::RunConfig;

/// The part of libtorch that computes on GPUs. It is loaded when a GPU is wanted, so that one binary runs everywhere.
const LIBRARY: &std::ffi::CStr = c"libtorch_cuda.so";

/// A device, and what is worth saying about the choice.
#[derive(Debug)]
pub struct Chosen {
    /// Where the step is computed.
    pub device: Device,
    remarks: Vec<String>,
}

impl Chosen {
    /// Says it, once the run has a log.
    pub fn announce(&self) {
        self.remarks.iter().for_each(|remark| tracing::info!("{remark}"));
    }
}

/// The device that `--device` asks for, for the process of that number on its host. To be called before anything else of libtorch, which looks for GPUs only once.
pub fn choose(config: &RunConfig, local_rank: u32) -> Result<Chosen> {
    let mut remarks = Vec::new();
    let device = match config.device.as_str() {
        "cpu" => Device::Cpu,
        "cuda" => match cuda(local_rank) {
            Ok(device) => device,
            Err(missing) => bail!("--device cuda: {missing}; --device cpu trains without a GPU"),
        },
        "auto" => cuda(local_rank).unwrap_or_else(|missing| {
            remarks.push(format!("computes on the CPU: {missing}"));
            Device::Cpu
        }),
        other => bail!("--device {other} is neither cpu, cuda nor auto"),
    };
    ensure!(
        config.precision()? != Precision::Fp16 || device.is_cuda(),
        "--precision fp16 needs a GPU, and this run computes on the CPU: choose --precision bf16, or fp32 as the published \
         recipes do"
    );
    if config.precision()? != Precision::Fp32 {
        remarks.push(format!("backbone and heads multiply in {}", config.precision()?));
    }
    Ok(Chosen { device, remarks })
}

/// The GPU of the process of that number on its host, or in words what is missing.
fn cuda(local_rank: u32) -> Result<Device, String> {
    load()?;
    match (Cuda::is_available(), Cuda::device_count()) {
        (true, count) if i64::from(local_rank) < count => Ok(Device::Cuda(local_rank as usize)),
        (true, count) => Err(format!("process {local_rank} of this host has none of its {count} GPUs")),
        (false, _) => Err("there is no NVIDIA GPU here, or no driver for it that this libtorch can use".to_owned()),
    }
}

/// Loads the library, which makes itself known to libtorch.
fn load() -> Result<(), String> {
    // SAFETY: the name is a C string; the library's initialisers are those of a libtorch of the same build, which expects
    // to be loaded this way. It is never unloaded.
    let handle = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: dlerror takes nothing; after a failure it gives a C string that stays until this thread's next call.
    let reason = unsafe {
        let message = libc::dlerror();
        if message.is_null() { "unknown reason".into() } else { std::ffi::CStr::from_ptr(message).to_string_lossy() }
    };
    Err(format!("the GPU part of libtorch cannot be loaded ({reason}); CUDA=1 scripts/setup.sh fetches it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_cannot_do_is_said() {
        let asked = |device: &str, precision: &str| {
            let config = RunConfig { device: device.into(), precision: precision.into(), ..RunConfig::default() };
            choose(&config, 0).map(|chosen| chosen.device)
        };
        assert_eq!(asked("cpu", "fp32").unwrap(), Device::Cpu);
        assert_eq!(asked("cpu", "bf16").unwrap(), Device::Cpu);
        let error = asked("cpu", "fp16").unwrap_err().to_string();
        assert!(error.starts_with("--precision fp16 needs a GPU") && error.contains("--precision bf16"), "{error}");
        let error = asked("tpu", "fp32").unwrap_err().to_string();
        assert_eq!(error, "--device tpu is neither cpu, cuda nor auto");
        // Without a GPU one sentence, and no other device in silence.
        match asked("cuda", "fp32") {
            Ok(device) => assert_eq!(device, Device::Cuda(0)),
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with("--device cuda: ") && error.contains("--device cpu trains"), "{error}");
                assert_eq!(asked("auto", "fp32").unwrap(), Device::Cpu);
            }
        }
    }
}
