//! `--dump_batches`: the state that a run begins with and what its first steps read, for another implementation to be
//! fed the very same run.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mugs_compute::state::{OrderedTensors, TrainState};
use mugs_compute::trainer::{Rates, StepInput, StepReport};
use serde_json::{Map, Value as Json};
use tch::Tensor;

use super::tensor_file;
use crate::config::RunConfig;

/// What `README.md` of the folder says.
const README: &str = include_str!("dump.md");

/// A folder that steps are written into.
pub struct Dump {
    folder: PathBuf,
    losses: File,
    /// Steps that are still to be written.
    left: u64,
}

impl Dump {
    /// Begins a folder for `steps` steps with the state before the first of them.
    ///
    /// # Errors
    /// The folder has something in it, or it cannot be written.
    pub fn begin(folder: &Path, steps: u64, config: &RunConfig, state: &TrainState) -> Result<Self> {
        let begin = || -> Result<Self> {
            fs::create_dir_all(folder)?;
            ensure!(fs::read_dir(folder)?.next().is_none(), "it is not empty, and nothing is overwritten");
            fs::write(folder.join("README.md"), README)?;
            fs::write(folder.join("config.toml"), toml::to_string_pretty(config)?)?;
            tensor_file::write(&folder.join("initial.safetensors"), all(state), Vec::new())?;
            let losses = File::create_new(folder.join("losses.jsonl"))?;
            Ok(Self { folder: folder.to_owned(), losses, left: steps })
        };
        begin().with_context(|| format!("cannot use {} for --dump_batches", folder.display()))
    }

    /// Writes what a step reads, if it is among the first ones. Before the step is taken, so that the crops of one that
    /// fails are there, too.
    pub fn step(&mut self, epoch: u32, inputs: &[StepInput], rates: &Rates, keys: &[&str]) -> Result<()> {
        let Some(StepInput { step, .. }) = inputs.first().filter(|_| self.left > 0) else { return Ok(()) };
        let mut tensors = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            let prefix = if inputs.len() == 1 { String::new() } else { format!("micro{number}.") };
            tensors.extend(read_by(input).into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
        }
        tensors.extend(named(rates).map(|(name, rate)| (name.to_owned(), Tensor::from(rate))));
        tensors.push(("freeze_last_layer".into(), Tensor::from(rates.freeze_last_layer)));
        let about = [("step", step.to_string()), ("epoch", epoch.to_string()), ("keys", serde_json::to_string(keys)?)];
        let path = self.folder.join(format!("step{step:08}.safetensors"));
        tensor_file::write(&path, tensors, about.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Writes what came out of the step.
    pub fn losses(&mut self, epoch: u32, step: u64, rates: &Rates, report: &StepReport) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let mut line = Map::from_iter([("step".to_owned(), Json::from(step)), ("epoch".to_owned(), epoch.into())]);
        line.insert("total".into(), report.total.into());
        line.extend(report.terms.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        line.extend(named(rates).map(|(name, rate)| (name.to_owned(), rate.into())));
        let written = writeln!(self.losses, "{}", Json::from(line));
        written.with_context(|| format!("cannot write {}", self.folder.join("losses.jsonl").display()))?;
        if self.left == 0 {
            tracing::info!("the steps asked for are in {}", self.folder.display());
        }
        Ok(())
    }
}

/// The rates of a step by the names that TensorBoard's events have, too.
fn named(rates: &Rates) -> impl Iterator<Item = (&'static str, f64)> {
    let Rates { lr, weight_decay, momentum, teacher_temp, clip_grad, freeze_last_layer: _ } = *rates;
    [("lr", lr), ("wd", weight_decay), ("momentum", momentum), ("teacher_temp", teacher_temp), ("clip_grad", clip_grad)]
        .into_iter()
}

/// What the trainer reads of a micro-batch.
fn read_by(input: &StepInput) -> OrderedTensors {
    let positions: Vec<i64> = input.positions.iter().map(|position| *position as i64).collect();
    let mut tensors = vec![
        ("global".to_owned(), input.global.shallow_clone()),
        ("weak".to_owned(), Tensor::from_slice(&input.weak)),
        ("positions".to_owned(), Tensor::from_slice(&positions)),
    ];
    tensors.extend(input.local.as_ref().map(|local| ("local".to_owned(), local.shallow_clone())));
    tensors
}

/// Every tensor of a state by one name.
fn all(state: &TrainState) -> OrderedTensors {
    let parts = [
        ("student", &state.student),
        ("teacher", &state.teacher),
        ("student_mem", &state.student_memory),
        ("teacher_mem", &state.teacher_memory),
    ];
    let parts = parts.into_iter().map(|(part, tensors)| (format!("{part}."), tensors));
    let losses = state.losses.iter().map(|(loss, tensors)| (format!("{loss}|"), tensors));
    let mut all = Vec::new();
    for (prefix, tensors) in parts.chain(losses) {
        all.extend(tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone())));
    }
    for (name, moments) in &state.optimizer.moments {
        all.push((format!("optimizer.{name}.step"), Tensor::from(moments.step)));
        all.push((format!("optimizer.{name}.exp_avg"), moments.exp_avg.shallow_clone()));
        all.push((format!("optimizer.{name}.exp_avg_sq"), moments.exp_avg_sq.shallow_clone()));
    }
    let momentum = state.optimizer.momentum.iter();
    all.extend(momentum.map(|(name, tensor)| (format!("optimizer.{name}.momentum"), tensor.shallow_clone())));
    all
}
