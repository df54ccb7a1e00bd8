//! Weighted k-nearest-neighbour classification of features, as the method is evaluated.

use tch::{Kind, Tensor};

/// Test rows compared at once: similarities of a chunk take `CHUNK · train · 4` bytes.
const CHUNK: i64 = 256;

/// Why features cannot be classified.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KnnError {
    /// More neighbours are asked for than there are training features, or none.
    #[error("k is {k}, but must be between 1 and the number of training features, {train}")]
    Neighbours {
        /// Neighbours asked for.
        k: i64,
        /// Training features.
        train: i64,
    },
    /// Features and labels do not belong together.
    #[error("{set} features have shape {features:?} and labels {labels:?}; [n, width] and [n] are needed, n > 0")]
    Shape {
        /// `train` or `test`.
        set: &'static str,
        /// Shape of the features.
        features: Vec<i64>,
        /// Shape of the labels.
        labels: Vec<i64>,
    },
    /// Test features are of another width.
    #[error("test features are {test} wide, but training features {train}")]
    Width {
        /// Width of the test features.
        test: i64,
        /// Width of the training features.
        train: i64,
    },
    /// A label is no class.
    #[error("training labels reach from {smallest} to {largest}, but there are {classes} classes")]
    Label {
        /// Smallest label.
        smallest: i64,
        /// Largest label.
        largest: i64,
        /// Number of classes.
        classes: i64,
    },
    /// The temperature divides the similarities.
    #[error("temperature must be above 0")]
    Temperature,
    /// PyTorch failed, for want of memory for example.
    #[error("comparing features: {0}")]
    Torch(String),
}

/// Shares of test features classified rightly, in per cent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// The class with the most votes is right.
    pub top1: f64,
    /// One of the first min(5, k) classes is right; classes without a vote follow in class order.
    pub top5: f64,
}

/// Training features to compare with.
#[derive(Debug)]
pub struct Knn {
    /// `[width, n]`, columns of unit length.
    columns: Tensor,
    labels: Tensor,
    classes: i64,
}

impl Knn {
    /// Takes training features `[n, width]`, which are scaled to unit length here, and labels `[n]` int64 below `classes`.
    pub fn new(train_features: &Tensor, train_labels: &Tensor, classes: i64) -> Result<Knn, KnnError> {
        check("train", train_features, train_labels)?;
        let (smallest, largest) = (train_labels.min().int64_value(&[]), train_labels.max().int64_value(&[]));
        if smallest < 0 || largest >= classes {
            return Err(KnnError::Label { smallest, largest, classes });
        }
        let columns = unit_length(train_features).tr();
        Ok(Knn { columns, labels: train_labels.to_device(train_features.device()), classes })
    }

    /// Accuracy on test features `[m, width]` with labels `[m]`, by the votes exp(similarity / `temperature`) of `k` neighbours.
    pub fn accuracy(
        &self,
        test_features: &Tensor,
        test_labels: &Tensor,
        k: i64,
        temperature: f64,
    ) -> Result<Accuracy, KnnError> {
        check("test", test_features, test_labels)?;
        let rows = test_features.size()[0];
        let looked_at = k.min(5).min(self.classes);
        let (mut top1, mut top5) = (0, 0);
        for start in (0..rows).step_by(CHUNK as usize) {
            let length = CHUNK.min(rows - start);
            let ranking = ranking(&self.votes(&test_features.narrow(0, start, length), k, temperature)?);
            let labels = test_labels.narrow(0, start, length).to_device(ranking.device()).unsqueeze(1);
            let right = ranking.eq_tensor(&labels);
            top1 += right.narrow(1, 0, 1).sum(Kind::Int64).int64_value(&[]);
            top5 += right.narrow(1, 0, looked_at).sum(Kind::Int64).int64_value(&[]);
        }
        let per_cent = |count: i64| 100.0 * count as f64 / rows as f64;
        Ok(Accuracy { top1: per_cent(top1), top5: per_cent(top5) })
    }

    /// Votes `[m, classes]` float64 for features `[m, width]`.
    pub fn votes(&self, features: &Tensor, k: i64, temperature: f64) -> Result<Tensor, KnnError> {
        let (width, train) = self.columns.size2().map_err(torch)?;
        if !(1..=train).contains(&k) {
            return Err(KnnError::Neighbours { k, train });
        }
        if temperature.is_nan() || temperature <= 0.0 {
            return Err(KnnError::Temperature);
        }
        let (rows, test) = features.size2().map_err(torch)?;
        if test != width {
            return Err(KnnError::Width { test, train: width });
        }
        let _no_grad = tch::no_grad_guard();
        let similarities = unit_length(features).f_matmul(&self.columns).map_err(torch)?;
        let (similarities, neighbours) = similarities.f_topk(k, -1, true, true).map_err(torch)?;
        let labels = self.labels.f_index_select(0, &neighbours.flatten(0, -1)).map_err(torch)?.view([rows, k]);
        let weights = (similarities.to_kind(Kind::Double) / temperature).exp();
        Ok(Tensor::zeros([rows, self.classes], (Kind::Double, weights.device())).scatter_add(1, &labels, &weights))
    }
}

/// Classes by falling votes `[m, classes]`; equal votes in class order.
pub fn ranking(votes: &Tensor) -> Tensor {
    votes.sort_stable(true, -1, true).1
}

fn unit_length(features: &Tensor) -> Tensor {
    let _no_grad = tch::no_grad_guard();
    let features = features.to_kind(Kind::Float);
    let lengths = features.square().sum_dim_intlist([-1_i64].as_slice(), true, Kind::Float).sqrt();
    &features / lengths.clamp_min(1e-12)
}

fn check(set: &'static str, features: &Tensor, labels: &Tensor) -> Result<(), KnnError> {
    let (shape, count) = (features.size(), labels.size());
    let fits = matches!((&shape[..], &count[..]), ([n, width], [m]) if n == m && *n > 0 && *width > 0);
    if fits { Ok(()) } else { Err(KnnError::Shape { set, features: shape, labels: count }) }
}

fn torch(error: tch::TchError) -> KnnError {
    KnnError::Torch(error.to_string())
}
