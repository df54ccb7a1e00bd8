//! Processors among the processes of a host.

/// Threads for one of `local_world` processes that share `processors`: an equal part of them, and at least one.
///
/// ```
/// # use mugs_pipeline::launch::fair_share;
/// assert_eq!(fair_share(96, 8), 12);
/// assert_eq!(fair_share(2, 8), 1);
/// ```
pub fn fair_share(processors: usize, local_world: u32) -> usize {
    (processors / local_world.max(1) as usize).max(1)
}

/// Processors that this process may use: bound to some by a launcher or a container, those.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
