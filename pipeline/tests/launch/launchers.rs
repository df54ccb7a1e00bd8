//! The launchers that this machine has, each starting two processes that say what they take themselves for.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use mugs_pipeline::config::RunConfig;
use mugs_pipeline::launch::{Role, detect};
use mugs_test_support::{checkout, skip};

/// Not a test by itself: what the launchers start, which is this binary with these arguments.
#[test]
fn launched_process() {
    let Some(folder) = std::env::var_os("TEST_LAUNCHED") else { return };
    let said = match detect(&RunConfig::default()) {
        Ok(Role::Rank(launch)) => format!("{launch:?}\n{launch}"),
        other => format!("{other:?}"),
    };
    let path = PathBuf::from(folder).join(std::process::id().to_string());
    std::fs::write(path, said).unwrap();
}

const ARGUMENTS: [&str; 4] = ["launchers::launched_process", "--exact", "--nocapture", "--quiet"];

/// What each of the processes said that `launcher` started with these arguments, in the order of their ranks.
fn launched(launcher: &str, arguments: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(launcher)
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(ARGUMENTS)
        .env("TEST_LAUNCHED", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{launcher}: {}", String::from_utf8_lossy(&output.stderr));
    let mut said: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    said.sort_unstable();
    said
}

/// The Python of the set-up, if its torch can be imported (the full wheels).
fn python() -> Option<String> {
    let python = checkout().join(".libtorch/venv/bin/python").to_str()?.to_owned();
    let can = Command::new(&python).args(["-c", "import torch.distributed.run"]).stderr(Stdio::null()).status();
    can.is_ok_and(|status| status.success()).then_some(python)
}

#[test]
fn torchrun_and_its_older_form_are_recognised() {
    let Some(python) = python() else {
        return skip("torchrun", "Python's torch is not there (CUDA=1 scripts/setup.sh has it)");
    };
    // Standalone: an agent of its own on a free port, so that tests may run beside each other.
    let new = ["-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc_per_node", "2"];
    let old = ["-m", "torch.distributed.launch", "--standalone", "--use_env", "--no_python", "--nproc_per_node", "2"];
    for arguments in [&new[..], &old[..]] {
        let said = launched(&python, arguments);
        assert_eq!(said.len(), 2, "{said:?}");
        for (rank, said) in said.iter().enumerate() {
            for part in [
                &format!("rank: {rank}, world: 2, local_rank: {rank}, local_world: 2, nodes: Some(1)"),
                "agent_serves: true",
                &format!("\nrank {rank} of 2 (2 on this host), launched by torchrun, meeting at "),
            ] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }
}

/// Whether a program is on PATH, and says that it is of this make.
fn is_there(program: &str, make: &str) -> bool {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(make))
}

#[test]
fn mpirun_of_open_mpi_is_recognised_where_there_is_one() {
    let Some(program) = ["mpirun.openmpi", "mpirun"].into_iter().find(|name| is_there(name, "Open MPI")) else {
        return println!("no mpirun of Open MPI here");
    };
    let said = launched(program, &["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]);
    assert_eq!(said.len(), 2, "{said:?}");
    let place = |said: &str| said.split("meeting at ").nth(1).unwrap().to_owned();
    assert_eq!(place(&said[0]), place(&said[1]));
    for (rank, said) in said.iter().enumerate() {
        let sentence =
            format!("\nrank {rank} of 2 (2 on this host), launched by Open MPI (mpirun), meeting at 127.0.0.1:");
        assert!(said.contains(&sentence), "{said}");
    }
}

#[test]
fn mpiexec_of_mpich_is_recognised_where_there_is_one() {
    let Some(program) = ["mpiexec.hydra", "mpiexec"].into_iter().find(|name| is_there(name, "HYDRA")) else {
        return println!("no mpiexec of MPICH here");
    };
    let said = launched(program, &["-n", "2", "-genv", "MASTER_PORT", "29500"]);
    assert_eq!(said.len(), 2, "{said:?}");
    for (rank, said) in said.iter().enumerate() {
        let sentence =
            format!("\nrank {rank} of 2 (2 on this host), launched by MPICH (mpiexec), meeting at 127.0.0.1:29500");
        assert!(said.contains(&sentence), "{said}");
    }
}
