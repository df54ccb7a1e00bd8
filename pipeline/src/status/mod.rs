//! What people and machines see of a run while it goes on: Prometheus meters, a status page, the progress line,
//! TensorBoard's events.

mod exporter;
mod meters;
mod progress;
mod server;
mod tensorboard;

pub use exporter::Exporter;
pub use meters::TrainMeters;
pub use progress::{Progress, ProgressLine};
pub use server::{Server, serve};
pub use tensorboard::{Histogram, TensorBoard, TensorBoardStep};
