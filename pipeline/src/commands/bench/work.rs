//! The stages that a bench runs: all of them, or those up to the decoded pictures.

use anyhow::{Context, Result};
use mugs_data::Picture;
use mugs_data::bad::BadSamples;
use mugs_data::crop::Profile;
use mugs_data::fetch::Cursor;
use mugs_flow::{Meters, Running};
use mugs_shards::ShardSet;

use super::mixing::{Mixing, Seen};
use crate::config::RunConfig;
use crate::topology::{self, DataStages};

/// Stages at work.
pub enum Work {
    /// Up to finished batches, and what was seen of them.
    Batches { stages: DataStages, bad: BadSamples, seen: Seen },
    /// Up to decoded pictures.
    Pictures(Running<Picture>),
}

impl Work {
    pub fn start(config: &RunConfig, set: &ShardSet, decode_only: bool, profile: &Profile) -> Result<Self> {
        if decode_only {
            return Ok(Self::Pictures(topology::start_decoding(config, set.clone())?));
        }
        let stages = topology::start(config, set.clone(), Cursor::default(), u32::MAX, 1, profile)?;
        Ok(Self::Batches { stages, bad: BadSamples::default(), seen: Seen::default() })
    }

    pub fn meters(&self) -> Meters {
        match self {
            Self::Batches { stages, .. } => stages.batches.meters(),
            Self::Pictures(pictures) => pictures.meters(),
        }
    }

    /// Takes what comes next, and says how many pictures it is.
    pub fn next(&mut self) -> Result<u64> {
        match self {
            Self::Batches { stages, bad, seen } => {
                let batch = stages.batches.recv()?.context("the set gives no batch")?;
                mugs_data::bad::log(&batch.contents);
                bad.add(&batch.contents, stages.max_bad_samples)?;
                seen.add(&batch.contents.labels);
                Ok(batch.contents.keys.len() as u64)
            }
            Self::Pictures(pictures) => {
                pictures.recv()?.context("the set gives no picture")?;
                Ok(1)
            }
        }
    }

    /// Ends the stages; says how well the batches were mixed.
    pub fn finish(self, config: &RunConfig, set: &ShardSet) -> Result<Option<Mixing>> {
        match self {
            Self::Batches { stages, seen, .. } => {
                let streams = u64::from(stages.streams);
                stages.batches.join()?;
                let (batch, block) = (config.batch_size_per_gpu as u64, config.shuffle_block as u64);
                Mixing::of(&seen, set, batch, block, streams).map(Some)
            }
            Self::Pictures(pictures) => {
                pictures.join()?;
                Ok(None)
            }
        }
    }
}
