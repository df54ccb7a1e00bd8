//! Tensors by name: how weights, rings and centres go into a checkpoint and come out of one.

use std::collections::HashMap;

use tch::Tensor;

/// Tensors by their published names, as a checkpoint or a safetensors file holds them.
pub type NamedTensors = HashMap<String, Tensor>;

/// Why named tensors do not fit what they are loaded into.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadError {
    /// A tensor is not there.
    #[error("tensor `{name}` is missing; was the file written by a network with the same heads?")]
    Missing {
        /// The full name, prefix included.
        name: String,
    },
    /// A tensor is there with another shape.
    #[error("tensor `{name}` has shape {found:?}, but {expected:?} is needed; check the options that set dimensions")]
    Shape {
        /// The full name, prefix included.
        name: String,
        /// The shape that the running configuration gives it.
        expected: Vec<i64>,
        /// The shape in the file.
        found: Vec<i64>,
    },
}

/// The tensor called `prefix` + `name`, checked to have the shape `expected`.
pub(crate) fn find<'a>(
    tensors: &'a NamedTensors,
    prefix: &str,
    name: &str,
    expected: &[i64],
) -> Result<&'a Tensor, LoadError> {
    let name = format!("{prefix}{name}");
    let Some(tensor) = tensors.get(&name) else { return Err(LoadError::Missing { name }) };
    let found = tensor.size();
    if found == expected { Ok(tensor) } else { Err(LoadError::Shape { name, expected: expected.to_vec(), found }) }
}

/// Copies `prefix` + `name` into `target`, which keeps its own type and device.
pub(crate) fn copy_into(target: &Tensor, tensors: &NamedTensors, prefix: &str, name: &str) -> Result<(), LoadError> {
    let source = find(tensors, prefix, name, &target.size())?;
    // A plain `copy_` on a leaf that requires a gradient is refused while gradients are recorded.
    let _no_grad = tch::no_grad_guard();
    target.shallow_clone().copy_(source);
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn names_what_is_missing_or_misshapen() {
        let tensors = NamedTensors::from([("a.x".to_owned(), Tensor::ones([2], (Kind::Float, tch::Device::Cpu)))]);
        let target = Tensor::zeros([2], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        copy_into(&target, &tensors, "a.", "x").unwrap();
        assert_eq!(Vec::<f32>::try_from(target.detach()).unwrap(), [1.0, 1.0]);
        assert_eq!(find(&tensors, "a.", "y", &[2]).unwrap_err(), LoadError::Missing { name: "a.y".into() });
        let error = find(&tensors, "a.", "x", &[3]).unwrap_err();
        assert_eq!(error, LoadError::Shape { name: "a.x".into(), expected: vec![3], found: vec![2] });
    }
}
