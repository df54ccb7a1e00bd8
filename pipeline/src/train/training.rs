//! A run under way: the trainer, its place in the data, and when it is written down.

mod saving;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mugs_compute::schedule::Schedules;
use mugs_compute::trainer::{StepError, Trainer};
use mugs_data::bad::{self, BadSamples};
use mugs_data::fetch::Cursor;
use mugs_data::order::{Order, default_streams};
use mugs_shards::ShardSet;
use tch::Device;

use self::saving::Saving;
use super::alarm::{self, CollapseAlarm};
use super::crops_picture;
use super::dump::Dump;
use super::input::step_input;
use super::report::{Reporter, StepPlace};
use super::restore::{self, Found};
use crate::config::{Allowed, RunConfig};
use crate::process::peak_rss_mib;
use crate::render::Rendered;
use crate::run::{EpochSums, RunFolder, RunLog, Signals, Stop};
use crate::status::{TensorBoard, TrainMeters};
use crate::team::{Agreed, Facts, STATE, Team, WITH_OTHERS, state_digest};
use crate::topology::DataStages;

/// A run, between two steps.
pub struct Training {
    config: RunConfig,
    folder: Arc<RunFolder>,
    team: Arc<Team>,
    /// None on all ranks but the first.
    log: Option<RunLog>,
    trainer: Trainer,
    schedules: Schedules,
    steps_per_epoch: u64,
    /// Digest of the data set.
    data: String,
    /// The next step.
    cursor: Cursor,
    sums: EpochSums,
    alarm: CollapseAlarm,
    /// Steps done that are in no checkpoint, the one under way included.
    unsaved: u64,
    /// Steps that were done when the sound `checkpoint.pth` of the folder was written; none without one.
    saved: Option<u64>,
    /// When a checkpoint was last begun, or this process.
    saved_at: Instant,
    /// The checkpoint under way.
    saving: Option<Saving>,
    /// Where the first steps are written down, if anywhere.
    dump: Option<Dump>,
}

impl Training {
    /// Goes on with the run in the folder, whose options may differ in what is `allowed`, or begins one.
    pub fn open(
        mut config: RunConfig,
        allowed: &[Allowed],
        set: &ShardSet,
        folder: RunFolder,
        team: Arc<Team>,
        device: Device,
    ) -> Result<Self> {
        let before = restore::restore(&folder, &config, allowed, set, &team)?;
        if config.streams == 0 {
            config.streams = before
                .as_ref()
                .map_or_else(|| u64::from(default_streams(config.ranks())), |found| found.checkpoint.mugs.streams)
                as usize;
        }
        let steps_per_epoch = steps_per_epoch(&config, set)?;
        let schedules = config.schedules(steps_per_epoch)?;
        let (model, train) = (config.model()?, config.training()?);
        let mut kept = false;
        let (mut trainer, cursor, sums) = match before {
            Some(Found { checkpoint, path }) => {
                let trainer = Trainer::resume(&model, &train, config.seed, device, &checkpoint.state)
                    .with_context(|| format!("cannot go on from {}", path.display()))?;
                kept = path == folder.checkpoint();
                let cursor = restore::cursor(&checkpoint)?;
                tracing::info!("goes on at epoch {} step {}", cursor.epoch, cursor.step);
                (trainer, cursor, restore::sums(&checkpoint)?)
            }
            None => {
                let trainer = Trainer::new(&model, &train, config.seed, device)?;
                (trainer, Cursor::default(), EpochSums::default())
            }
        };
        let data = set.digest();
        share(&mut trainer, &team, &config, cursor, &data)?;
        let log = match team.is_first() {
            true => {
                folder.write_config(&config)?;
                Some(RunLog::open(folder.path(), &config, cursor.epoch as usize)?)
            }
            false => None,
        };
        if let Some(epoch) = ended_epoch(cursor, &config).filter(|_| kept && team.is_first()) {
            folder.name_after(epoch)?;
        }
        let alarm = CollapseAlarm::new(&config);
        tracing::info!("losses by chance, where a fresh run begins: {}", alarm.expected());
        let saved = kept.then(|| u64::from(cursor.epoch) * steps_per_epoch + cursor.step);
        Ok(Self {
            config,
            folder: Arc::new(folder),
            team,
            log,
            trainer,
            schedules,
            steps_per_epoch,
            data,
            cursor,
            sums,
            alarm,
            unsaved: 0,
            saved,
            saved_at: Instant::now(),
            saving: None,
            dump: None,
        })
    }

    /// Writes the state, and what each of the next `steps` steps reads and gives, into a folder.
    pub fn dump(&mut self, folder: &Path, steps: u64) -> Result<()> {
        self.dump = Some(Dump::begin(folder, steps, &self.config, &self.trainer.state())?);
        Ok(())
    }

    /// The configuration, with what was left open filled in.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The next step.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Steps of the whole run that are done.
    pub fn steps_done(&self) -> u64 {
        u64::from(self.cursor.epoch) * self.steps_per_epoch + self.cursor.step
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.steps_done() >= self.last_step()
    }

