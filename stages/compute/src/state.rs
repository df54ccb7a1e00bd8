//! The whole state of training between two steps, as plain named tensors: what a checkpoint holds.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::optim::{LossScaler, OptimizerKind};

/// Tensors in the published state-dict order, by name without any prefix.
pub type OrderedTensors = Vec<(String, Tensor)>;

/// Everything that the next step depends on. The tensors share storage with the trainer: write or copy them before
/// the next step, or let the trainer wait ([`Trainer::lend`](crate::trainer::Trainer::lend)).
#[derive(Debug)]
pub struct TrainState {
    /// The student's weights.
    pub student: OrderedTensors,
    /// The teacher's weights.
    pub teacher: OrderedTensors,
    /// The student's memory: `block.queue_q`, `_k`, `_v` and `_ptr`; empty without the local-group head.
    pub student_memory: OrderedTensors,
    /// The teacher's memory, likewise.
    pub teacher_memory: OrderedTensors,
    /// Queues, pointers and centre by the published name of their loss (`instance-sup.` ...).
    pub losses: Vec<(String, OrderedTensors)>,
    /// The optimiser's moments and rates.
    pub optimizer: OptimizerState,
    /// With fp16 the scale of the loss.
    pub scaler: Option<LossScaler>,
}

/// The optimiser's state by parameter name.
#[derive(Debug, Default)]
pub struct OptimizerState {
    /// Which optimiser it is the state of.
    pub kind: OptimizerKind,
    /// The parameter groups in the published order.
    pub groups: Vec<GroupState>,
    /// AdamW: moments of the parameters that have taken a step.
    pub moments: BTreeMap<String, Moments>,
    /// SGD and LARS: the running directions of the parameters that have taken a step, shape of the parameter.
    pub momentum: BTreeMap<String, Tensor>,
}

/// A parameter group as of the last step.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupState {
    /// `normal_params`, `patch_embed`, `no_wd` or `patch_embed_no_wd`.
    pub name: String,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Weight decay of the last step.
    pub weight_decay: f64,
    /// Whether the group is decayed at all.
    pub apply_wd: bool,
    /// Names of its parameters, in the optimiser's order.
    pub parameters: Vec<String>,
}

/// AdamW's moments of one parameter.
#[derive(Debug)]
pub struct Moments {
    /// Steps that the parameter has taken; behind the others after a time without gradient.
    pub step: i64,
    /// Running mean of the gradient, shape of the parameter.
    pub exp_avg: Tensor,
    /// Running mean of the squared gradient, shape of the parameter.
    pub exp_avg_sq: Tensor,
}
