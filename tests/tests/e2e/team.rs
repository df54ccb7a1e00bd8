//! Ranks as processes of this host, each started by hand, so that a test can do to each what it likes.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mugs_test_support::free_port;

use crate::support::Lab;

/// After this a test has found a run that hangs.
const HANGS: Duration = Duration::from_secs(150);

/// How long ranks wait for each other: much longer than a busy machine takes to start them and to write to its disk.
pub const TIMEOUT: &str = "--sync_timeout=20";

/// What words for a wait say of an option for it, as [`TIMEOUT`].
pub fn within(option: &str) -> String {
    format!("within {} s", option.split_once('=').unwrap().1)
}

/// Small crops, so that steps are quick, and a run that does not end by itself.
pub const ENDLESS: &[&str] = &[
    "--epochs=100000",
    "--saveckp_freq=0",
    "--save_every_steps=1",
    "--num_workers=1",
    "--global_crops_size=32",
    "--size_crops=16",
    "--batch_size_per_gpu=2",
];

/// Processes of one run.
pub struct Team {
    pub ranks: Vec<Child>,
    logs: Vec<PathBuf>,
}

/// How a rank ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub said: String,
    /// When all that is waited for had ended, since the wait began.
    pub after: Duration,
}

impl Ended {
    /// The last line, as `error: …`.
    pub fn last_line(&self) -> &str {
        self.said.trim_end().lines().last().unwrap_or_default()
    }

    /// The last line without the times in it: `4.1 s` is `… s`.
    pub fn cause(&self) -> String {
        let words = self.last_line().split(' ');
        words.map(|word| if word.parse::<f64>().is_ok() { "…" } else { word }).collect::<Vec<_>>().join(" ")
    }
}

/// What a launcher would set for a rank.
pub fn place(command: &mut Command, rank: usize, world: usize, port: u16) {
    let numbers = [("RANK", rank), ("WORLD_SIZE", world), ("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", world)];
    command.envs(numbers.map(|(name, number)| (name, number.to_string())));
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
}

impl Team {
    /// Starts `world` ranks of a run; `change` has the last word on the command of each.
    pub fn start(lab: &Lab, run: &str, world: usize, more: &[&str], change: impl Fn(usize, &mut Command)) -> Team {
        let port = free_port();
        let mut team = Team { ranks: Vec::new(), logs: Vec::new() };
        for rank in 0..world {
            let mut command = lab.train(run, more);
            place(&mut command, rank, world, port);
            change(rank, &mut command);
            team.add(lab.path(&format!("{run}-rank{rank}.log")), command);
        }
        team
    }

    /// Starts one more, which says everything into `log`.
    pub fn add(&mut self, log: PathBuf, mut command: Command) {
        let file = File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        self.ranks.push(child);
        self.logs.push(log);
    }

    /// What a rank has said so far.
    pub fn said(&self, rank: usize) -> String {
        std::fs::read_to_string(&self.logs[rank]).unwrap()
    }

    pub fn signal(&self, rank: usize, name: &str) {
        crate::support::signal(&self.ranks[rank], name);
    }

    /// Waits until rank 0 has written a checkpoint after now: all are at work.
    pub fn wait_for_steps(&mut self, lab: &Lab, run: &str) {
        let path = lab.path(&format!("{run}/checkpoint.pth"));
        let written = || std::fs::metadata(&path).and_then(|data| data.modified()).ok();
        let before = written();
        self.wait_until(|_| written() != before);
    }

    /// Waits for what only ranks at work bring about.
    pub fn wait_until(&mut self, there: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !there(self) {
            for rank in 0..self.ranks.len() {
                if self.ranks[rank].try_wait().unwrap().is_some() {
                    panic!("rank {rank} ended too early: {}", self.said(rank));
                }
            }
            assert!(begun.elapsed() < HANGS, "no step is done: {}", self.said(0));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until those of `ranks` have ended.
    pub fn end_of(&mut self, ranks: &[usize]) -> Vec<Ended> {
        let begun = Instant::now();
        let mut statuses: Vec<Option<ExitStatus>> = vec![None; ranks.len()];
        while statuses.iter().any(Option::is_none) {
            for (status, &rank) in statuses.iter_mut().zip(ranks) {
                if status.is_none() {
                    *status = self.ranks[rank].try_wait().unwrap();
                }
            }
            let said = || ranks.iter().map(|&rank| self.said(rank)).collect::<Vec<_>>();
            assert!(begun.elapsed() < HANGS, "a run hangs: {:?}", said());
            std::thread::sleep(Duration::from_millis(10));
        }
        let after = begun.elapsed();
        let ended = statuses.into_iter().flatten().zip(ranks);
        ended.map(|(status, &rank)| Ended { status, said: self.said(rank), after }).collect()
    }

    /// Waits until all have ended.
    pub fn end(mut self) -> Vec<Ended> {
        let all: Vec<usize> = (0..self.ranks.len()).collect();
        self.end_of(&all)
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        for child in &mut self.ranks {
            // Also one that was stopped, or that a failed test has left.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
