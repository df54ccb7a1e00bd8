//! `bench`: the data stages alone, up to the finished float batch.

mod mixing;
mod operators;
mod work;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mugs_data::crop::Profile;
use mugs_flow::{Meters, StageSnapshot};
use mugs_simd::Level;
use serde::Serialize;

use self::mixing::Mixing;
use self::operators::Operator;
use self::work::Work;
use super::cpu;
use super::jpeg_effect::JpegEffect;
use crate::cli::{BenchArgs, Format};
use crate::data;
use crate::process::peak_rss_mib;

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    images: u64,
    seconds: f64,
    images_per_second: f64,
    workers: usize,
    stages: Vec<Stage>,
    bottleneck: String,
    cpu_seconds_per_1000_images: f64,
    peak_rss_mib: f64,
    /// The path of the crops: scalar, avx2 or avx512.
    simd: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mixing: Option<Mixing>,
    /// Only with `--profile`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operators: Vec<Operator>,
    /// Only with `--jpeg fast`.
    #[serde(skip_serializing_if = "Option::is_none")]
    jpeg: Option<JpegEffect>,
}

#[derive(Debug, Serialize)]
struct Stage {
    stage: String,
    workers: usize,
    /// Share of its workers' time that the stage worked, waited for room, waited for work.
    busy: f64,
    send_wait: f64,
    recv_wait: f64,
    cpu_seconds_per_1000_images: f64,
}

/// Runs the command.
pub fn bench(arguments: BenchArgs) -> Result<ExitCode> {
    let BenchArgs { workers, decode_only, profile, seconds, format, sources } = arguments;
    ensure!(seconds > 0.0, "--seconds {seconds} is no time to measure");
    let mut config = sources.resolve()?.config;
    config.num_workers = workers;
    config.announce_jpeg()?;
    let set = data::open_set(&config)?;
    config.batch_size_per_gpu = config.batch_size_per_gpu.min(usize::try_from(set.manifest().samples)?);
    let profile = if profile { Profile::counting() } else { Profile::default() };
    let mut work = Work::start(&config, &set, decode_only, &profile)?;
    work.next()?;

    let meters = work.meters();
    let (cpu_before, (before, [start, begun])) = (cpu::by_stage(), read(&meters));
    let (mut images, profiled) = (0, profile.totals());
    while begun.elapsed().as_secs_f64() < seconds {
        images += work.next()?;
    }
    let (cpu_after, (after, [_, end])) = (cpu::by_stage(), read(&meters));
    let took = end - start;
    let operators = operators::since(&profiled, &profile.totals(), images);
    let mixing = work.finish(&config, &set)?;
    let peak_rss_mib = peak_rss_mib();

    let thousands = images as f64 / 1000.0;
    let stages: Vec<Stage> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| {
            let name = &*after.stage;
            let used = cpu_after.get(name).copied().unwrap_or_default();
            let used = used.saturating_sub(cpu_before.get(name).copied().unwrap_or_default());
            stage(before, after, took, used.as_secs_f64() / thousands)
        })
        .collect();
    let report = Report {
        images,
        seconds: took.as_secs_f64(),
        images_per_second: images as f64 / took.as_secs_f64(),
        workers: config.workers(),
        bottleneck: bottleneck(&stages),
        cpu_seconds_per_1000_images: stages.iter().map(|stage| stage.cpu_seconds_per_1000_images).sum(),
        stages,
        peak_rss_mib,
        simd: Level::chosen().to_string(),
        mixing,
        operators,
        jpeg: JpegEffect::measure(&config, &set)?,
    };
    print(&report, format)?;
    Ok(ExitCode::SUCCESS)
}

/// The meters, and the moments before and after they were read. These lie close together, though a busy machine may
/// stop this thread in between, so that shares of the time from one reading to the next add up to what they should.
fn read(meters: &Meters) -> (Vec<StageSnapshot>, [Instant; 2]) {
    let once = || {
        let before = Instant::now();
        (meters.snapshot(), [before, Instant::now()])
    };
    let close = |(_, [before, after]): &(_, [Instant; 2])| *after - *before < Duration::from_millis(1);
    (0..20).map(|_| once()).find(close).unwrap_or_else(once)
}

fn stage(before: &StageSnapshot, after: &StageSnapshot, took: Duration, cpu: f64) -> Stage {
    let available = took.as_secs_f64() * after.workers as f64;
    let share = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / available;
    Stage {
        stage: after.stage.to_string(),
        workers: after.workers,
        busy: share(before.busy, after.busy),
        send_wait: share(before.send_wait, after.send_wait),
        recv_wait: share(before.recv_wait, after.recv_wait),
        cpu_seconds_per_1000_images: cpu,
    }
}

/// The stage that holds the others back, in words. The consumer, last in the list, does nothing here.
fn bottleneck(stages: &[Stage]) -> String {
    let working = &stages[..stages.len().saturating_sub(1)];
    match working.iter().max_by(|a, b| a.busy.total_cmp(&b.busy)) {
        None => "no stage ran".into(),
        Some(busiest) if busiest.busy < 0.5 => format!(
            "no stage is busy for more than half of its time ({} most, {:.0} %): the threads share too few processors, or the disk is slow",
            busiest.stage,
            100.0 * busiest.busy
        ),
        Some(busiest) => format!(
            "{} holds the others back: its {} worker(s) are busy {:.0} % of the time",
            busiest.stage,
            busiest.workers,
            100.0 * busiest.busy
        ),
    }
}

fn print(report: &Report, format: Format) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "{:.1} images/s ({} images in {:.1} s, {} worker(s), {:.0} MiB)\n",
        report.images_per_second, report.images, report.seconds, report.workers, report.peak_rss_mib
    )?;
    writeln!(out, "stage    workers   busy  waits for room  waits for work  CPU s / 1000 images")?;
    for stage in &report.stages {
        writeln!(
            out,
            "{:<8} {:>7} {:>5.0} % {:>13.0} % {:>13.0} % {:>20.2}",
            stage.stage,
            stage.workers,
            100.0 * stage.busy,
            100.0 * stage.send_wait,
            100.0 * stage.recv_wait,
            stage.cpu_seconds_per_1000_images
        )?;
    }
    writeln!(out, "{:<65} {:>12.2}", "all", report.cpu_seconds_per_1000_images)?;
    writeln!(out, "\n{}", report.bottleneck)?;
    if let Some(mixing) = &report.mixing {
        writeln!(out, "{mixing}")?;
    }
    operators::print(&mut out, &report.operators, &report.simd)?;
    if let Some(jpeg) = &report.jpeg {
        writeln!(out, "{jpeg}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, busy: f64) -> Stage {
        let name = name.to_owned();
        Stage { stage: name, workers: 2, busy, send_wait: 0.0, recv_wait: 0.0, cpu_seconds_per_1000_images: 0.0 }
    }

    #[test]
    fn the_bottleneck_is_the_busiest_stage_before_the_consumer() {
        let words = bottleneck(&[stage("fetch", 0.1), stage("crop", 0.98), stage("learn", 1.0)]);
        assert_eq!(words, "crop holds the others back: its 2 worker(s) are busy 98 % of the time");
        assert!(bottleneck(&[stage("fetch", 0.1), stage("learn", 1.0)]).starts_with("no stage is busy"));
    }
}
