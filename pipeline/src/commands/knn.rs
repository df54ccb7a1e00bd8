//! `knn`: how well neighbours in feature space know a picture's class (docs/method.md, section 8).

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use mugs_compute::checkpoint::Loaded;
use mugs_compute::evaluate::knn::Knn;
use mugs_compute::trainer::Trainer;
use serde::Serialize;
use tch::{Device, Tensor};

use super::features::{Features, baseline, features};
use crate::cli::{Baseline, Format, KnnArgs};
use crate::config::{RunConfig, foreign};
use crate::data;

/// One row of the result.
#[derive(Debug, Serialize)]
struct Row {
    k: usize,
    top1: f64,
    top5: f64,
}

/// Runs the command.
pub fn knn(arguments: KnnArgs) -> Result<ExitCode> {
    let (config, from) = source(&arguments)?;
    tch::set_num_threads(i32::try_from(config.step_threads())?);
    let known = data::open_set(&config)?;
    let asked = data::open(&arguments.val_path)?;
    ensure!(
        known.manifest().classes == asked.manifest().classes,
        "--data_path and --val_path have other classes: {} and {}",
        known.manifest().classes.len(),
        asked.manifest().classes.len()
    );
    let classes = known.manifest().classes.len() as i64;
    let of = |set| match &from {
        Source::Network(trainer) => features(trainer, set, &config, arguments.student),
        Source::Baseline(kind) => baseline(*kind, set, &config),
    };
    let (known, asked) = (of(known)?, of(asked)?);
    let rows = rows(&known, &asked, classes, &arguments)?;
    print(&rows, &known, &asked, arguments.format)?;
    Ok(ExitCode::SUCCESS)
}

/// What gives the features.
enum Source {
    Network(Box<Trainer>),
    Baseline(Baseline),
}

/// What gives the features, and the configuration that it was made with.
fn source(arguments: &KnnArgs) -> Result<(RunConfig, Source)> {
    if let Some(path) = &arguments.checkpoint {
        let (config, trainer) = network(path, arguments)?;
        return Ok((config, Source::Network(Box::new(trainer))));
    }
    let config = arguments.sources.resolve()?.config;
    let source = match arguments.baseline {
        Some(baseline) => Source::Baseline(baseline),
        None => {
            let trainer = Trainer::new(&config.model()?, &config.training()?, config.seed, Device::Cpu)?;
            Source::Network(Box::new(trainer))
        }
    };
    Ok((config, source))
}

/// The network of a checkpoint, with the options that it was trained with.
fn network(path: &Path, arguments: &KnnArgs) -> Result<(RunConfig, Trainer)> {
    let (state, config) = match Loaded::read(path)? {
        Loaded::Own(own) => (own.state, serde_json::from_str(&own.mugs.configuration).map_err(anyhow::Error::from)),
        Loaded::Published(published) => (published.state, foreign::of_published(&published.args)),
    };
    let mut config: RunConfig = config.with_context(|| format!("cannot read the options in {}", path.display()))?;
    // Vectors and precision were the choice of the host that trained.
    config.simd = RunConfig::default().simd;
    (config.precision, config.use_fp16) = (RunConfig::default().precision, false);
    let config = arguments.sources.over(config)?.config;
    let (model, train) = (config.model()?, config.training()?);
    let trainer = Trainer::resume(&model, &train, config.seed, Device::Cpu, &state)
        .with_context(|| format!("{} does not fit its own configuration", path.display()))?;
    Ok((config, trainer))
}

fn rows(known: &Features, asked: &Features, classes: i64, arguments: &KnnArgs) -> Result<Vec<Row>> {
    let knn = Knn::new(&known.tokens, &Tensor::from_slice(&known.labels), classes)?;
    let labels = Tensor::from_slice(&asked.labels);
    let row = |&k: &usize| {
        let accuracy = knn.accuracy(&asked.tokens, &labels, k as i64, arguments.temperature)?;
        Ok(Row { k, top1: accuracy.top1, top5: accuracy.top5 })
    };
    arguments.k.iter().map(row).collect()
}

fn print(rows: &[Row], known: &Features, asked: &Features, format: Format) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        writeln!(out, "{}", serde_json::to_string(rows)?)?;
        return Ok(());
    }
    writeln!(out, "k-NN of {} pictures among {}", asked.labels.len(), known.labels.len())?;
    writeln!(out, "   k   top-1 %   top-5 %")?;
    for row in rows {
        writeln!(out, "{:>4} {:>9.2} {:>9.2}", row.k, row.top1, row.top5)?;
    }
    Ok(())
}
