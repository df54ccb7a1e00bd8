//! Configuration, launch, topology, status and commands of the Mugs pretraining pipeline.
//!
//! [`topology`] is the diagram: which stages there are, how they are joined, what may wait where. [`train`] is the
//! thread at their end.

pub mod cli;
pub mod commands;
pub mod config;
mod contact_sheet;
pub mod data;
pub mod render;
pub mod run;
pub mod status;
pub mod topology;
pub mod train;

/// The most memory that this process has held, in MiB.
pub(crate) fn peak_rss_mib() -> f64 {
    // SAFETY: rusage is plain data for which all zeroes is valid; getrusage only writes into it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    usage.ru_maxrss as f64 / 1024.0
}
