//! Launch: which of how many processes this one is, and where they meet.
//!
//! ```no_run
//! # use mugs_pipeline::config::RunConfig;
//! # use mugs_pipeline::launch::{self, Role};
//! # fn train(config: &RunConfig) -> anyhow::Result<std::process::ExitCode> {
//! let launch = match launch::detect(config)? {
//!     Role::Supervisor { processes } => return launch::local::supervise(processes, config.sync_timeout),
//!     Role::Rank(launch) => launch,
//! };
//! launch.announce();
//! tch::set_num_threads(i32::try_from(config.step_threads_on(launch.sharers()))?);
//! if let Some(meeting) = &launch.meeting {
//!     // Rank 0 serves the store at meeting.host:meeting.port, unless meeting.agent_serves; all others are clients.
//! }
//! # Ok(std::process::ExitCode::SUCCESS)
//! # }
//! ```

mod detect;
mod environment;
mod gpus;
pub mod hosts;
mod launchers;
pub mod local;
mod meeting;
mod share;
mod slurm;

use std::fmt;

pub use self::detect::{Role, detect, detect_in};
pub use self::gpus::{PER_GPU, processes};
pub use self::meeting::{Meeting, check_url};
pub use self::share::fair_share;
pub(crate) use self::share::processors;

/// Set by our supervisor in its children, to its process number.
pub(crate) const SUPERVISED: &str = "MUGS_SUPERVISED_BY";

/// What started this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// `torchrun`, or `python -m torch.distributed.launch --use_env`.
    Torchrun,
    /// Our own supervisor, `--nproc`.
    Nproc,
    /// `srun`.
    Slurm,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpiexec` of MPICH, Intel MPI or MVAPICH (Hydra).
    Mpich,
    /// Somebody who sets RANK and WORLD_SIZE: Kubeflow's PyTorchJob, a script, a person.
    Plain,
    /// `--world_size`, `--rank` and `--dist_url`.
    Options,
    /// Nobody: one process.
    Alone,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchrun => "torchrun",
            Self::Nproc => "--nproc",
            Self::Slurm => "Slurm (srun)",
            Self::OpenMpi => "Open MPI (mpirun)",
            Self::Mpich => "MPICH (mpiexec)",
            Self::Plain => "RANK and WORLD_SIZE",
            Self::Options => "--rank and --world_size",
            Self::Alone => "nothing",
        })
    }
}

/// This process among those that train together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Number of this process, from 0.
    pub rank: u32,
    /// Number of processes, at least 1.
    pub world: u32,
    /// Number of this process among those of its host, from 0.
    pub local_rank: u32,
    /// Processes on this host, at least 1. Where no launcher says it: as many as are known to be there.
    pub local_world: u32,
    /// Number of hosts, where the launcher says it.
    pub nodes: Option<u32>,
    /// Where the processes meet; none if there is only one.
    pub meeting: Option<Meeting>,
    /// What started it.
    pub launcher: Launcher,
    /// Processors that the launcher gives each process, where it says so.
    pub processors: Option<usize>,
    /// Something about the launch that its user may not expect.
    pub note: Option<&'static str>,
}

impl Launch {
    /// One process that nobody launched.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            world: 1,
            local_rank: 0,
            local_world: 1,
            nodes: None,
            meeting: None,
            launcher: Launcher::Alone,
            processors: None,
            note: None,
        }
    }

    /// How many processes share the processors that this one may use: those of this host, or this one alone where the
    /// launcher has bound it to processors of its own. To be given to [`RunConfig::step_threads_on`] and `workers_on`.
    ///
    /// [`RunConfig::step_threads_on`]: crate::config::RunConfig::step_threads_on
    pub fn sharers(&self) -> u32 {
        self.sharers_of(processors())
    }

    fn sharers_of(&self, usable: usize) -> u32 {
        if self.processors.is_some_and(|own| usable <= own) { 1 } else { self.local_world }
    }

    /// Logs what was detected: on rank 0, and not at all for one process that nobody launched.
    pub fn announce(&self) {
        if self.rank > 0 {
            return;
        }
        if let Some(note) = self.note {
            tracing::info!("{note}");
        }
        if self.launcher != Launcher::Alone {
            tracing::info!("{self}");
        }
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, world, local_world, launcher, .. } = self;
        write!(f, "rank {rank} of {world} ({local_world} on this host), launched by {launcher}")?;
        match &self.meeting {
            Some(meeting) => write!(f, ", meeting at {meeting}"),
            None => Ok(()),
        }
    }
}
