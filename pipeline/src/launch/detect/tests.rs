//! Environments as launchers make them, and what is read off them.

use std::collections::HashMap;

use super::*;
use crate::launch::Meeting;

/// `"A=1 B=2"` as an environment.
fn role(environment: &str, config: RunConfig) -> Result<Role> {
    let variables: HashMap<&str, &str> =
        environment.split_whitespace().map(|set| set.split_once('=').unwrap()).collect();
    detect_in(&config, &|name| variables.get(name).map(OsString::from))
}

fn launch_with(environment: &str, config: RunConfig) -> Launch {
    match role(environment, config).unwrap() {
        Role::Rank(launch) => launch,
        Role::Supervisor { processes } => panic!("a supervisor of {processes}"),
    }
}

fn launch(environment: &str) -> Launch {
    launch_with(environment, RunConfig::default())
}

fn refused(environment: &str, config: RunConfig) -> String {
    format!("{:#}", role(environment, config).unwrap_err())
}

fn at(host: &str, port: u16) -> Option<Meeting> {
    Some(Meeting { host: host.into(), port, agent_serves: false })
}

const TORCHRUN: &str = "TORCHELASTIC_RUN_ID=none RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 GROUP_RANK=1 \
     GROUP_WORLD_SIZE=2 MASTER_ADDR=node1 MASTER_PORT=29400";
const SRUN: &str = "SLURM_JOB_ID=817 SLURM_STEP_ID=0 SLURM_PROCID=6 SLURM_NTASKS=11 SLURM_STEP_NUM_TASKS=11 \
     SLURM_LOCALID=2 SLURM_NODEID=1 SLURM_STEP_TASKS_PER_NODE=4(x2),3 SLURM_STEP_NODELIST=gnode[10,20-21]";
const OPEN_MPI: &str = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1 \
     OMPI_COMM_WORLD_LOCAL_SIZE=2 OMPI_MCA_orte_num_nodes=1 PMIX_NAMESPACE=1179254785 PMIX_RANK=1";
const HYDRA: &str = "PMI_RANK=1 PMI_SIZE=2 PMI_FD=8 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=2 HYDI_CONTROL_FD=7";
const BY_HAND: &str = "RANK=1 WORLD_SIZE=2 MASTER_ADDR=node1 MASTER_PORT=29500";

#[test]
fn torchrun_serves_the_store_itself_unless_it_says_otherwise() {
    let expected = Launch {
        rank: 5,
        world: 8,
        local_rank: 1,
        local_world: 4,
        nodes: Some(2),
        meeting: Some(Meeting { host: "node1".into(), port: 29400, agent_serves: true }),
        launcher: Launcher::Torchrun,
        processors: None,
        note: None,
    };
    assert_eq!(launch(&format!("{TORCHRUN} TORCHELASTIC_USE_AGENT_STORE=True")), expected);
    assert_eq!(launch(&format!("{TORCHRUN} TORCHELASTIC_USE_AGENT_STORE=False")).meeting, at("node1", 29400));
    // Inside a task of srun, one per node.
    let inner = format!("{TORCHRUN} SLURM_JOB_ID=1 SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2");
    assert_eq!(launch(&inner).launcher, Launcher::Torchrun);
    assert_eq!(
        refused("TORCHELASTIC_RUN_ID=none RANK=0 WORLD_SIZE=2", RunConfig::default()),
        "TORCHELASTIC_RUN_ID is set in the environment but LOCAL_RANK is not: set it too, or unset TORCHELASTIC_RUN_ID"
    );
}

