//! When a run writes itself down, and how: on a thread of its own, while the next step is computed. Only that step's first
//! update waits until the state has been read; what the disk needs from there on, nobody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use mugs_compute::checkpoint::{Checkpoint, MugsState};
use mugs_data::fetch::Cursor;

use super::Training;
use crate::run::{EpochSums, RunFolder};
use crate::team::{SAVING, WITH_OTHERS};
use crate::train::arguments::arguments;
use crate::train::report::Reporter;

/// A checkpoint on its way to the disk.
pub(super) struct Saving {
    /// Steps that are done in it.
    done: u64,
    /// How many of them are in no checkpoint before it.
    steps: u64,
    /// Nanoseconds that training has waited for it.
    waited: Arc<AtomicU64>,
    writer: JoinHandle<Result<Written>>,
}

/// When a checkpoint was on the disk, and how long that took.
struct Written {
    at: SystemTime,
    took: Duration,
}

impl Training {
    /// Ends the epoch where it ends, and begins checkpoints where they are due.
    pub(super) fn after_step(&mut self, asked: bool, reporter: &Reporter) -> Result<()> {
        if self.saving.as_ref().is_some_and(|saving| saving.writer.is_finished()) {
            self.finish_saving(reporter)?;
        }
        if self.cursor.step == self.steps_per_epoch {
            let epoch = self.cursor.epoch as usize;
            self.team.doing(|| format!("ending epoch {epoch}"));
            self.log.iter().try_for_each(|log| log.epoch(&self.sums.means(epoch)))?;
            self.sums = EpochSums::default();
            self.cursor = Cursor { epoch: self.cursor.epoch + 1, step: 0 };
            let every = self.config.saveckp_freq;
            self.save(Some(epoch).filter(|epoch| every > 0 && epoch.is_multiple_of(every)), reporter)?;
        }
        if asked || (self.is_save_due() && self.unsaved > 0) {
            self.save(None, reporter)?;
        }
        Ok(())
    }

    fn is_save_due(&self) -> bool {
        let (steps, minutes) = (self.config.save_every_steps, self.config.save_every_minutes);
        let by_steps = steps > 0 && self.steps_done().is_multiple_of(steps);
        by_steps || (minutes > 0.0 && self.saved_at.elapsed().as_secs_f64() >= 60.0 * minutes)
    }

    /// Writes down what is in no checkpoint yet, and returns when all is on the disk.
    pub(super) fn save_rest(&mut self, reporter: &Reporter) -> Result<()> {
        let before = self.finish_saving(reporter);
        if self.unsaved == 0 {
            return before;
        }
        if let Err(error) = before {
            tracing::warn!("{error:#}; it is tried once more");
        }
        self.save(None, reporter)?;
        self.finish_saving(reporter)
    }

    /// Begins to write `checkpoint.pth`, whole or not at all; the one before stays under the name of its step, see
    /// `--keep`, and the new one gets that of `epoch` too. Of several ranks, whose states are equal, the first does.
    pub(super) fn save(&mut self, epoch: Option<usize>, reporter: &Reporter) -> Result<()> {
        self.finish_saving(reporter)?;
        let (done, steps) = (self.steps_done(), self.unsaved);
        (self.saved_at, self.unsaved) = (Instant::now(), 0);
        if self.team.is_first() {
            let begun = self.begin_saving(done, steps, epoch);
            self.saving = Some(begun.inspect_err(|_| self.unsaved = steps)?);
        }
        Ok(())
    }

    fn begin_saving(&mut self, done: u64, steps: u64, epoch: Option<usize>) -> Result<Saving> {
        self.team.doing(|| format!("{SAVING} of step {done}"));
        if let Some(before) = self.saved.filter(|before| self.config.keep > 0 && *before != done) {
            self.folder.keep_step(before)?;
        }
        let (mugs, args) = (self.place()?, arguments(&self.config)?);
        let (reading, is_read) = channel();
        let (waited, team) = (Arc::new(AtomicU64::new(0)), Arc::clone(&self.team));
        let so_far = Arc::clone(&waited);
        let state = self.trainer.lend(move || {
            let start = Instant::now();
            team.doing(|| format!("{SAVING} of step {done}"));
            // Nothing is ever sent: the other end goes away.
            let _: Result<(), _> = is_read.recv();
            team.doing(|| format!("{WITH_OTHERS} at step {}", done + 1));
            so_far.store(nanoseconds(start.elapsed()), Ordering::Relaxed);
        });
        let checkpoint = Checkpoint { state, epoch: self.cursor.epoch as usize, args, mugs };
        let (folder, keep) = (Arc::clone(&self.folder), self.config.keep);
        let writer = Builder::new()
            .name("checkpoint".into())
            .spawn(move || write(checkpoint, reading, &folder, keep, epoch))
            .context("cannot start the thread that writes the checkpoint")?;
        Ok(Saving { done, steps, waited, writer })
    }

    /// Where the run stands.
    fn place(&self) -> Result<MugsState> {
        Ok(MugsState {
            seed: self.config.seed,
            streams: self.config.streams as u64,
            global_batch: self.config.global_batch(),
            epoch: u64::from(self.cursor.epoch),
            step: self.cursor.step,
            configuration: serde_json::to_string(&self.config.of_any_rank())?,
            data: self.data.clone(),
            sums: serde_json::to_string(&self.sums)?,
        })
    }

    /// Waits until the checkpoint under way is on the disk, if there is one.
    fn finish_saving(&mut self, reporter: &Reporter) -> Result<()> {
        let Some(Saving { done, steps, waited, writer }) = self.saving.take() else { return Ok(()) };
        self.team.doing(|| format!("{SAVING} of step {done}"));
        let start = Instant::now();
        let ended = writer.join().unwrap_or_else(|_| Err(anyhow!("the thread that writes the checkpoint has ended")));
        let Written { at, took } = ended.inspect_err(|_| self.unsaved += steps)?;
        let waited = Duration::from_nanos(waited.load(Ordering::Relaxed)) + start.elapsed();
        self.saved = Some(done);
        reporter.meters().checkpoint(at);
        tracing::debug!(
            "the checkpoint of step {done} was on the disk after {:.3} s, {:.3} s of which training waited",
            took.as_secs_f64(),
            waited.as_secs_f64()
        );
        if self.team.world() > 1 && waited.as_secs_f64() > self.config.sync_timeout / 2.0 {
            tracing::warn!(
                "for the checkpoint of step {done} the other ranks waited {:.0} s: --sync_timeout {} leaves little room",
                waited.as_secs_f64(),
                self.config.sync_timeout
            );
        }
        Ok(())
    }
}

/// Writes a checkpoint down. `reading` goes away once the state has been read, for good or ill: training may change it
/// from then on.
fn write(
    checkpoint: Checkpoint,
    reading: Sender<()>,
    folder: &RunFolder,
    keep: usize,
    epoch: Option<usize>,
) -> Result<Written> {
    let begun = Instant::now();
    let written = checkpoint.write_beside(&folder.checkpoint())?;
    drop((checkpoint, reading));
    written.publish()?;
    if let Some(epoch) = epoch {
        folder.keep_epoch(epoch)?;
    }
    if keep > 0 {
        folder.drop_steps(keep)?;
    }
    Ok(Written { at: SystemTime::now(), took: begun.elapsed() })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
