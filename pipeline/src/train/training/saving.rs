//! When a run writes itself down, and how: on a thread of its own, while the next step is computed. Only that step's first
//! update waits until the state has been read; what the disk needs from there on, nobody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use mugs_compute::checkpoint::{Checkpoint, MugsState};
use mugs_data::fetch::Cursor;

use super::Training;
use crate::run::{EpochSums, RunFolder};
use crate::team::WITH_OTHERS;
use crate::train::arguments::arguments;
use crate::train::report::Reporter;

/// A checkpoint on its way to the disk.
pub(super) struct Saving {
    /// Steps that are done in it.
    done: u64,
    /// How many of them are in no checkpoint before it.
    steps: u64,
    /// The epoch whose name it gets too.
    epoch: Option<usize>,
    /// Nanoseconds that training has stood still for it.
    waited: Arc<AtomicU64>,
    /// None once it has been joined.
    writer: Option<JoinHandle<Result<Written>>>,
}

/// A checkpoint that is on the disk.
struct Written {
    at: SystemTime,
    took: Duration,
    /// Whether the names of older ones are what they should be.
    tidied: Result<()>,
}

impl Saving {
    fn is_written(&self) -> bool {
        self.writer.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits until the checkpoint is on the disk.
    fn join(&mut self) -> Result<Written> {
        let written = self.writer.take().context("the checkpoint has been waited for already")?.join();
        written
            .unwrap_or_else(|_| Err(anyhow!("the thread that writes the checkpoint of step {} has ended", self.done)))
    }
}

impl Drop for Saving {
    /// Whatever ends the run: what is being written is worth its time.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Training {
    /// Ends the epoch where it ends, and begins checkpoints where they are due.
    pub(super) fn after_step(&mut self, asked: bool, reporter: &Reporter) -> Result<()> {
        if let Some((epoch, sums)) = self.end_epoch() {
            self.team.doing(|| format!("ending epoch {epoch}"));
            self.log.iter().try_for_each(|log| log.epoch(&sums.means(epoch)))?;
            let every = self.config.saveckp_freq;
            self.save(Some(epoch).filter(|epoch| every > 0 && epoch.is_multiple_of(every)), reporter)?;
        }
        if self.saving.as_ref().is_some_and(Saving::is_written) {
            self.finish_saving(reporter)?;
        }
        if asked || (self.is_save_due() && self.unsaved > 0) {
            self.save(None, reporter)?;
        }
        Ok(())
    }

    /// Goes to the next epoch after the last step of one, which it gives with its sums. Comes before anything that may
    /// fail: no state may be written down that stands behind the last step of an epoch.
    fn end_epoch(&mut self) -> Option<(usize, EpochSums)> {
        (self.cursor.step == self.steps_per_epoch).then(|| {
            let epoch = self.cursor.epoch;
            self.cursor = Cursor { epoch: epoch + 1, step: 0 };
            (epoch as usize, std::mem::take(&mut self.sums))
        })
    }

    fn is_save_due(&self) -> bool {
        let (steps, minutes) = (self.config.save_every_steps, self.config.save_every_minutes);
        let by_steps = steps > 0 && self.steps_done().is_multiple_of(steps);
        by_steps || (minutes > 0.0 && self.saved_at.elapsed().as_secs_f64() >= 60.0 * minutes)
    }

    /// Writes down what is in no checkpoint yet, and returns when all is on the disk.
    pub(super) fn save_rest(&mut self, reporter: &Reporter) -> Result<()> {
        let epoch = self.saving.as_ref().and_then(|saving| saving.epoch).filter(|_| self.cursor.step == 0);
        let before = self.finish_saving(reporter);
        if self.unsaved == 0 {
            return before;
        }
        if let Err(error) = before {
            tracing::warn!("{error:#}; it is tried once more");
        }
        self.save(epoch, reporter)?;
        self.finish_saving(reporter)
    }

    /// Begins to write `checkpoint.pth`, whole or not at all; the one before stays under the name of its step, see
    /// `--keep`, and the new one gets that of `epoch` too. Of several ranks, whose states are equal, the first does.
    fn save(&mut self, epoch: Option<usize>, reporter: &Reporter) -> Result<()> {
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
        let begun = Instant::now();
        self.team.doing(|| saving(done));
        if let Some(before) = self.saved.filter(|before| self.config.keep > 0 && *before != done) {
            self.folder.keep_step(before)?;
        }
        let (mugs, args) = (self.place()?, arguments(&self.config.of_any_rank())?);
        let (reading, is_read) = channel();
        let (waited, team) = (Arc::new(AtomicU64::new(0)), Arc::clone(&self.team));
        let so_far = Arc::clone(&waited);
        let state = self.trainer.lend(move || {
            // Nothing is ever sent: the other end goes away.
            if is_read.try_recv() == Err(TryRecvError::Disconnected) {
                return;
            }
            let start = Instant::now();
            team.doing(|| saving(done));
            let _: Result<(), _> = is_read.recv();
            team.doing(|| format!("{WITH_OTHERS} at step {}", done + 1));
            so_far.fetch_add(nanoseconds(start.elapsed()), Ordering::Relaxed);
        })?;
        let checkpoint = Checkpoint { state, epoch: self.cursor.epoch as usize, args, mugs };
        let (folder, keep, writing) = (Arc::clone(&self.folder), self.config.keep, self.team.writing());
        let write = move || {
            let _writing = writing;
            write(checkpoint, reading, &folder, keep, epoch)
        };
        let writer = Builder::new().name("checkpoint".into()).spawn(write);
        let writer = writer.context("cannot start the thread that writes the checkpoint")?;
        waited.fetch_add(nanoseconds(begun.elapsed()), Ordering::Relaxed);
        Ok(Saving { done, steps, epoch, waited, writer: Some(writer) })
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
        let Some(mut under_way) = self.saving.take() else { return Ok(()) };
        let done = under_way.done;
        self.team.doing(|| saving(done));
        let start = Instant::now();
        let Written { at, took, tidied } = under_way.join().inspect_err(|_| self.unsaved += under_way.steps)?;
        let waited = Duration::from_nanos(under_way.waited.load(Ordering::Relaxed)) + start.elapsed();
        self.saved = Some(done);
        reporter.meters().checkpoint(at);
        let (took, waited) = (took.as_secs_f64(), waited.as_secs_f64());
        tracing::debug!(
            "the checkpoint of step {done} was on the disk after {took:.3} s, {waited:.3} s of which training waited"
        );
        if self.team.world() > 1 && waited > self.config.sync_timeout / 2.0 {
            tracing::warn!(
                "for the checkpoint of step {done} the other ranks waited {waited:.0} s: --sync_timeout {} leaves little \
                 room",
                self.config.sync_timeout
            );
        }
        tidied
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
    let (at, took) = (SystemTime::now(), begun.elapsed());
    let named = epoch.map_or(Ok(()), |epoch| folder.keep_epoch(epoch));
    let tidied = named.and_then(|()| if keep > 0 { folder.drop_steps(keep) } else { Ok(()) });
    Ok(Written { at, took, tidied })
}

/// What a rank is doing that waits for a checkpoint, in words.
fn saving(done: u64) -> String {
    format!("writing the checkpoint of step {done}")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