    /// The step after which this process stops.
    fn last_step(&self) -> u64 {
        let all = self.config.epochs as u64 * self.steps_per_epoch;
        if self.config.max_steps == 0 { all } else { all.min(self.config.max_steps) }
    }

    /// Trains until all is done or a signal stops the run, and writes a checkpoint either way; also on an error of the
    /// data, since the state is sound then.
    pub fn run(&mut self, mut stages: DataStages, signals: &Signals, meters: TrainMeters) -> Result<Option<Stop>> {
        let shown = self.team.is_first();
        let every = if shown { self.config.tensorboard_every } else { 0 };
        let tensorboard = TensorBoard::open(self.folder.path(), every, self.steps_done());
        let mut reporter = Reporter::new(meters, tensorboard, self.steps_done(), self.last_step(), shown);
        let stopped = self.steps(&mut stages, signals, &mut reporter);
        // The other ranks hear of it before anything else takes its time.
        let stopped = stopped.map_err(|error| self.team.first_cause(error));
        let saved = self.save_rest(&reporter);
        match (stopped, saved) {
            (Ok(stop), saved) => saved.map(|()| stop),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(unsaved)) if self.team.world() > 1 => {
                // All ranks end with the same words.
                tracing::error!("no checkpoint could be written: {unsaved:#}");
                Err(error)
            }
            (Err(error), Err(unsaved)) => {
                Err(error.context(format!("and no checkpoint could be written: {unsaved:#}")))
            }
        }
    }

    fn steps(&mut self, stages: &mut DataStages, signals: &Signals, reporter: &mut Reporter) -> Result<Option<Stop>> {
        while !self.is_done() {
            // Several ranks stop where they agree to.
            let own_stop = || signals.stop().filter(|_| self.team.world() == 1);
            if let Some(stop) = own_stop() {
                return Ok(Some(stop));
            }
            let number = self.steps_done() + 1;
            self.team.doing(|| format!("waiting for the data of step {number}"));
            let wait = Instant::now();
            let mut batches = Vec::with_capacity(self.config.accumulate);
            while batches.len() < self.config.accumulate {
                match (stages.batches.recv()?, own_stop()) {
                    (Some(batch), _) => batches.push(batch),
                    (None, Some(stop)) => return Ok(Some(stop)),
                    (None, None) => {
                        self.team.check()?;
                        bail!("the data ended at step {} of {}", self.steps_done(), self.last_step())
                    }
                }
            }
            let waited = wait.elapsed();
            let mut bad = self.bad_samples(&batches, stages.max_bad_samples, reporter.meters())?;
            let agreed = self.agree(signals, &batches)?;
            if let Some(stop) = agreed.stop {
                return Ok(Some(stop));
            }
            bad.add_elsewhere(agreed.dropped_elsewhere, stages.max_bad_samples)?;
            if self.cursor.step == 0 && crops_picture::is_due(self.cursor.epoch as usize, self.config.epochs) {
                reporter.crops(self.steps_done() + 1, || crops_picture::draw(&batches[0]));
            }
            self.step(&batches, bad, waited, reporter)?;
            reporter.meters().data(stages.warnings.count(), stages.retries.count());
            let epoch = self.cursor.epoch as usize;
            if self.cursor.step == self.steps_per_epoch && crops_picture::is_due(epoch, self.config.epochs) {
                reporter.ages(self.steps_done(), &self.trainer.row_ages());
            }
            self.after_step(agreed.save, reporter)?;
        }
        Ok(None)
    }

    /// What all ranks do about signals that any of them has had.
    fn agree(&self, signals: &Signals, batches: &[Rendered]) -> Result<Agreed> {
        let dropped = batches.iter().map(|batch| batch.contents.dropped.len() as u64).sum();
        let number = self.steps_done() + 1;
        self.team.doing(|| format!("{WITH_OTHERS} at step {number}"));
        self.team.agree(signals.stop().filter(|_| self.team.world() > 1), signals.take_save(), dropped)
    }

    /// Says what the batches were to hold and do not, and gives the epoch's bad samples with theirs. They become part
    /// of the state with the step, so that a checkpoint counts those of the steps that are done.
    fn bad_samples(&self, batches: &[Rendered], most: u64, meters: &TrainMeters) -> Result<BadSamples> {
        let mut bad = self.sums.bad.clone();
        for Rendered { contents, .. } in batches {
            bad::log(contents);
            meters.dropped(&contents.dropped);
            bad.add(contents, most)?;
        }
        Ok(bad)
    }

    /// A step on its micro-batches, with which the epoch has had `bad` samples.
    fn step(&mut self, batches: &[Rendered], bad: BadSamples, waited: Duration, reporter: &mut Reporter) -> Result<()> {
        let (start, synced) = (Instant::now(), self.trainer.sync_time());
        let Cursor { epoch, step } = self.cursor;
        let rates = self.schedules.at(epoch, step);
        let (number, global_batch) = (self.steps_done(), self.config.global_batch());
        let inputs: Vec<_> = batches.iter().map(|batch| step_input(batch, number, global_batch)).collect();
        if let Some(dump) = &mut self.dump {
            dump.step(epoch, &inputs, &rates, &keys(batches))?;
        }
        let report = self.trainer.step_accumulated(&inputs, &rates).map_err(|error| self.name_batch(error, batches))?;
        // Before anything that may fail: what is written down then must count the step.
        let terms: Vec<(String, f64)> = report.terms.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.sums.add(report.total, &terms, rates.lr, rates.weight_decay);
        self.sums.bad = bad;
        self.cursor.step += 1;
        self.unsaved += 1;
        if let Some(dump) = &mut self.dump {
            dump.losses(epoch, number, &rates, &report)?;
        }
        if let Some(parameter) = report.overflowed.as_ref().filter(|_| self.team.is_first()) {
            tracing::warn!(
                "step {}: the gradient of {parameter} overflowed in float16, so the weights stay as they were; the loss is \
                 scaled by {} from here on",
                number + 1,
                report.loss_scale.unwrap_or_default()
            );
        }
        let entropy = || self.trainer.cluster_entropy(rates.teacher_temp);
        let warning = self.alarm.step(&report, alarm::looks_at(number + 1).then(entropy).flatten());
        if let Some(warning) = warning.filter(|_| self.team.is_first()) {
            tracing::warn!("{warning}");
        }
        let place = StepPlace {
            done: self.steps_done(),
            epoch: epoch as usize,
            epochs: self.config.epochs,
            images: self.team.world() * batches.iter().map(|batch| batch.contents.keys.len()).sum::<usize>(),
            rates,
        };
        let took = start.elapsed();
        let sync = (self.trainer.sync_time() - synced).as_secs_f64();
        tracing::debug!(
            "step {} took {:.3} s, {sync:.3} s of it waiting for gradients of other ranks, peak memory {:.0} MiB",
            place.done,
            took.as_secs_f64(),
            peak_rss_mib()
        );
        let entropy = || self.trainer.cluster_entropy(place.rates.teacher_temp);
        reporter.step(&place, &report, &entropy, took, waited);
        reporter.meters().gradient_sync(self.trainer.sync_time());
        Ok(())
    }

    /// A loss that is not finite with the pictures it came from, if they are this rank's.
    fn name_batch(&self, error: StepError, batches: &[Rendered]) -> anyhow::Error {
        let own = |rank: Option<usize>| rank.is_none_or(|rank| rank == self.team.rank());
        match &error {
            StepError::NonFinite { rank, .. } if own(*rank) => {
                let (epoch, keys) = (self.cursor.epoch, keys(batches).join(", "));
                let batch = format!("nothing was updated; the batch of epoch {epoch} holds the pictures {keys}");
                anyhow::Error::new(error).context(batch)
            }
            _ => error.into(),
        }
    }
}

