//! `doctor`: what this host has for training.

mod collectives;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use mugs_compute::collective::nccl;
use mugs_simd::Level;
use serde::Serialize;
use tch::Device;

use crate::cli::{DoctorArgs, Format};
use crate::config::RunConfig;
use crate::device;
use crate::launch::{self, Role};
use crate::run::train_log;

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    program: String,
    /// Processors that this process may use, and how crops are computed on them.
    processors: usize,
    simd: String,
    memory_gib: f64,
    libtorch: &'static str,
    /// Where a run would compute.
    device: String,
    nccl: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collectives: Option<collectives::Findings>,
}

/// Runs the command.
pub fn doctor(arguments: &DoctorArgs) -> Result<ExitCode> {
    let config = arguments.sources.clone().resolve()?.config;
    if !arguments.collectives {
        return print(&look(&config, 0)?, arguments.format);
    }
    let launch = match launch::detect(&config)? {
        Role::Supervisor { processes } => return launch::local::supervise(processes, config.sync_timeout),
        Role::Rank(launch) => launch,
    };
    if launch.rank > 0 {
        train_log::only_warnings();
    }
    launch.announce();
    let mut report = look(&config, launch.local_rank)?;
    report.collectives = Some(collectives::try_out(&config, &launch)?);
    if launch.rank > 0 { Ok(ExitCode::SUCCESS) } else { print(&report, arguments.format) }
}

fn look(config: &RunConfig, local_rank: u32) -> Result<Report> {
    let chosen = device::choose(config, local_rank)?;
    chosen.announce();
    Ok(Report {
        program: format!("mugs-pipeline {} ({})", env!("CARGO_PKG_VERSION"), env!("MUGS_GIT")),
        processors: launch::processors(),
        simd: Level::chosen().to_string(),
        memory_gib: memory_gib(),
        libtorch: "2.11.0",
        device: match chosen.device {
            Device::Cuda(index) => format!("GPU {index} of {}", tch::Cuda::device_count()),
            _ => "the CPU".to_owned(),
        },
        nccl: nccl::probe().map_or_else(|missing| missing.to_string(), |found| found.to_string()),
        collectives: None,
    })
}

fn memory_gib() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: f64 = total.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    kib / f64::from(1 << 20)
}

fn print(report: &Report, format: Format) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "program      {}", report.program)?;
    writeln!(out, "processors   {} ({})", report.processors, report.simd)?;
    writeln!(out, "memory       {:.1} GiB", report.memory_gib)?;
    writeln!(out, "libtorch     {}", report.libtorch)?;
    writeln!(out, "computes on  {}", report.device)?;
    writeln!(out, "nccl         {}", report.nccl)?;
    if let Some(findings) = &report.collectives {
        writeln!(out, "collectives  {findings}")?;
    }
    Ok(ExitCode::SUCCESS)
}
