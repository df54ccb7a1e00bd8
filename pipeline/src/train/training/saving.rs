//! When a run writes itself down, and how.

use std::time::Instant;

use anyhow::Result;
use mugs_compute::checkpoint::{Checkpoint, MugsState};
use mugs_data::fetch::Cursor;

use super::Training;
use crate::run::EpochSums;
use crate::team::SAVING;
use crate::train::arguments::arguments;
use crate::train::report::Reporter;

impl Training {
    /// Ends the epoch where it ends, and writes checkpoints where they are due.
    pub(super) fn after_step(&mut self, asked: bool, reporter: &Reporter) -> Result<()> {
        if self.cursor.step == self.steps_per_epoch {
            let epoch = self.cursor.epoch as usize;
            self.team.doing(|| format!("ending epoch {epoch}"));
            self.log.iter().try_for_each(|log| log.epoch(&self.sums.means(epoch)))?;
            self.sums = EpochSums::default();
            self.cursor = Cursor { epoch: self.cursor.epoch + 1, step: 0 };
            self.save(reporter)?;
            if self.team.is_first() && self.config.saveckp_freq > 0 && epoch.is_multiple_of(self.config.saveckp_freq) {
                self.folder.keep_epoch(epoch)?;
            }
        }
        if asked || (self.is_save_due() && self.unsaved > 0) {
            self.save(reporter)?;
        }
        Ok(())
    }

    fn is_save_due(&self) -> bool {
        let (steps, minutes) = (self.config.save_every_steps, self.config.save_every_minutes);
        let by_steps = steps > 0 && self.steps_done().is_multiple_of(steps);
        by_steps || (minutes > 0.0 && self.saved_at.elapsed().as_secs_f64() >= 60.0 * minutes)
    }

    /// Writes `checkpoint.pth`, whole or not at all; the one before stays under the name of its step, see `--keep`. Of
    /// several ranks, whose states are equal, the first does.
    pub(super) fn save(&mut self, reporter: &Reporter) -> Result<()> {
        let begun = Instant::now();
        let done = self.steps_done();
        if !self.team.is_first() {
            (self.saved, self.saved_at, self.unsaved) = (Some(done), begun, 0);
            return Ok(());
        }
        self.team.doing(|| format!("{SAVING} of step {done}"));
        let mugs = MugsState {
            seed: self.config.seed,
            streams: self.config.streams as u64,
            global_batch: self.config.global_batch(),
            epoch: u64::from(self.cursor.epoch),
            step: self.cursor.step,
            configuration: serde_json::to_string(&self.config.of_any_rank())?,
            data: self.data.clone(),
            sums: serde_json::to_string(&self.sums)?,
        };
        let checkpoint = Checkpoint {
            state: self.trainer.state(),
            epoch: self.cursor.epoch as usize,
            args: arguments(&self.config)?,
            mugs,
        };
        if let Some(before) = self.saved.filter(|before| self.config.keep > 0 && *before != done) {
            self.folder.keep_step(before)?;
        }
        checkpoint.write(&self.folder.checkpoint())?;
        (self.saved, self.saved_at, self.unsaved) = (Some(done), Instant::now(), 0);
        reporter.meters().checkpoint();
        if self.config.keep > 0 {
            self.folder.drop_steps(self.config.keep)?;
        }
        let took = begun.elapsed().as_secs_f64();
        tracing::debug!("the checkpoint of step {done} took {took:.3} s");
        if self.team.world() > 1 && took > self.config.sync_timeout / 2.0 {
            tracing::warn!(
                "the checkpoint of step {done} took {took:.0} s, in which the other ranks wait: --sync_timeout {} leaves \
                 little room",
                self.config.sync_timeout
            );
        }
        Ok(())
    }
}
