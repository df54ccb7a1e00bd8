//! The examples for Slurm, Kubernetes and Compose: parsed, run with stand-ins where that is possible, and what they set
//! given to the code that reads it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mugs_pipeline::config::RunConfig;
use mugs_pipeline::launch::{Launch, Launcher, Role, detect_in};
use mugs_test_support::checkout;
use serde_json::Value;
use tempfile::TempDir;

use crate::commands::{bash_reads_file, calls, configuration, read};

/// What the published run of the recipe in the examples learns from in a step.
const PUBLISHED_BATCH: u64 = 512;

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Pictures of a step of so many ranks.
fn batch(config: RunConfig, world: u32) -> u64 {
    config.on(&Launch { world, ..Launch::alone() }).global_batch()
}

/// What a process with these variables is.
fn launch(variables: &HashMap<String, String>, config: &RunConfig) -> Launch {
    match detect_in(config, &|name| variables.get(name).map(OsString::from)).unwrap() {
        Role::Rank(launch) => launch,
        Role::Supervisor { .. } => panic!("a supervisor"),
    }
}

#[test]
fn compose_starts_two_ranks_that_meet_at_the_first() {
    let file = yaml("examples/compose.yaml");
    let services = file["services"].as_object().unwrap();
    let world = services.len();
    let mut ranks = Vec::new();
    for (name, service) in services {
        let config = configuration(&strings(&service["command"])).unwrap();
        assert!(config.data_path.starts_with("/data/") && config.output_dir.starts_with("/data/"), "{name}");
        let variables = service["environment"].as_object().unwrap();
        let variables = variables.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().into())).collect();
        let launch = launch(&variables, &config);
        assert_eq!((launch.world as usize, launch.launcher, launch.local_world), (world, Launcher::Plain, 1), "{name}");
        let meeting = launch.meeting.unwrap();
        assert!(services.contains_key(&meeting.host), "{meeting}");
        // Whoever is met there is rank 0.
        assert_eq!(launch.rank == 0, *name == meeting.host, "{name}");
        assert_eq!(strings(&service["networks"]), ["ranks"]);
        assert_eq!(service["build"]["dockerfile"], "examples/Dockerfile");
        ranks.push(launch.rank);
    }
    ranks.sort_unstable();
    assert_eq!(ranks, [0, 1]);
    assert!(file["networks"].as_object().unwrap().contains_key("ranks"));
}

#[test]
fn the_pytorch_job_has_one_process_per_pod_and_the_published_batch() {
    let job = yaml("examples/kubernetes.yaml");
    assert_eq!((&job["apiVersion"], &job["kind"]), (&"kubeflow.org/v1".into(), &"PyTorchJob".into()));
    let replicas = job["spec"]["pytorchReplicaSpecs"].as_object().unwrap();
    assert_eq!(replicas["Master"]["replicas"], 1, "the operator wants one");
    let world: u64 = replicas.values().map(|replica| replica["replicas"].as_u64().unwrap()).sum();
    let name = job["metadata"]["name"].as_str().unwrap();
    for (rank, replica) in [(0, &replicas["Master"]), (world - 1, &replicas["Worker"])] {
        let pod = &replica["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["name"], "pytorch", "the operator sets its variables in the container of this name alone");
        assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], 1);
        assert_eq!(container["volumeMounts"][0]["name"], pod["volumes"][0]["name"]);
        let config = configuration(&strings(&container["command"])).unwrap();
        assert_eq!(batch(config.clone(), world as u32), PUBLISHED_BATCH);
        // What the operator sets.
        let variables = HashMap::from([
            ("RANK".into(), rank.to_string()),
            ("WORLD_SIZE".into(), world.to_string()),
            ("MASTER_ADDR".into(), format!("{name}-master-0")),
            ("MASTER_PORT".into(), "23456".into()),
            ("KUBERNETES_SERVICE_HOST".into(), "10.0.0.1".into()),
            ("PYTHONUNBUFFERED".into(), "1".into()),
        ]);
        let launch = launch(&variables, &config);
        assert_eq!((launch.rank, launch.world, launch.local_rank), (rank as u32, world as u32, 0));
        assert_eq!(launch.meeting.unwrap().to_string(), "mugs-master-0:23456");
    }
}

/// `#SBATCH --name=value`.
fn sbatch_options(script: &str) -> HashMap<&str, &str> {
    let options = script.lines().filter_map(|line| line.strip_prefix("#SBATCH --"));
    options.map(|option| option.split_once('=').unwrap_or((option, ""))).collect()
}

#[test]
fn the_slurm_script_asks_for_a_task_per_gpu_and_the_published_batch() {
    let script = read("examples/slurm.sbatch");
    bash_reads_file(&checkout().join("examples/slurm.sbatch"), "examples/slurm.sbatch");
    let options = sbatch_options(&script);
    assert_eq!(options["ntasks-per-node"], options["gpus-per-node"]);
    assert!(options.contains_key("requeue") && options["open-mode"] == "append");
    assert_eq!(options["signal"], "B:USR1@300");
    let calls = calls(&script);
    assert_eq!(calls.len(), 1);
    let number = |name: &str| options[name].parse::<u32>().unwrap();
    let ranks = number("nodes") * number("ntasks-per-node");
    assert_eq!(batch(configuration(&calls[0]).unwrap(), ranks), PUBLISHED_BATCH);
}

/// The job script with stand-ins for Slurm's commands, which note in the folder how they were called. They are files of
/// the checkout: one that this process had just written could not be run while a child of another thread has it open.
fn job(folder: &TempDir) -> Command {
    let mut path = checkout().join("pipeline/tests/launch/slurm").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut job = Command::new("bash");
    job.arg(checkout().join("examples/slurm.sbatch")).current_dir(folder.path()).env("PATH", path);
    job.env("SLURM_JOB_ID", "817").env("SLURM_CPUS_PER_TASK", "12").stdin(Stdio::null()).stdout(Stdio::null());
    job
}

#[test]
fn the_slurm_script_stops_the_ranks_when_time_is_up_and_goes_back_into_the_queue() {
    // The ranks may also end while the script still waits for the command that has asked them to.
    for scancel_seconds in ["0", "0.3"] {
        let folder = TempDir::new().unwrap();
        let mut script = job(&folder).env("SCANCEL_SECONDS", scancel_seconds).spawn().unwrap();
        let start = Instant::now();
        while std::fs::read_to_string(folder.path().join("rank")).unwrap_or_default().trim().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60), "the rank does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        let sent = Command::new("kill").args(["-USR1", &script.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(script.wait().unwrap().code(), Some(143), "{scancel_seconds}");
        let notes = std::fs::read_to_string(folder.path().join("notes")).unwrap();
        let notes: Vec<&str> = notes.lines().collect();
        assert!(notes[0].starts_with("srun --kill-on-bad-exit=0 --cpus-per-task=12 mugs-pipeline train "), "{notes:?}");
        let mut rest = notes[1..].to_vec();
        assert_eq!(rest.pop(), Some("scontrol requeue 817"), "the last of all");
        rest.sort_unstable();
        assert_eq!(rest, ["checkpoint", "scancel --signal=TERM 817"]);
    }
}

#[test]
fn the_slurm_script_ends_for_good_with_the_code_of_the_ranks() {
    for code in ["0", "1"] {
        let folder = TempDir::new().unwrap();
        let ended = job(&folder).env("SRUN_CODE", code).status().unwrap();
        assert_eq!(ended.code().unwrap().to_string(), code);
        let notes = std::fs::read_to_string(folder.path().join("notes")).unwrap();
        assert!(!notes.contains("requeue"), "{notes}");
    }
}