/// The epoch that has just ended, if its checkpoint is one to keep.
fn ended_epoch(Cursor { epoch, step }: Cursor, config: &RunConfig) -> Option<usize> {
    let ended = (epoch as usize).checked_sub(1).filter(|_| step == 0)?;
    (config.saveckp_freq > 0 && ended.is_multiple_of(config.saveckp_freq)).then_some(ended)
}

/// Steps of an epoch, the same on every rank.
pub(crate) fn steps_per_epoch(config: &RunConfig, set: &ShardSet) -> Result<u64> {
    let counts: Vec<u64> = set.manifest().shards.iter().map(|shard| shard.samples).collect();
    let streams = u32::try_from(config.streams).context("--streams is too large")?;
    let block = u32::try_from(config.shuffle_block).context("--shuffle_block is too large")?;
    Ok(Order::new(&counts, config.seed, streams, block)?.steps(config.global_batch())?)
}

/// Joins the other ranks, once all have the same options, data and state.
fn share(trainer: &mut Trainer, team: &Team, config: &RunConfig, cursor: Cursor, data: &str) -> Result<()> {
    if team.world() == 1 {
        return Ok(());
    }
    let facts = Facts::of(config)?
        .with("the data set", data)
        .with("what computes", if trainer.device().is_cuda() { "a GPU" } else { "the CPU" })
        .with("the next step", format!("{} of epoch {}", cursor.step, cursor.epoch))
        .with(STATE, state_digest(&trainer.state()));
    team.compare(&facts)?;
    if let Some(group) = team.join(&config.backend, trainer.device())? {
        tracing::info!("{} ranks exchange gradients over {}", team.world(), group.backend());
        trainer.share(&group, (config.bucket_mb * f64::from(1 << 20)) as usize);
    }
    Ok(())
}

/// The pictures of a step.
fn keys(batches: &[Rendered]) -> Vec<&str> {
    batches.iter().flat_map(|batch| &batch.contents.keys).map(|key| &**key).collect()
}