#[test]
fn srun_says_it_all_but_the_port_which_follows_from_job_and_step() {
    let launched = launch(SRUN);
    assert_eq!((launched.rank, launched.world, launched.local_rank, launched.local_world), (6, 11, 2, 4));
    assert_eq!(
        (launched.nodes, &launched.meeting, launched.launcher),
        (Some(3), &at("gnode10", 20_817), Launcher::Slurm)
    );
    let sentence = "rank 6 of 11 (4 on this host), launched by Slurm (srun), meeting at gnode10:20817";
    assert_eq!(launched.to_string(), sentence);
    let changed = |from: &str, to: &str| launch(&SRUN.replace(from, to));
    assert_eq!(changed("SLURM_STEP_ID=0", "SLURM_STEP_ID=2").meeting, at("gnode10", 20_817 + 2018));
    assert_eq!(changed("SLURM_NODEID=1", "SLURM_NODEID=2").local_world, 3);
    // MASTER_ADDR and MASTER_PORT win, alone or together.
    assert_eq!(launch(&format!("{SRUN} MASTER_PORT=29500")).meeting, at("gnode10", 29500));
    assert_eq!(launch(&format!("{SRUN} MASTER_ADDR=ib0")).meeting, at("ib0", 20_817));
    let config = RunConfig { dist_url: "tcp://other:1234".into(), ..RunConfig::default() };
    assert_eq!(launch_with(SRUN, config).meeting, at("other", 1234));
    // The counts of the whole allocation do not fit a smaller step.
    let smaller = changed("SLURM_STEP_TASKS_PER_NODE=4(x2),3", "SLURM_TASKS_PER_NODE=8(x3) SLURM_NTASKS_PER_NODE=5");
    assert_eq!((smaller.local_world, smaller.nodes), (5, None));
    // As scripts for PyTorch export it.
    assert_eq!(launch(&format!("{SRUN} WORLD_SIZE=11")).world, 11);
    let wrong = SRUN.replace("gnode[10,20-21]", "gnode[10");
    assert!(refused(&wrong, RunConfig::default()).contains("the list of hosts"));
}

#[test]
fn processors_are_shared_unless_srun_gives_each_task_its_own() {
    let own = launch(&format!("{SRUN} SLURM_CPUS_PER_TASK=8"));
    assert_eq!((own.sharers_of(8), own.sharers_of(32), launch(SRUN).sharers_of(8)), (1, 4, 4));
    assert_eq!(Launch::alone().sharers(), 1);
}

#[test]
fn an_allocation_without_srun_is_one_process_and_says_so() {
    let script = "SLURM_JOB_ID=817 SLURM_NTASKS=8 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=n[1-2]";
    for environment in [script.to_owned(), format!("{script} SLURM_STEP_ID=4294967290")] {
        let launched = launch(&environment);
        assert_eq!((launched.world, launched.launcher, launched.note), (1, Launcher::Alone, Some(slurm::NOT_SRUN)));
    }
    assert_eq!(launch(""), Launch::alone());
}

#[test]
fn mpirun_of_open_mpi_wants_an_address_only_for_several_hosts() {
    let launched = launch(OPEN_MPI);
    assert_eq!((launched.rank, launched.world, launched.local_rank, launched.local_world), (1, 2, 1, 2));
    let Meeting { host, port, .. } = launched.meeting.unwrap();
    assert!(host == "127.0.0.1" && (20_000..32_000).contains(&port));
    let other = launch(&OPEN_MPI.replace("1179254785", "prterun-node1-4711@1")).meeting.unwrap();
    assert_ne!(port, other.port, "two jobs meet at two ports");
    assert_eq!(launch(&format!("{OPEN_MPI} MASTER_PORT=4000")).meeting, at("127.0.0.1", 4000));
    // Its daemons are tasks of srun, whose variables they pass on.
    assert_eq!(launch(&format!("{OPEN_MPI} {SRUN}")).launcher, Launcher::OpenMpi);
    let hosts = OPEN_MPI.replace("_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK", "_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK");
    assert_eq!(
        refused(&hosts, RunConfig::default()),
        "OMPI_COMM_WORLD_SIZE=4 but MASTER_ADDR is not set, so the processes cannot meet: start with mpirun -x \
         MASTER_ADDR=HOST, the host of rank 0"
    );
    assert_eq!(launch(&format!("{hosts} MASTER_ADDR=node1 MASTER_PORT=1")).meeting, at("node1", 1));
}

#[test]
fn hydra_names_no_job_so_its_port_must_be_given() {
    assert!(refused(HYDRA, RunConfig::default()).ends_with("start with mpiexec -genv MASTER_PORT 29500"));
    let launched = launch(&format!("{HYDRA} MASTER_PORT=29500"));
    assert_eq!((launched.local_rank, launched.local_world, launched.launcher), (1, 2, Launcher::Mpich));
    assert_eq!(launched.meeting, at("127.0.0.1", 29500));
    let mvapich = "MV2_COMM_WORLD_RANK=3 MV2_COMM_WORLD_SIZE=4 MV2_COMM_WORLD_LOCAL_RANK=1 MV2_COMM_WORLD_LOCAL_SIZE=2 \
         MASTER_ADDR=node1 MASTER_PORT=29500";
    let launched = launch(mvapich);
    assert_eq!((launched.rank, launched.local_rank, launched.meeting), (3, 1, at("node1", 29500)));
    // srun --mpi=pmi2 sets PMI_RANK too.
    assert_eq!(launch(&format!("{SRUN} PMI_RANK=6 PMI_SIZE=11")).launcher, Launcher::Slurm);
    // mpiexec inside an allocation: its proxies are tasks of srun.
    let proxies = format!("{HYDRA} MASTER_PORT=29500 SLURM_JOB_ID=8 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1");
    assert_eq!(launch(&proxies).launcher, Launcher::Mpich);
}

