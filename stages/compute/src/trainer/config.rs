//! What a trainer is built from beside the network's dimensions.

use serde::{Deserialize, Serialize};

use crate::loss::LossConfig;
use crate::model::ConfigError;
use crate::optim::OptimizerKind;

/// Settings of losses and optimiser that stay the same through a run; what changes are [`Rates`](super::Rates).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Sizes of queues and memories, temperatures.
    pub losses: LossConfig,
    /// The optimiser. Default AdamW.
    pub optimizer: OptimizerKind,
    /// What the patch embedding's learning rate is multiplied by. Default 0.2.
    pub patch_embed_lr_mult: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig { losses: LossConfig::default(), optimizer: OptimizerKind::AdamW, patch_embed_lr_mult: 0.2 }
    }
}

impl TrainConfig {
    /// Checks every option's range.
    ///
    /// # Errors
    /// The first option that is out of its range, by name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let LossConfig { instance_queue_size, local_group_queue_size, .. } = self.losses;
        let checks = [
            ("instance_queue_size", instance_queue_size as f64, 1.0, "at least 1"),
            ("local_group_queue_size", local_group_queue_size as f64, 1.0, "at least 1"),
            ("instance_temp", self.losses.instance_temp, f64::MIN_POSITIVE, "finite, above 0"),
            ("local_group_temp", self.losses.local_group_temp, f64::MIN_POSITIVE, "finite, above 0"),
            ("group_student_temp", self.losses.group_student_temp, f64::MIN_POSITIVE, "finite, above 0"),
            ("patch_embed_lr_mult", self.patch_embed_lr_mult, 0.0, "finite, 0 or above"),
        ];
        match checks.into_iter().find(|(_, value, least, _)| !(value.is_finite() && value >= least)) {
            Some((option, value, _, range)) => Err(ConfigError::OutOfRange { option, value, range }),
            None => Ok(()),
        }
    }
}
