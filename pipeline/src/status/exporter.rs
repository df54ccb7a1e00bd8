//! Prometheus text: the `metrics` crate's families, the process's, and the stages' own.
//!
//! The `metrics` crate counts in whole numbers, so the families in seconds are rendered here from the flow engine's
//! nanosecond counters (docs/design.md, meters).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use mugs_flow::{Meters, StageSnapshot};

use super::meters;

/// Upper bounds of the histograms in seconds: from a tiny network's step to a step of many accumulated batches.
const SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Renders everything that a scrape sees.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    process: Arc<metrics_process::Collector>,
    stages: Meters,
}

impl Exporter {
    /// Installs the process-wide recorder. Fails if one is installed already.
    pub fn install(stages: Meters) -> Result<Self> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
            .install_recorder()
            .context("the meters' recorder cannot be installed twice")?;
        metrics::describe_gauge!("mugs_build_info", "Always 1; the labels say which build runs.");
        metrics::gauge!("mugs_build_info", "version" => env!("CARGO_PKG_VERSION"), "git" => env!("MUGS_GIT")).set(1.0);
        let process = metrics_process::Collector::default();
        process.describe();
        Ok(Self { handle, process: Arc::new(process), stages })
    }

    /// The text of one scrape, in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.run_upkeep();
        let mut text = self.handle.render();
        text.push_str(&render_stages(&self.stages.snapshot()));
        let (name, waited) = ("mugs_gradient_sync_seconds_total", seconds(meters::gradient_sync()).unwrap_or_default());
        let help = "Time that the training thread waited for the gradients of other ranks.";
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {waited}\n");
        text
    }
}

/// A value of a stage, as the text shows it; none where the stage has no such thing.
type Value = fn(&StageSnapshot) -> Option<String>;

/// Families with one value per stage: name, type, help, value.
const STAGE_FAMILIES: &[(&str, &str, &str, Value)] = &[
    ("mugs_stage_items_total", "counter", "Items that a stage has handed on.", |s| Some(s.items.to_string())),
    ("mugs_stage_bytes_total", "counter", "Bytes of the items that a stage has handed on.", |s| {
        Some(s.bytes.to_string())
    }),
    ("mugs_stage_busy_seconds_total", "counter", "Time that a stage's workers spent working.", |s| seconds(s.busy)),
    (
        "mugs_stage_send_wait_seconds_total",
        "counter",
        "Time that a stage's workers waited for room behind them (back-pressure).",
        |s| seconds(s.send_wait),
    ),
    (
        "mugs_stage_recv_wait_seconds_total",
        "counter",
        "Time that a stage's workers waited for work (starvation).",
        |s| seconds(s.recv_wait),
    ),
    ("mugs_channel_items", "gauge", "Items waiting behind a stage now.", |s| s.channel.map(|c| c.items.to_string())),
    ("mugs_channel_capacity_items", "gauge", "Items that may be in and behind a stage at once.", |s| {
        s.channel.map(|c| c.capacity.to_string())
    }),
];

fn seconds(time: Duration) -> Option<String> {
    Some(format!("{}.{:09}", time.as_secs(), time.subsec_nanos()))
}

fn render_stages(stages: &[StageSnapshot]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in STAGE_FAMILIES {
        let label = if name.starts_with("mugs_channel") { "channel" } else { "stage" };
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for stage in stages {
            if let Some(value) = value(stage) {
                let _ = writeln!(text, "{name}{{{label}=\"{}\"}} {value}", stage.stage);
            }
        }
        text.push('\n');
    }
    text
}
