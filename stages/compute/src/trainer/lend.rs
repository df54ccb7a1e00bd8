//! The state in the hands of a reader that works while the next step is computed.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Trainer;
use crate::library;
use crate::model::Network;
use crate::state::{OrderedTensors, TrainState};

/// Why a state could not be lent.
#[derive(Debug, thiserror::Error)]
#[error("the state could not be read: {0}")]
pub struct LendError(String);

/// Returns once a reader of the state is through.
pub(super) struct Wait(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Wait {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Wait")
    }
}

impl Trainer {
    /// The state for a reader on another thread, without a copy. The passes of the next step go on meanwhile, which
    /// change nothing that it reads; before the first update `wait` is called, which must return only when the reader is
    /// through. Running statistics of BatchNorm layers, which the passes move, are copied.
    ///
    /// # Errors
    /// The library that computes is out of memory for those copies; nothing is lent then.
    pub fn lend(&mut self, wait: impl FnOnce() + Send + 'static) -> Result<TrainState, LendError> {
        self.wait_for_reader();
        let copied = catch_unwind(AssertUnwindSafe(|| {
            let mut state = self.state();
            copy_buffers(&self.student, &mut state.student);
            copy_buffers(&self.teacher, &mut state.teacher);
            state
        }));
        let state = copied.map_err(|panic| LendError(library::message_of_panic(&*panic)))?;
        self.lent = Some(Wait(Box::new(wait)));
        Ok(state)
    }

    /// Waits until nobody else reads the state.
    pub(super) fn wait_for_reader(&mut self) {
        if let Some(Wait(wait)) = self.lent.take() {
            wait();
        }
    }
}

fn copy_buffers(network: &Network, tensors: &mut OrderedTensors) {
    for (param, (_, tensor)) in network.params().iter().zip(tensors) {
        if param.buffer {
            *tensor = tensor.copy();
        }
    }
}
