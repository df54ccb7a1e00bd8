//! What each launcher tells the processes that it starts.

use anyhow::Result;

use super::environment::{Environment, Said};
use super::{Launcher, SUPERVISED, meeting, slurm};

/// What a launcher says of this process, not yet looked over.
pub(super) struct Found {
    pub launcher: Launcher,
    pub rank: Said,
    pub world: Said,
    pub local_rank: Option<Said>,
    pub local_world: Option<Said>,
    pub nodes: Option<u32>,
    /// The host of rank 0, if MASTER_ADDR does not say it.
    pub host: Option<String>,
    /// Gives the port, if MASTER_PORT does not: the same for all processes of a launch.
    pub port_seed: Option<u64>,
    pub agent_serves: bool,
    pub processors: Option<usize>,
}

impl Found {
    pub fn new(launcher: Launcher, rank: Said, world: Said) -> Self {
        Self {
            launcher,
            rank,
            world,
            local_rank: None,
            local_world: None,
            nodes: None,
            host: None,
            port_seed: None,
            agent_serves: false,
            processors: None,
        }
    }
}

/// Our supervisor.
pub(super) fn nproc(environment: &Environment<'_>) -> Result<Option<Found>> {
    if environment.is_set(SUPERVISED) { torch(Launcher::Nproc, SUPERVISED, environment).map(Some) } else { Ok(None) }
}

/// The launcher that is nearest to this process. One may run inside another: torchrun or mpirun inside a task of
/// srun, a shell inside `srun --pty`. A launch of one process says nothing, and leaves the word to the next.
pub(super) fn nearest(environment: &Environment<'_>) -> Result<Option<Found>> {
    let mut single = None;
    for find in [torchrun, open_mpi, mpich, slurm::step, plain] {
        match find(environment)? {
            Some(found) if found.world.value == 1 => single = single.or(Some(found)),
            Some(found) => return Ok(Some(found)),
            None => (),
        }
    }
    Ok(single)
}

fn torchrun(environment: &Environment<'_>) -> Result<Option<Found>> {
    const MARK: &str = "TORCHELASTIC_RUN_ID";
    if !environment.is_set(MARK) {
        return Ok(None);
    }
    let mut found = torch(Launcher::Torchrun, MARK, environment)?;
    found.agent_serves = environment.text("TORCHELASTIC_USE_AGENT_STORE")?.as_deref() == Some("True");
    found.nodes = environment.number("GROUP_WORLD_SIZE")?.map(|said| said.value);
    Ok(Some(found))
}

/// The variables that torchrun made the custom, all of them.
fn torch(launcher: Launcher, mark: &str, environment: &Environment<'_>) -> Result<Found> {
    let number = |name| environment.needed(name, mark);
    let mut found = Found::new(launcher, number("RANK")?, number("WORLD_SIZE")?);
    found.local_rank = Some(number("LOCAL_RANK")?);
    found.local_world = Some(number("LOCAL_WORLD_SIZE")?);
    Ok(found)
}

fn open_mpi(environment: &Environment<'_>) -> Result<Option<Found>> {
    let Some(rank) = environment.number("OMPI_COMM_WORLD_RANK")? else { return Ok(None) };
    let world = environment.needed("OMPI_COMM_WORLD_SIZE", rank.name)?;
    let mut found = Found::new(Launcher::OpenMpi, rank, world);
    found.local_rank = Some(environment.needed("OMPI_COMM_WORLD_LOCAL_RANK", rank.name)?);
    found.local_world = Some(environment.needed("OMPI_COMM_WORLD_LOCAL_SIZE", rank.name)?);
    found.nodes = environment.number("OMPI_MCA_orte_num_nodes")?.map(|said| said.value);
    // The job's name: of release 4 a number, of release 5 the mpirun's host and process.
    let job = environment.first_text(&["PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_ess_jobid"])?;
    found.port_seed = job.as_deref().map(meeting::seed_of);
    Ok(Some(found))
}

fn mpich(environment: &Environment<'_>) -> Result<Option<Found>> {
    let Some(rank) = environment.first_number(&["PMI_RANK", "MV2_COMM_WORLD_RANK"])? else { return Ok(None) };
    let size = if rank.name == "PMI_RANK" { "PMI_SIZE" } else { "MV2_COMM_WORLD_SIZE" };
    let world = environment.needed(size, rank.name)?;
    // srun --mpi=pmi2 sets the same two beside its own, which say more.
    let of_srun = slurm::step(environment)?;
    if of_srun.is_some_and(|srun| (srun.rank.value, srun.world.value) == (rank.value, world.value)) {
        return Ok(None);
    }
    let mut found = Found::new(Launcher::Mpich, rank, world);
    found.local_rank = environment.first_number(&["MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK"])?;
    found.local_world = environment.first_number(&["MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE"])?;
    Ok(Some(found))
}

/// RANK and WORLD_SIZE set by hand, by a script, or by Kubeflow.
fn plain(environment: &Environment<'_>) -> Result<Option<Found>> {
    let (rank, world) = (environment.number("RANK")?, environment.number("WORLD_SIZE")?);
    let (rank, world) = match (rank, world) {
        (None, None) => return Ok(None),
        // Scripts for other programs leave it behind; one process is what there is anyway.
        (None, Some(world)) if world.value == 1 => return Ok(None),
        (Some(rank), None) => (rank, environment.needed("WORLD_SIZE", rank.name)?),
        (None, Some(world)) => (environment.needed("RANK", world.name)?, world),
        (Some(rank), Some(world)) => (rank, world),
    };
    let mut found = Found::new(Launcher::Plain, rank, world);
    found.local_rank = environment.number("LOCAL_RANK")?;
    found.local_world = environment.number("LOCAL_WORLD_SIZE")?;
    if let Some(here) = found.local_world.filter(|here| here.value > 1) {
        found.local_rank = Some(environment.needed("LOCAL_RANK", here.name)?);
    }
    // Ranks that meet at the loopback address are all here. In a pod it may also be the first pod's name for itself.
    let address = environment.text("MASTER_ADDR")?;
    if address.as_deref().is_some_and(is_loopback) && !environment.is_set("KUBERNETES_SERVICE_HOST") {
        all_here(&mut found);
    }
    Ok(Some(found))
}

/// Where nothing else is said: all processes are on this host.
pub(super) fn all_here(found: &mut Found) {
    found.local_rank = found.local_rank.or(Some(found.rank));
    found.local_world = found.local_world.or(Some(found.world));
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