#[test]
fn plain_variables_are_one_process_per_host_unless_they_meet_at_the_loopback_address() {
    let launched = launch(BY_HAND);
    assert_eq!((launched.rank, launched.local_rank, launched.local_world, launched.nodes), (1, 0, 1, None));
    assert_eq!((launched.launcher, launched.meeting), (Launcher::Plain, at("node1", 29500)));
    for address in ["localhost", "127.0.0.1", "::1"] {
        let here = BY_HAND.replace("node1", address);
        assert_eq!((launch(&here).local_rank, launch(&here).local_world), (1, 2), "{address}");
        let pod = launch(&format!("{here} KUBERNETES_SERVICE_HOST=10.0.0.1"));
        assert_eq!((pod.local_rank, pod.local_world), (0, 1), "the first pod's name for itself");
    }
    let placed = launch(&format!("{BY_HAND} LOCAL_RANK=3"));
    assert_eq!((placed.local_rank, placed.local_world), (3, 4), "at least so many are there");
    let single = launch("RANK=0 WORLD_SIZE=1");
    assert_eq!((single.world, single.meeting, single.launcher), (1, None, Launcher::Plain));
    assert_eq!(launch("WORLD_SIZE=1"), Launch::alone());
}

#[test]
fn missing_halves_and_impossible_numbers_name_the_variable() {
    let default = RunConfig::default;
    for (environment, sentence) in [
        ("RANK=0", "RANK is set in the environment but WORLD_SIZE is not"),
        ("WORLD_SIZE=2", "WORLD_SIZE is set in the environment but RANK is not"),
        ("RANK=0 WORLD_SIZE=2", "WORLD_SIZE=2 but MASTER_ADDR is not set"),
        ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a", "WORLD_SIZE=2 but MASTER_PORT is not set"),
        ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=70000", "MASTER_PORT=70000 is no port"),
        ("RANK=2 WORLD_SIZE=2", "RANK=2 is not below WORLD_SIZE=2"),
        ("RANK=one WORLD_SIZE=2", "RANK=one in the environment is no whole number"),
        ("RANK=-1 WORLD_SIZE=2", "RANK=-1 in the environment is no whole number"),
        ("RANK=0 WORLD_SIZE=0", "WORLD_SIZE=0: there is at least one process"),
        ("RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2", "LOCAL_WORLD_SIZE is set in the environment but LOCAL_RANK is not"),
        ("RANK=0 WORLD_SIZE=2 LOCAL_RANK=2 LOCAL_WORLD_SIZE=2", "LOCAL_RANK=2 is not below LOCAL_WORLD_SIZE=2"),
        ("RANK=0 WORLD_SIZE=2 LOCAL_RANK=2 LOCAL_WORLD_SIZE=3", "LOCAL_WORLD_SIZE=3 is more than WORLD_SIZE=2"),
        ("OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_RANK is set in the environment but OMPI_COMM_WORLD_SIZE is not"),
        ("SLURM_STEP_ID=0", "SLURM_STEP_ID is set in the environment but SLURM_PROCID is not"),
        ("PMI_RANK=0", "PMI_RANK is set in the environment but PMI_SIZE is not"),
    ] {
        let error = refused(environment, default());
        assert!(error.contains(sentence), "{environment}: {error}");
    }
    for (environment, sentence) in [
        (format!("{SRUN} RANK=0"), "RANK=0 contradicts SLURM_PROCID=6: unset RANK"),
        (format!("{SRUN} WORLD_SIZE=4"), "WORLD_SIZE=4 contradicts SLURM_STEP_NUM_TASKS=11: unset WORLD_SIZE"),
        (format!("{SRUN} SLURM_STEP_TASKS_PER_NODE=4(x2"), "SLURM_STEP_TASKS_PER_NODE=4(x2 in the environment"),
    ] {
        let error = refused(&environment, default());
        assert!(error.contains(sentence), "{environment}: {error}");
    }
}

