//! Decoding that goes on behind a bad picture.

use mugs_flow::{BoxError, StopHandle};

use super::Decode;
use crate::error::DataError;
use crate::fetch::StandIns;
use crate::item::{Fetched, Picture};

/// A decoder for one worker; in the place of what it cannot decode it decodes what stands in for it.
pub struct Skipping<D> {
    decoder: D,
    stand_ins: StandIns,
    stop: StopHandle,
}

impl<D: Decode> Skipping<D> {
    /// Takes stand-ins from the stage that fetches; `stop` is the handle of the flow that this stage is part of.
    pub fn new(decoder: D, stand_ins: StandIns, stop: StopHandle) -> Self {
        Self { decoder, stand_ins, stop }
    }

    /// Decodes a sample, or the next good one of its stream.
    ///
    /// # Errors
    /// A sample cannot be decoded and may not be skipped, nothing can stand in for it, or reading what does fails.
    pub fn decode(&mut self, mut sample: Fetched) -> Result<Picture, BoxError> {
        loop {
            match self.decoder.decode(sample) {
                Err(DataError::Decode { origin, cause }) => {
                    let (bad, error) = ((*origin).clone(), DataError::Decode { origin, cause });
                    sample = self.stand_ins.find(bad, error, &mut |time| self.stop.pause(time))?;
                }
                done => return Ok(done?),
            }
        }
    }
}
