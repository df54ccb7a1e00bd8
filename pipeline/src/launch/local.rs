//! `--nproc`: starts the processes of a run on this host, and stays with them until the last has ended.
//!
//! The supervisor computes nothing and holds no libtorch. It passes on signals, and sees to it that no process is left
//! behind: not by one that failed, nor by its own death.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGKILL, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::SUPERVISED;
use super::meeting::free_port;

/// What the others get beyond `--sync_timeout` when one has failed: time to write a checkpoint.
const GRACE: Duration = Duration::from_secs(60);
/// From SIGTERM to SIGKILL.
const LAST_GRACE: Duration = Duration::from_secs(30);
/// A second SIGINT or SIGTERM this soon is the first one delivered twice, as where a scheduler signals every process.
const ECHO: Duration = Duration::from_secs(1);

/// Starts `processes` processes of this program with the arguments of this one, and waits for them. The exit code is
/// that of the first that failed: 128 + n for one that signal n killed.
///
/// After a failure the others have `sync_timeout` seconds and a minute to end by themselves, each saying the cause.
pub fn supervise(processes: u32, sync_timeout: f64) -> Result<ExitCode> {
    let supervisor = Supervisor {
        program: std::env::current_exe().context("the path of this program cannot be read")?,
        arguments: std::env::args_os().skip(1).collect(),
        processes,
        patience: Duration::try_from_secs_f64(sync_timeout).unwrap_or(Duration::MAX).saturating_add(GRACE),
        last_grace: LAST_GRACE,
    };
    supervisor.run().map(ExitCode::from)
}

/// What is started, and how long it may take to end.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How many are started, at least 1.
    pub processes: u32,
    /// How long the others may go on once one has failed, before SIGTERM.
    pub patience: Duration,
    /// From SIGTERM to SIGKILL.
    pub last_grace: Duration,
}

impl Supervisor {
    /// Starts the processes, and gives the exit code when all have ended. To be called once in a process, on a thread
    /// that lives as long as it: the kernel kills the children when the thread that started them ends.
    pub fn run(&self) -> Result<u8> {
        ensure!(self.processes > 0, "--nproc 0 starts nothing");
        let signals = signals()?;
        let port = free_port()?;
        tracing::info!("starts {} processes on this host, which meet at 127.0.0.1:{port}", self.processes);
        let mut children = Children::default();
        for rank in 0..self.processes {
            let child = self.command(rank, port).spawn();
            let child = child.with_context(|| format!("rank {rank} cannot be started ({})", self.program.display()))?;
            children.0.push(Watched { rank, child, ended: false });
        }
        Ok(Watch { supervisor: self, children, first_failure: None, asked: None, next: None }.until_the_end(&signals))
    }

    fn command(&self, rank: u32, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .env("RANK", rank.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("WORLD_SIZE", self.processes.to_string())
            .env("LOCAL_WORLD_SIZE", self.processes.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string())
            .env(SUPERVISED, std::process::id().to_string())
            // A terminal sends Ctrl-C to its whole foreground group. Outside of it, a child gets it once, from us:
            // a second one would end it at once, without a checkpoint.
            .process_group(0);
        let supervisor = std::process::id();
        // SAFETY: between fork and exec only prctl and getppid are called, which are system calls without locks or
        // memory of their own.
        unsafe {
            command.pre_exec(move || die_with(supervisor));
        }
        command
    }
}

/// Asks the kernel to kill this process when its parent dies, in whatever way: SIGKILL, since a process that hangs or
/// is stopped does not answer another. Checkpoints are written so that a kill leaves the old or the new one.
fn die_with(parent: u32) -> std::io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal's number and changes this process alone; getppid takes nothing.
    let orphan = unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::getppid() != parent as libc::pid_t
    };
    // Had it died before the call, no signal would come.
    if orphan { Err(std::io::Error::from(std::io::ErrorKind::NotConnected)) } else { Ok(()) }
}

/// This process's signals, in their order. A thread takes them, so that they can be waited for with a time-out.
fn signals() -> Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGCHLD]).context("the signals cannot be taken over")?;
    let (send, receive) = channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if send.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receive)
}

struct Watched {
    rank: u32,
    child: Child,
    ended: bool,
}