#[test]
fn options_start_ranks_by_hand_and_may_not_contradict_a_launcher() {
    let default = RunConfig::default;
    let by_hand = RunConfig { world_size: 2, rank: 1, dist_url: "tcp://node1:4000".into(), ..default() };
    let launched = launch_with("", by_hand.clone());
    assert_eq!((launched.rank, launched.world, launched.local_rank, launched.local_world), (1, 2, 0, 1));
    assert_eq!((launched.launcher, launched.meeting), (Launcher::Options, at("node1", 4000)));
    let here = RunConfig { dist_url: "tcp://127.0.0.1:4000".into(), ..by_hand.clone() };
    assert_eq!((launch_with("", here.clone()).local_rank, launch_with("", here).local_world), (1, 2));
    // In a shell of srun --pty.
    let shell = "SLURM_JOB_ID=1 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1";
    assert_eq!(launch_with(shell, by_hand.clone()).launcher, Launcher::Options);
    assert_eq!(launch(&format!("{shell} {BY_HAND}")).launcher, Launcher::Plain);
    assert_eq!(launch_with("", RunConfig { world_size: 1, ..default() }), Launch::alone());
    // The published help gives the launcher's own numbers again; old launchers give --local_rank.
    let same = RunConfig { world_size: 2, rank: 1, ..default() };
    assert_eq!(launch_with(BY_HAND, same.clone()).rank, 1);
    for (environment, config, sentence) in [
        ("", RunConfig { rank: 1, ..default() }, "--rank 1 is one of several processes, but nothing says how many"),
        ("", RunConfig { world_size: 2, rank: 2, ..default() }, "--rank 2 is not below --world_size 2"),
        ("", same, "--world_size 2 but MASTER_ADDR is not set, so the processes cannot meet: give --dist_url tcp://"),
        (
            BY_HAND,
            RunConfig { world_size: 3, ..default() },
            "--world_size 3 contradicts WORLD_SIZE=2: leave out --world_size",
        ),
        (TORCHRUN, RunConfig { rank: 1, ..default() }, "--rank 1 contradicts RANK=5: leave out --rank"),
        (TORCHRUN, RunConfig { local_rank: 2, ..default() }, "--local_rank 2 contradicts LOCAL_RANK=1"),
        (
            BY_HAND,
            by_hand,
            "--dist_url tcp://node1:4000 and MASTER_ADDR=node1 MASTER_PORT=29500 in the environment are two",
        ),
    ] {
        let error = refused(environment, config);
        assert!(error.contains(sentence), "{environment}: {error}");
    }
}

#[test]
fn nproc_supervises_unless_several_processes_are_there_already() {
    let nproc = |nproc| RunConfig { nproc, ..RunConfig::default() };
    assert_eq!(role("", nproc(4)).unwrap(), Role::Supervisor { processes: 4 });
    assert_eq!(launch_with("", nproc(1)), Launch::alone());
    // A container or a shell with one task.
    for one in ["SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_JOB_ID=1", "RANK=0 WORLD_SIZE=1"] {
        assert_eq!(role(one, nproc(2)).unwrap(), Role::Supervisor { processes: 2 });
    }
    for (environment, launcher) in [(TORCHRUN, "torchrun"), (SRUN, "Slurm (srun)"), (OPEN_MPI, "Open MPI (mpirun)")] {
        let error = refused(environment, nproc(2));
        assert!(error.contains(&format!("--nproc 2 starts processes, but {launcher} has started this one")), "{error}");
    }
    for (config, option) in [
        (RunConfig { world_size: 8, ..nproc(2) }, "--world_size 8"),
        (RunConfig { rank: 1, ..nproc(2) }, "--rank 1"),
        (RunConfig { dist_url: "tcp://a:1".into(), ..nproc(2) }, "--dist_url tcp://a:1"),
    ] {
        assert!(refused("", config).contains(&format!("leave {option} out")));
    }
    assert!(refused("", nproc(5000)).contains("at most 1024"));
    // Its children have the same options, and the supervisor's variables.
    let child = format!("MUGS_SUPERVISED_BY=4711 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 {BY_HAND}");
    let launched = launch_with(&child, nproc(2));
    assert_eq!((launched.rank, launched.local_world, launched.launcher), (1, 2, Launcher::Nproc));
    let inner = format!("{child} SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_JOB_ID=1");
    assert_eq!(launch_with(&inner, nproc(2)).launcher, Launcher::Nproc);
}
