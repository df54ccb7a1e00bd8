//! The ranks of a run: how they meet, agree, and end together.
//!
//! Ranks meet at a TCP store on rank 0's host (or torchrun's). Beside the thread that trains, each has a watch: it says
//! that its rank is alive, looks whether the others are, and hears when one of them has failed. The first cause of a
//! failure is what every rank ends with.

mod address;
mod beats;
mod facts;
mod watch;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use mugs_compute::collective::gloo::GlooRanks;
use mugs_compute::collective::nccl::Nccl;
use mugs_compute::collective::{Collective, CollectiveError};
use mugs_compute::trainer::StepError;
use mugs_torch_ext::{StoreError, TcpStore};
use tch::{Device, Tensor};

pub use self::beats::WITH_OTHERS;
pub use self::facts::{Facts, STATE, state_digest};
pub use self::watch::Writing;
use self::watch::{Place, Watch, Whose};
use crate::launch::{Launch, Meeting};
use crate::run::Stop;

/// How often those who wait for a word of another rank look for it.
const LOOK: Duration = Duration::from_millis(20);
/// The same for a word that is long in coming: rank 0 may be packing pictures.
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// How long the others wait at most for rank 0 to write its last checkpoint.
const LONGEST_SAVE: Duration = Duration::from_secs(1800);
/// How long rank 0, where all meet, stays for the others to hear the last word.
const FAREWELL: Duration = Duration::from_secs(30);

/// This rank and the others.
pub struct Team {
    rank: usize,
    world: usize,
    others: Option<Others>,
}

struct Others {
    store: Arc<TcpStore>,
    meeting: Meeting,
    watch: Watch,
    timeout: Duration,
    several_hosts: bool,
    /// Carries what is agreed on, on CPUs.
    control: OnceLock<Arc<dyn Collective>>,
}

/// What every rank ends with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct FirstCause(String);

/// What all ranks do next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// One of them was asked to end the run.
    pub stop: Option<Stop>,
    /// One of them was asked for a checkpoint.
    pub save: bool,
    /// Bad samples of the other ranks in the step to come.
    pub dropped_elsewhere: u64,
}

impl Team {
    /// The team of a run on one rank.
    pub fn alone() -> Team {
        Team { rank: 0, world: 1, others: None }
    }

    /// Meets the others. A rank that is later than `timeout` ends the run, and so does one that does not answer for so
    /// long from now on.
    pub fn meet(launch: &Launch, timeout: Duration) -> Result<Team> {
        let [rank, world] = [launch.rank, launch.world].map(|number| number as usize);
        let Some(meeting) = launch.meeting.clone() else { return Ok(Team::alone()) };
        let serves = rank == 0 && !meeting.agent_serves;
        let connect = |serves| connect(&meeting, serves, timeout);
        let store = connect(serves).with_context(|| match serves {
            true => format!("rank 0 cannot serve the meeting place {meeting}: choose a free MASTER_PORT"),
            false => format!("rank {rank} did not find rank 0 at {meeting} within {} s", timeout.as_secs_f64()),
        })?;
        let several_hosts = launch.local_world < launch.world;
        let watched = connect(false).context("the watch over the other ranks has no connection")?;
        let place = Place {
            rank,
            world,
            host: address::host_name(),
            at: meeting.to_string(),
            served_by_agent: meeting.agent_serves,
        };
        let watch = Watch::start(watched, place, timeout)?;
        let others =
            Others { store: Arc::new(store), meeting, watch, timeout, several_hosts, control: OnceLock::new() };
        let team = Team { rank, world, others: Some(others) };
        match team.wait_for_all() {
            Ok(()) => Ok(team),
            Err(error) => {
                let cause = team.first_cause(error);
                let _ = team.leave();
                Err(cause)
            }
        }
    }

    /// This rank's number.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many ranks there are.
    pub fn world(&self) -> usize {
        self.world
    }

