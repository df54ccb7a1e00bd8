//! What ends a flow.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Whatever error a stage reports.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// The flow is stopping, or nobody reads what a stage sends: the stage returns at once.
///
/// A stage that owns its loop passes it on with `?`; the engine takes it as a quiet end, not as a failure.
#[derive(Debug, thiserror::Error)]
#[error("the flow is stopping")]
pub struct Closed(pub(crate) ());

/// The first thing that went wrong in a flow, with the stage where it did.
///
/// Clones share the cause, so that [`Running::recv`](crate::Running::recv) and
/// [`Running::join`](crate::Running::join) report the same error.
#[derive(Debug, Clone)]
pub enum FlowError {
    /// The stage returned an error.
    Failed {
        /// The stage's name.
        stage: Arc<str>,
        /// What the stage returned.
        cause: Arc<dyn Error + Send + Sync>,
    },
    /// The stage panicked: a bug in it, or in what it calls.
    Panicked {
        /// The stage's name.
        stage: Arc<str>,
        /// The panic's message.
        message: String,
    },
    /// The stage cannot be set up as declared: no workers, no capacity, a name used twice, no thread to be had.
    Setup {
        /// The stage's name.
        stage: Arc<str>,
        /// What is wrong with the declaration.
        message: String,
    },
}

impl FlowError {
    /// The name of the stage that ended the flow.
    pub fn stage(&self) -> &str {
        match self {
            Self::Failed { stage, .. } | Self::Panicked { stage, .. } | Self::Setup { stage, .. } => stage,
        }
    }

    /// The stage's own error as type `E`, when it is one.
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Failed { cause, .. } => cause.downcast_ref::<E>(),
            Self::Panicked { .. } | Self::Setup { .. } => None,
        }
    }
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { stage, cause } => write!(f, "stage `{stage}` failed: {cause}"),
            Self::Panicked { stage, message } => write!(f, "stage `{stage}` panicked: {message}"),
            Self::Setup { stage, message } => write!(f, "stage `{stage}` cannot start: {message}"),
        }
    }
}

impl Error for FlowError {
    /// The cause is part of the message, so the chain goes on with what lies below it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { cause, .. } => cause.source(),
            Self::Panicked { .. } | Self::Setup { .. } => None,
        }
    }
}
