//! What can go wrong between ranks.

/// Why ranks could not do something together. The group is of no more use then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectiveError {
    /// The back end gave up, mostly since another rank is gone.
    #[error("{operation} with the other ranks failed: {message}")]
    Failed {
        /// The call, as `all-reduce`.
        operation: &'static str,
        /// What the back end says.
        message: String,
    },
    /// Other ranks did not come.
    #[error("{operation} with the other ranks did not end within {seconds} s (`--sync_timeout`)")]
    TimedOut {
        /// The call, as `all-reduce`.
        operation: &'static str,
        /// The time-out.
        seconds: u64,
    },
    /// This rank gave the group up.
    #[error("{operation} with the other ranks was given up")]
    Aborted {
        /// The call, as `all-reduce`.
        operation: &'static str,
    },
    /// The back end cannot be had on this host.
    #[error("no {backend} here: {reason}")]
    Missing {
        /// `nccl`, `gloo`.
        backend: &'static str,
        /// What is missing, and the way out.
        reason: String,
    },
}
