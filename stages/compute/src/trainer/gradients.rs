//! Where the gradients of a step's parts add up.

use tch::{TchError, Tensor};

use crate::loss::Terms;
use crate::model::{LastLayerGradient, Network};
use crate::optim::Optimizer;

/// The published names of the last layer's lengths and directions.
const LAST_LAYER: [&str; 2] = ["group_head.last_layer.weight_g", "group_head.last_layer.weight_v"];

/// The gradients of the student's trainable parameters. Parts add to them in place: beside the sums only one parameter's
/// gradient exists at a time.
#[derive(Debug)]
pub(super) struct Gradients {
    /// Of the last layer, where the backward pass is by hand.
    last_layer: Option<LastLayerGradient>,
    /// Whether it was in this step.
    by_hand: bool,
}

impl Gradients {
    pub(super) fn new() -> Gradients {
        Gradients { last_layer: None, by_hand: false }
    }

    /// Forgets what an earlier step left, also one that was not taken.
    pub(super) fn clear(&mut self, optimizer: &Optimizer) {
        for parameter in optimizer.parameters() {
            let mut gradient = parameter.grad();
            if gradient.defined() {
                let _ = gradient.zero_();
            }
        }
        if let Some(gradient) = &mut self.last_layer {
            gradient.clear();
        }
        self.by_hand = false;
    }

    /// The backward pass of a part, the total multiplied by `factor`. Consumes the losses: with them goes what the backward
    /// pass needed.
    pub(super) fn add(&mut self, terms: Terms, student: &Network, factor: f64) -> Result<(), TchError> {
        let Terms { total, last_layer, .. } = terms;
        let total = if factor == 1.0 { total } else { total * factor };
        total.f_backward()?;
        if let (Some((of_part, weight)), Some(head)) = (last_layer, student.group_head()) {
            let sum = self.last_layer.get_or_insert_with(|| LastLayerGradient::new(head.last_layer()));
            sum.add(&of_part, weight * factor);
            self.by_hand = true;
        }
        Ok(())
    }

    /// The sums in the optimiser's order, undefined where a parameter took no part.
    pub(super) fn sums(&mut self, student: &Network, optimizer: &Optimizer) -> Vec<Tensor> {
        let by_hand = match (&mut self.last_layer, student.group_head()) {
            (Some(sum), Some(head)) if self.by_hand => Some(sum.finish(head.last_layer())),
            _ => None,
        };
        let of = |(name, parameter): (&str, &Tensor)| match &by_hand {
            Some((by_g, _)) if name == LAST_LAYER[0] => by_g.shallow_clone(),
            Some((_, by_v)) if name == LAST_LAYER[1] => by_v.shallow_clone(),
            _ => parameter.grad(),
        };
        optimizer.names().zip(optimizer.parameters()).map(of).collect()
    }
}
