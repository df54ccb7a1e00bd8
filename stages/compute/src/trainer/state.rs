//! The trainer's state as named tensors, and back.

use tch::{Device, Tensor};

use super::{TrainConfig, Trainer};
use crate::memory::Memory;
use crate::model::{ConfigError, ModelConfig, Network};
use crate::named::{LoadError, NamedTensors};
use crate::state::{OrderedTensors, TrainState};

/// Why training cannot go on from a state.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ResumeError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state does not fit the configuration.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Trainer {
    /// A trainer that goes on from `state`. Nothing random is drawn that would be overwritten at once; `seed` is the
    /// run's, for stochastic depth.
    ///
    /// # Errors
    /// The configuration is not valid, or the state does not fit it.
    pub fn resume(
        model: &ModelConfig,
        config: &TrainConfig,
        seed: u64,
        device: Device,
        state: &TrainState,
    ) -> Result<Trainer, ResumeError> {
        let mut trainer = Trainer::build(model, config, seed, device, true)?;
        trainer.load(state)?;
        Ok(trainer)
    }

    /// Everything that the next step depends on, to the bit. The tensors share storage with the trainer:
    /// the next step changes them. See [`lend`](Self::lend).
    pub fn state(&self) -> TrainState {
        let memory = |side: usize| self.memories.as_ref().map_or_else(Vec::new, |both| owned(both[side].state()));
        let losses = self.losses.state().into_iter().map(|(name, tensors)| (name.to_owned(), owned(tensors)));
        TrainState {
            student: weights(&self.student),
            teacher: weights(&self.teacher),
            student_memory: memory(0),
            teacher_memory: memory(1),
            losses: losses.collect(),
            optimizer: self.optimizer.state(),
            scaler: self.scaler,
        }
    }

    /// Takes over a copy of `state`, to the bit.
    ///
    /// # Errors
    /// A tensor is missing or has another shape. Part of the state may then have been taken over.
    pub fn load(&mut self, state: &TrainState) -> Result<(), LoadError> {
        self.wait_for_reader();
        self.optimizer.load(&state.optimizer)?;
        if let (Some(scaler), Some(stored)) = (&mut self.scaler, state.scaler) {
            *scaler = stored;
        }
        self.student.params().load(&by_name(&state.student), "")?;
        self.teacher.params().load(&by_name(&state.teacher), "")?;
        if let Some(memories) = &mut self.memories {
            for (memory, tensors) in memories.iter_mut().zip([&state.student_memory, &state.teacher_memory]) {
                Memory::load(memory, &by_name(tensors), "")?;
            }
        }
        let of_losses = |(loss, tensors): &(String, OrderedTensors)| -> Vec<(String, Tensor)> {
            tensors.iter().map(|(name, tensor)| (format!("{loss}|{name}"), tensor.shallow_clone())).collect()
        };
        let losses: NamedTensors = state.losses.iter().flat_map(of_losses).collect();
        self.losses.load(&losses, |loss| format!("{loss}|"))
    }
}

fn weights(network: &Network) -> OrderedTensors {
    network.params().iter().map(|param| (param.name.clone(), param.tensor.detach())).collect()
}

fn owned(tensors: Vec<(&'static str, Tensor)>) -> OrderedTensors {
    tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
}

fn by_name(tensors: &OrderedTensors) -> NamedTensors {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
}
