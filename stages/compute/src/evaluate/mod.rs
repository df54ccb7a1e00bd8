//! How good frozen features are.

pub mod knn;