/// The processes that were started. Dropped, as when one of them could not be, it leaves none behind.
#[derive(Default)]
struct Children(Vec<Watched>);

impl Children {
    fn all_ended(&self) -> bool {
        self.0.iter().all(|watched| watched.ended)
    }

    fn signal(&self, signal: i32) {
        for watched in self.0.iter().filter(|watched| !watched.ended) {
            // SAFETY: kill takes two integers. The process has not been waited for, so its number is still its own.
            unsafe { libc::kill(watched.child.id() as libc::pid_t, signal) };
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.signal(SIGKILL);
        for watched in self.0.iter_mut().filter(|watched| !watched.ended) {
            let _ = watched.child.wait();
        }
    }
}

/// What is done to those who do not end.
#[derive(Clone, Copy)]
enum Push {
    Terminate,
    Kill,
}

struct Watch<'a> {
    supervisor: &'a Supervisor,
    children: Children,
    /// The exit code.
    first_failure: Option<u8>,
    /// When a signal first asked for the end.
    asked: Option<Instant>,
    next: Option<(Instant, Push)>,
}

impl Watch<'_> {
    fn until_the_end(mut self, signals: &Receiver<i32>) -> u8 {
        while !self.children.all_ended() {
            match wait(signals, self.next.map(|(when, _)| when)) {
                Some(SIGCHLD) => self.collect(),
                Some(signal) => self.pass_on(signal),
                None => self.push(),
            }
        }
        self.first_failure.unwrap_or(0)
    }

    /// Takes note of all that have ended. Several may have, for one SIGCHLD.
    fn collect(&mut self) {
        for watched in self.children.0.iter_mut().filter(|watched| !watched.ended) {
            let Ok(Some(status)) = watched.child.try_wait() else { continue };
            watched.ended = true;
            if status.success() {
                continue;
            }
            if self.asked.is_none() || status.signal().is_some() {
                tracing::error!("rank {} (process {}) {}", watched.rank, watched.child.id(), said(status));
            }
            if self.first_failure.is_none() {
                self.first_failure = Some(code(status));
                self.next.get_or_insert((after(self.supervisor.patience), Push::Terminate));
            }
        }
    }

    fn pass_on(&mut self, signal: i32) {
        if signal != SIGUSR1 {
            match self.asked {
                None => self.asked = Some(Instant::now()),
                Some(first) if first.elapsed() < ECHO => return,
                Some(_) => {
                    tracing::warn!("asked a second time to stop: ends all processes at once");
                    return self.children.signal(SIGKILL);
                }
            }
        }
        self.children.signal(signal);
    }

    fn push(&mut self) {
        let Some((_, push)) = self.next.take() else { return };
        let late: Vec<String> =
            self.children.0.iter().filter(|watched| !watched.ended).map(|watched| watched.rank.to_string()).collect();
        let late = late.join(", ");
        match push {
            Push::Terminate => {
                tracing::error!("rank {late} did not end after the failure: sends SIGTERM");
                self.children.signal(SIGTERM);
                self.next = Some((after(self.supervisor.last_grace), Push::Kill));
            }
            Push::Kill => {
                tracing::error!("rank {late} did not end on SIGTERM: sends SIGKILL");
                self.children.signal(SIGKILL);
            }
        }
    }
}

/// The next signal, or none at the deadline.
fn wait(signals: &Receiver<i32>, deadline: Option<Instant>) -> Option<i32> {
    let left =
        deadline.map_or(Duration::from_secs(3600), |deadline| deadline.saturating_duration_since(Instant::now()));
    match signals.recv_timeout(left) {
        Ok(signal) => Some(signal),
        // Without a deadline: looks whether anybody has ended, since nothing else is due.
        Err(RecvTimeoutError::Timeout) if deadline.is_none() => Some(SIGCHLD),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
    }
}

fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    // A wait too long for the clock is one without an end.
    now.checked_add(wait).unwrap_or(now + Duration::from_secs(365 * 86_400))
}

/// As shells count.
fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128 + signal as u8,
        (None, None) => 1,
    }
}

fn said(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => {
            let name =
                signal_hook::low_level::signal_name(signal).map_or_else(String::new, |name| format!(" ({name})"));
            format!("was killed by signal {signal}{name}")
        }
        (None, None) => "ended in an unknown way".into(),
    }
}
