//! Checkpoints of the published implementation: the same entries without our own, and optimiser numbers without names.

use tch::Tensor;

use super::layout::{self, LayoutError, get, wrong};
use super::optimizer::{group_name, numbers, param_groups};
use super::value::Value;
use crate::optim::Group;
use crate::state::{OrderedTensors, TrainState};

/// A run of the published implementation, between two epochs.
#[derive(Debug)]
pub struct Published {
    /// Weights, memories, queues, centre and optimiser.
    pub state: TrainState,
    /// Epochs finished.
    pub epoch: usize,
    /// The options of the run, by name.
    pub args: Vec<(String, Value)>,
}

impl Published {
    /// Steps that the optimiser has taken, most of any parameter; unknown where it does not count them, as SGD and LARS.
    pub fn steps(&self) -> Option<u64> {
        let steps = self.state.optimizer.moments.values().map(|moments| moments.step);
        steps.max().and_then(|steps| u64::try_from(steps).ok())
    }

    pub(super) fn from_value(root: &Value) -> Result<Published, LayoutError> {
        let student = layout::student(root)?;
        let groups = param_groups(get(root, "optimizer")?)?.iter();
        let names = groups.map(|group| parameters(group, &student)).collect::<Result<_, _>>()?;
        Ok(Published { state: layout::state(root, names)?, epoch: layout::epoch(root)?, args: layout::args(root)? })
    }
}

/// The names of a group's parameters: the optimiser took them in the student's order, by name and shape alone.
fn parameters(group: &Value, student: &OrderedTensors) -> Result<Vec<String>, LayoutError> {
    let name = group_name(group)?;
    let count = numbers(group)?.len();
    let group = Group::ALL.into_iter().find(|group| group.name() == name);
    let group = group.ok_or_else(|| wrong("optimizer.param_groups", format!("the group `{name}` is not known")))?;
    let of_group = |(name, tensor): &&(String, Tensor)| !is_buffer(name) && Group::of(name, &tensor.size()) == group;
    let mut names: Vec<String> = student.iter().filter(of_group).map(|(name, _)| name.clone()).collect();
    if names.len() == count + 1 {
        // With norm_last_layer the gains of the last layer do not learn, and the optimiser does not have them.
        names.retain(|name| !name.ends_with("last_layer.weight_g"));
    }
    if names.len() != count {
        let what = format!("`{name}` has {count} parameters, but the student has {} of its sort", names.len());
        return Err(wrong("optimizer.param_groups", what));
    }
    Ok(names)
}

/// Whether a tensor of a state dict is a statistic of BatchNorm, which no optimiser has.
fn is_buffer(name: &str) -> bool {
    ["running_mean", "running_var", "num_batches_tracked"].iter().any(|buffer| name.ends_with(buffer))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn student() -> OrderedTensors {
        let tensor = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let shapes: [(&str, &[i64]); 8] = [
            ("backbone.patch_embed.proj.weight", &[4, 3, 2, 2]),
            ("backbone.patch_embed.proj.bias", &[4]),
            ("head.0.weight", &[4, 4]),
            ("head.1.weight", &[4]),
            ("head.1.running_mean", &[4]),
            ("head.1.running_var", &[4]),
            ("group_head.last_layer.weight_g", &[4, 1]),
            ("group_head.last_layer.weight_v", &[4, 4]),
        ];
        shapes.map(|(name, shape)| (name.to_owned(), tensor(shape))).into()
    }

    fn group(name: &str, count: i64) -> Value {
        Value::dict([("name", Value::text(name)), ("params", Value::List((0..count).map(Value::Int).collect()))])
    }

    #[test]
    fn groups_hold_what_learns_in_the_student_s_order() {
        let of = |name, count| parameters(&group(name, count), &student());
        let (gain, rest) = ("group_head.last_layer.weight_g", ["head.0.weight", "group_head.last_layer.weight_v"]);
        assert_eq!(of("normal_params", 3).unwrap(), [rest[0], gain, rest[1]]);
        assert_eq!(of("normal_params", 2).unwrap(), rest, "fixed gains");
        assert_eq!(of("no_wd", 1).unwrap(), ["head.1.weight"], "no statistics");
        assert_eq!(of("patch_embed", 1).unwrap(), ["backbone.patch_embed.proj.weight"]);
        let error = of("no_wd", 3).unwrap_err().to_string();
        assert!(error.contains("`no_wd` has 3 parameters") && error.contains("has 1 of its sort"), "{error}");
        assert!(of("biases", 1).unwrap_err().to_string().contains("`biases` is not known"));
    }
}