    /// Whether this rank speaks for all: writes the run's files, shows its progress.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Rank 0 hears that all have come, or says who has not; the others hear its word.
    fn wait_for_all(&self) -> Result<()> {
        let Some(others) = &self.others else { return Ok(()) };
        if !self.is_first() {
            return self.hear("complete").map(drop);
        }
        let begun = Instant::now();
        let missing = |others: &Others| -> Result<Vec<usize>> {
            let mut missing = Vec::new();
            for rank in 1..self.world {
                if !others.store.has(&watch::key(&format!("host/{rank}")))? {
                    missing.push(rank);
                }
            }
            Ok(missing)
        };
        while begun.elapsed() < others.timeout {
            if missing(others)?.is_empty() {
                return self.tell("complete", b"");
            }
            others.watch.check()?;
            std::thread::sleep(LOOK);
        }
        let missing = missing(others)?;
        if missing.is_empty() {
            return self.tell("complete", b"");
        }
        bail!(
            "{} did not come to {} within {} s (`--sync_timeout`)",
            facts::ranks_in_words(&missing),
            others.meeting,
            others.timeout.as_secs_f64()
        )
    }

    /// Puts a word where the other ranks hear it.
    pub fn tell(&self, key: &str, word: &[u8]) -> Result<()> {
        let Some(others) = &self.others else { return Ok(()) };
        Ok(others.store.set(&watch::key(key), word)?)
    }

