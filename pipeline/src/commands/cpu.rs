//! Processor time by stage, as the kernel counts it for each thread.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Processor time of this process's threads so far, summed by the part of their name before the first `-` or digit:
/// the stage. Empty where there is no `/proc`.
pub fn by_stage() -> BTreeMap<String, Duration> {
    let mut times = BTreeMap::new();
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return times };
    for thread in threads.flatten() {
        // A thread may end while the list is read; its time is then missing here and everywhere.
        let Ok(name) = fs::read_to_string(thread.path().join("comm")) else { continue };
        let Ok(schedule) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let nanoseconds = schedule.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0);
        *times.entry(stage(name.trim()).to_owned()).or_default() += Duration::from_nanos(nanoseconds);
    }
    times
}

fn stage(thread: &str) -> &str {
    thread.split(|c: char| c == '-' || c == ' ' || c.is_ascii_digit()).next().unwrap_or(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_found_under_its_stage() {
        let thread = std::thread::Builder::new().name("burn-3".into());
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let (ready, go) = std::sync::mpsc::channel();
        let thread = thread.spawn(move || {
            let mut x = 1u64;
            for i in 0..30_000_000u64 {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i));
            }
            ready.send(x).unwrap();
            let _ = wait.recv();
        });
        go.recv().unwrap();
        let times = by_stage();
        assert!(times["burn"] > Duration::from_millis(1), "{times:?}");
        drop(done);
        thread.unwrap().join().unwrap();
    }
}
