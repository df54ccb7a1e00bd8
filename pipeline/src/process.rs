//! What the operating system knows of this process.

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

/// Lets freed memory stay with the process.
///
/// Every training step needs the same tensors of many MB again. By default glibc gives such memory back to the system at
/// once, which hands it out anew page by page, cleared: a tenth of a step's time.
pub(crate) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Large blocks come from the heap like small ones, and its free end is never trimmed.
        for (option, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1)] {
            // SAFETY: mallopt takes two integers and only sets options of the allocator. Nothing depends on its success.
            unsafe { libc::mallopt(option, value) };
        }
    }
}