    /// Waits for a word of another rank, as long as all are alive.
    pub fn hear(&self, key: &str) -> Result<Vec<u8>> {
        let Some(others) = &self.others else { bail!("nobody tells {key}") };
        let key = watch::key(key);
        let mut pause = LOOK;
        loop {
            others.watch.check()?;
            if others.store.has(&key)? {
                return Ok(others.store.get(&key, others.timeout)?);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// What rank 0 makes of `word`, told to all the others.
    pub fn from_first(&self, key: &str, word: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        if !self.is_first() {
            return self.hear(key);
        }
        let word = word()?;
        self.tell(key, &word)?;
        Ok(word)
    }

    /// Compares what must be equal on all ranks, and ends them all where it is not.
    pub fn compare(&self, facts: &Facts) -> Result<()> {
        let Some(others) = &self.others else { return Ok(()) };
        self.tell(&format!("facts/{}", self.rank), facts.to_json()?.as_bytes())?;
        let verdict = self.from_first("verdict", || {
            let mut all = vec![facts.clone()];
            for rank in 1..self.world {
                all.push(Facts::from_json(&self.hear(&format!("facts/{rank}"))?)?);
            }
            Ok(facts::differences(&all).unwrap_or_default().into_bytes())
        })?;
        let verdict = String::from_utf8_lossy(&verdict);
        if verdict.is_empty() {
            return Ok(());
        }
        others.watch.publish(&verdict);
        Err(anyhow!("{verdict}"))
    }

    /// Joins the ranks for collectives on `device`, over `backend` (auto, gloo, nccl).
    pub fn join(&self, backend: &str, device: Device) -> Result<Option<Arc<dyn Collective>>> {
        let Some(others) = &self.others else { return Ok(None) };
        let numbers = [self.rank, self.world];
        let address = address::own(&others.meeting, others.several_hosts)?;
        let prefix = watch::key("gloo");
        let control: Arc<dyn Collective> =
            Arc::new(GlooRanks::connect(&others.store, &prefix, numbers, others.timeout, &address)?);
        others.watch.abort_on_fault(&control);
        let _ = others.control.set(Arc::clone(&control));
        let on_gpus = device.is_cuda();
        let group = match (backend, on_gpus) {
            ("nccl", false) => bail!("--backend nccl is for GPUs, and this run computes on the CPU: --backend gloo"),
            ("gloo", true) => bail!("--backend gloo is for CPUs, and this run computes on a GPU: --backend nccl"),
            (_, true) => nccl(&others.store, numbers, device, others.timeout)?,
            _ => return Ok(Some(control)),
        };
        others.watch.abort_on_fault(&group);
        Ok(Some(group))
    }

    /// Agrees with the other ranks, before a step, on what is done about `stop` and `save`, and tells them about
    /// `dropped` bad samples in it.
    pub fn agree(&self, stop: Option<Stop>, save: bool, dropped: u64) -> Result<Agreed> {
        let Some(control) = self.others.as_ref().and_then(|others| others.control.get()) else {
            return Ok(Agreed { stop, save, dropped_elsewhere: 0 });
        };
        let own = [stop.map_or(0, Stop::signal).into(), i64::from(save), dropped as i64];
        let all = control.all_gather(&Tensor::from_slice(&own))?;
        let column = |index: i64| all.iter().map(move |row| row.int64_value(&[index]));
        let signal = column(0).max().unwrap_or(0);
        Ok(Agreed {
            stop: (signal > 0).then(|| Stop::of(signal as i32)),
            save: column(1).any(|asked| asked > 0),
            dropped_elsewhere: (column(2).sum::<i64>() - own[2]) as u64,
        })
    }

    /// The fault of another rank as an error, if there is one.
    pub fn check(&self) -> Result<()> {
        self.others.as_ref().map_or(Ok(()), |others| others.watch.check())
    }

    /// Says what this rank is doing, for the others to know where it is when it does not come.
    pub fn doing(&self, what: impl FnOnce() -> String) {
        if let Some(others) = &self.others {
            others.watch.doing(what());
        }
    }

    /// Says that this rank is writing a checkpoint, until what it gives goes away: it then has more time to end.
    pub fn writing(&self) -> Option<Writing> {
        self.others.as_ref().map(|others| others.watch.writing())
    }

    /// Runs `act` once another rank has failed.
    pub fn on_fault(&self, act: impl Fn() + Send + Sync + 'static) {
        if let Some(others) = &self.others {
            others.watch.on_fault(act);
        }
    }

    /// The first cause of a failure that this rank met as `error`: its own, which all ranks hear of now, or another
    /// rank's.
    pub fn first_cause(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(others) = &self.others else { return error };
        if error.chain().any(|cause| cause.is::<FirstCause>()) {
            return error;
        }
        FirstCause(others.watch.first_cause(&format!("{error:#}"), self.whose(&error))).into()
    }

    /// Which rank an error speaks of.
    fn whose(&self, error: &anyhow::Error) -> Whose {
        let of_cause = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<StepError>() {
            Some(StepError::Ranks { .. } | StepError::Backward { .. }) => Some(Whose::Another),
            // The gradients are the means over all ranks, which all meet it: the first speaks.
            Some(StepError::NonFiniteGradient { .. }) if !self.is_first() => Some(Whose::Another),
            Some(StepError::NonFinite { rank: Some(rank), .. }) if *rank != self.rank => Some(Whose::Another),
            _ => cause.is::<CollectiveError>().then_some(Whose::Another),
        };
        error.chain().find_map(of_cause).unwrap_or(Whose::Own)
    }

    /// Ends the watch. Ranks stay until rank 0 has written what it has to, so that no launcher takes their end for a
    /// reason to end it; rank 0, where all meet, until the others have gone, or are not heard of any more.
    ///
    /// # Errors
    /// Another rank failed meanwhile.
    pub fn leave(&self) -> Result<()> {
        let Some(others) = &self.others else { return Ok(()) };
        others.watch.leave(if self.is_first() { FAREWELL } else { LONGEST_SAVE });
        self.check().map_err(|cause| FirstCause(cause.to_string()).into())
    }
}

/// Connects to the store; a program that has the port and is no store must not keep a rank waiting for ever.
fn connect(meeting: &Meeting, serves: bool, timeout: Duration) -> Result<TcpStore> {
    let (host, port) = (meeting.host.clone(), meeting.port);
    let (done, connected) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("meeting".into())
        .spawn(move || drop(done.send(TcpStore::connect(&host, port, serves, timeout))))?;
    match connected.recv_timeout(timeout + Duration::from_secs(5)) {
        Ok(store) => Ok(store?),
        Err(_) => bail!("something takes connections and does not answer: is the port another program's?"),
    }
}

/// A group over NCCL, whose id goes from rank 0 to the others through the store.
fn nccl(store: &TcpStore, [rank, world]: [usize; 2], device: Device, timeout: Duration) -> Result<Arc<dyn Collective>> {
    let key = watch::key("nccl");
    let failed = |error: StoreError| CollectiveError::Failed { operation: "meeting", message: error.to_string() };
    let mut exchange = |own: Option<Vec<u8>>| match own {
        Some(id) => store.set(&key, &id).map_err(failed).map(|()| id),
        None => store.get(&key, timeout).map_err(failed),
    };
    Ok(Arc::new(Nccl::connect(rank, world, device, timeout, &mut exchange)?))
}
