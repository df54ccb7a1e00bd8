//! The three heads on top of the backbone.

use std::sync::Arc;

use tch::Tensor;

use super::ModelConfig;
use super::init::Init;
use super::last_layer::{LastLayer, LastLayerCall};
use super::layers::{BatchNorm, Linear, gelu, unit_length};
use super::params::Builder;
use crate::collective::Collective;

/// Three linear layers with GELU between, and if asked for a BatchNorm before each GELU: the projector of every head.
#[derive(Debug)]
struct Projector {
    /// At the published places 0, 2 and 4 of a sequence, GELU at 1 and 3; with BatchNorm at 0, 3 and 6.
    layers: [Linear; 3],
    /// At the places 1 and 4.
    norms: Option<[BatchNorm; 2]>,
}

impl Projector {
    fn new(mut builder: Builder<'_>, config: &ModelConfig, outputs: i64, biased: bool) -> Projector {
        let (inputs, hidden) = (config.embed_dim, config.head_hidden_dim);
        let linear = |builder: &mut Builder<'_>, place: usize, inputs, outputs| {
            let new = if biased { Linear::new } else { Linear::unbiased };
            new(builder.at(place), inputs, outputs, Init::WEIGHT)
        };
        // In the order of the places, which is that of the parameters.
        let builder = &mut builder;
        if !config.use_bn_in_head {
            let layers = [(0, inputs, hidden), (2, hidden, hidden), (4, hidden, outputs)]
                .map(|(place, inputs, outputs)| linear(builder, place, inputs, outputs));
            return Projector { layers, norms: None };
        }
        let first = linear(builder, 0, inputs, hidden);
        let first_norm = BatchNorm::new(builder.at(1), hidden);
        let second = linear(builder, 3, hidden, hidden);
        let second_norm = BatchNorm::new(builder.at(4), hidden);
        let third = linear(builder, 6, hidden, outputs);
        Projector { layers: [first, second, third], norms: Some([first_norm, second_norm]) }
    }

    fn share(&mut self, ranks: &Arc<dyn Collective>) {
        self.norms.iter_mut().flatten().for_each(|norm| norm.share(ranks));
    }

    /// `[rows, D]` to `[rows, outputs]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let [first, second, third] = &self.layers;
        let Some([first_norm, second_norm]) = &self.norms else {
            return third.forward(&gelu(&second.forward(&gelu(&first.forward(x)))));
        };
        let hidden = gelu(&first_norm.forward(&first.forward(x)));
        third.forward(&gelu(&second_norm.forward(&second.forward(&hidden))))
    }
}

/// Two linear layers with GELU between, in the student only: guesses the teacher's projection.
#[derive(Debug)]
struct Predictor {
    /// At the published places 0 and 2 of a sequence.
    layers: [Linear; 2],
}

impl Predictor {
    fn new(mut builder: Builder<'_>, width: i64, hidden: i64) -> Predictor {
        let layers = [(0, width, hidden), (2, hidden, width)].map(|(place, inputs, outputs)| {
            Linear::unbiased(builder.at(place), inputs, outputs, Init::framework_default(inputs))
        });
        Predictor { layers }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let [first, second] = &self.layers;
        second.forward(&gelu(&first.forward(x)))
    }
}

/// The instance head and the local-group head: a projection, in the student followed by a prediction, of unit length.
#[derive(Debug)]
pub struct ContrastiveHead {
    projector: Projector,
    predictor: Option<Predictor>,
    norm_before_pred: bool,
}

impl ContrastiveHead {
    /// With a predictor where `predicts`, that is in the student.
    pub(super) fn new(mut builder: Builder<'_>, config: &ModelConfig, outputs: i64, predicts: bool) -> ContrastiveHead {
        let projector = Projector::new(builder.at("projector"), config, outputs, false);
        let predictor = predicts.then(|| Predictor::new(builder.at("predictor"), outputs, config.predictor_hidden_dim));
        ContrastiveHead { projector, predictor, norm_before_pred: config.norm_before_pred }
    }

    /// See [`super::Network`]'s.
    pub(super) fn share(&mut self, ranks: &Arc<dyn Collective>) {
        self.projector.share(ranks);
    }

    /// Backbone tokens `[rows, D]` to unit vectors `[rows, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let projection = self.projector.forward(x);
        let Some(predictor) = &self.predictor else { return unit_length(&projection) };
        let prediction = if self.norm_before_pred {
            predictor.forward(&unit_length(&projection))
        } else {
            predictor.forward(&projection)
        };
        unit_length(&prediction)
    }
}

/// The group head: a unit projection compared with the directions of all clusters.
#[derive(Debug)]
pub struct GroupHead {
    projector: Projector,
    last_layer: LastLayer,
}

impl GroupHead {
    pub(super) fn new(mut builder: Builder<'_>, config: &ModelConfig) -> GroupHead {
        let projector = Projector::new(builder.at("projector"), config, config.group_bottleneck_dim, true);
        GroupHead { projector, last_layer: LastLayer::new(builder.at("last_layer"), config) }
    }

    /// See [`super::Network`]'s.
    pub(super) fn share(&mut self, ranks: &Arc<dyn Collective>) {
        self.projector.share(ranks);
    }

    /// Class tokens `[rows, D]` to logits `[rows, clusters]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.last_layer.forward(&self.project(x))
    }

    /// The same up to a graph that ends before the last layer, whose backward pass is by hand.
    pub(super) fn call(&self, x: &Tensor) -> LastLayerCall {
        self.last_layer.call(self.project(x))
    }

    /// The last layer.
    pub(crate) fn last_layer(&self) -> &LastLayer {
        &self.last_layer
    }

    fn project(&self, x: &Tensor) -> Tensor {
        unit_length(&self.projector.forward(x))
    }
}
