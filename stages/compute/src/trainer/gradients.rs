//! Where the gradients of a step's parts add up.

use tch::Tensor;

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
    /// By the lengths and by the directions, once all parts of a step are in.
    finished: Option<[Tensor; 2]>,
}

impl Gradients {
    pub(super) fn new() -> Gradients {
        Gradients { last_layer: None, by_hand: false, finished: None }
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
        self.finished = None;
    }

    /// Takes in what of a part's gradients is known before its backward pass, and gives the scalar, the total multiplied by
    /// `factor`, that the pass starts from. Consumes the losses: with them goes what the backward pass needed.
    pub(super) fn prepare(&mut self, terms: Terms, student: &Network, factor: f64) -> Tensor {
        let Terms { total, last_layer, .. } = terms;
        if let (Some((of_part, weight)), Some(head)) = (last_layer, student.group_head()) {
            let sum = self.last_layer.get_or_insert_with(|| LastLayerGradient::new(head.last_layer()));
            sum.add(&of_part, weight * factor);
            self.by_hand = true;
        }
        if factor == 1.0 { total } else { total * factor }
    }

    /// The gradients that no backward pass brings, by the numbers of their parameters, once all parts are in.
    pub(super) fn by_hand(&mut self, student: &Network, optimizer: &Optimizer) -> Vec<(usize, Tensor)> {
        let Some(finished) = self.finish(student) else { return Vec::new() };
        let place = |name: &str| LAST_LAYER.iter().position(|layer| *layer == name);
        let numbered = optimizer.names().enumerate();
        numbered.filter_map(|(number, name)| Some((number, finished[place(name)?].shallow_clone()))).collect()
    }

    fn finish(&mut self, student: &Network) -> Option<&[Tensor; 2]> {
        let (sum, head) = (self.last_layer.as_mut()?, student.group_head()?);
        if self.by_hand && self.finished.is_none() {
            let (by_g, by_v) = sum.finish(head.last_layer());
            self.finished = Some([by_g, by_v]);
        }
        self.finished.as_ref()
    }

    /// The sums in the optimiser's order, undefined where a parameter took no part.
    pub(super) fn sums(&mut self, student: &Network, optimizer: &Optimizer) -> Vec<Tensor> {
        let finished = self.finish(student);
        let of = |(name, parameter): (&str, &Tensor)| {
            let by_hand = finished.zip(LAST_LAYER.iter().position(|layer| *layer == name));
            by_hand.map_or_else(|| parameter.grad(), |(both, place)| both[place].shallow_clone())
        };
        optimizer.names().zip(optimizer.parameters()).map(of).collect()
    }
}
