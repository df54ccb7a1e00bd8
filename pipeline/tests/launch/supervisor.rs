//! The supervisor of `--nproc` with real processes: shell scripts in the place of ranks.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mugs_pipeline::launch::local::Supervisor;
use tempfile::TempDir;

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// Not a test by itself: the supervising process of the others, which start this binary again with these variables.
#[test]
fn supervising_process() {
    let Some(script) = std::env::var_os("TEST_SCRIPT") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u32>().unwrap();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let supervisor = Supervisor {
        program: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".into(), script],
        processes: number("TEST_PROCESSES"),
        patience: Duration::from_millis(number("TEST_PATIENCE").into()),
        last_grace: Duration::from_secs(5),
    };
    std::process::exit(supervisor.run().unwrap().into());
}

/// A supervisor of some scripts in a folder of their own.
struct Lab {
    folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn start(&self, processes: u32, patience: Duration, script: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["supervisor::supervising_process", "--exact", "--nocapture", "--quiet"])
            .env("TEST_SCRIPT", script)
            .env("TEST_PROCESSES", processes.to_string())
            .env("TEST_PATIENCE", patience.as_millis().to_string())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, as a shell gives a job.
            .process_group(0)
            .spawn()
            .unwrap()
    }

    fn run(&self, processes: u32, patience: Duration, script: &str) -> (Option<i32>, String) {
        finish(self.start(processes, patience, script))
    }

    fn read(&self, name: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Waits until each rank has written `wanted` to its file.
    fn until(&self, ranks: u32, wanted: &str) {
        wait_for(wanted, || (0..ranks).all(|rank| self.read(rank.to_string()).contains(wanted)));
    }
}

fn finish(child: Child) -> (Option<i32>, String) {
    let group = format!("-{}", child.id());
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output().unwrap()));
    let Ok(Output { status, stdout, stderr }) = ended.recv_timeout(LIMIT) else {
        signal("KILL", &group);
        panic!("a supervisor or what it has started does not end");
    };
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < LIMIT, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a process, or with a minus to its whole group.
fn signal(name: &str, to: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), "--", to]).status().unwrap().success());
}

/// Notes the signals that it gets in the file of its rank, and ends on SIGTERM and SIGINT as a rank does.
const PATIENT: &str = "trap 'echo usr1 >>$RANK' USR1; trap 'echo term >>$RANK; exit 143' TERM
    trap 'echo int >>$RANK; exit 130' INT; echo $$ ready >>$RANK; while :; do sleep 0.05; done";

#[test]
fn each_process_is_told_its_place_and_the_same_port() {
    let lab = Lab::new();
    let script = "echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR >$RANK
        echo $MASTER_PORT $MUGS_SUPERVISED_BY $PPID >>ports; echo a line of rank $RANK";
    let (code, said) = lab.run(3, LIMIT, script);
    assert_eq!(code, Some(0), "{said}");
    for rank in 0..3 {
        assert_eq!(lab.read(rank.to_string()), format!("{rank} {rank} 3 3 127.0.0.1\n"));
        assert!(said.contains(&format!("a line of rank {rank}")), "{said}");
    }
    let ports = lab.read("ports");
    let mut lines: Vec<Vec<u32>> =
        ports.lines().map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect()).collect();
    lines.dedup();
    assert_eq!(lines.len(), 1, "{ports}");
    assert!((20_000..32_000).contains(&lines[0][0]), "{ports}");
    assert_eq!(lines[0][1], lines[0][2], "the mark is the supervisor's number");
    assert!(
        said.contains(&format!("starts 3 processes on this host, which meet at 127.0.0.1:{}", lines[0][0])),
        "{said}"
    );
}

#[test]
fn the_first_failure_gives_the_exit_code_and_those_who_stay_are_ended() {
    let lab = Lab::new();
    // Rank 0 ends on SIGTERM, rank 2 only on SIGKILL.
    let script = "case $RANK in 1) until [ -e 0 -a -e 2 ]; do sleep 0.02; done; exit 3;; 2) trap '' TERM;; esac
        echo $$ >$RANK; while :; do sleep 0.05; done";
    let (code, said) = lab.run(3, Duration::from_millis(300), script);
    assert_eq!(code, Some(3), "{said}");
    for sentence in [
        "ended with exit code 3",
        "rank 0, 2 did not end after the failure: sends SIGTERM",
        "was killed by signal 15 (SIGTERM)",
        "rank 2 did not end on SIGTERM: sends SIGKILL",
        "was killed by signal 9 (SIGKILL)",
    ] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
    assert!(said.find("exit code 3") < said.find("did not end after"), "{said}");
}

#[test]
fn those_who_end_by_themselves_after_a_failure_are_not_hurried() {
    let lab = Lab::new();
    // Rank 0 fails too, once the supervisor has taken note of rank 1: a process waited for is no more.
    let script = "[ $RANK = 1 ] && { echo $$ >1; exit 4; }
        until [ -s 1 ] && ! kill -0 $(cat 1) 2>/dev/null; do sleep 0.02; done; echo done >0; exit 5";
    let (code, said) = lab.run(2, LIMIT, script);
    assert_eq!((code, lab.read("0").trim()), (Some(4), "done"), "{said}");
    assert!(!said.contains("SIGTERM"), "{said}");
}

#[test]
fn a_killed_process_is_named_with_its_signal() {
    let lab = Lab::new();
    let (code, said) = lab.run(2, Duration::from_millis(200), "echo $$ >$RANK; [ $RANK = 1 ] && kill -9 $$; sleep 0.1");
    assert_eq!(code, Some(137), "{said}");
    let sentence = format!("rank 1 (process {}) was killed by signal 9 (SIGKILL)", lab.read("1").trim());
    assert!(said.contains(&sentence), "{said}");
}

#[test]
fn signals_are_passed_on_once_each() {
    for (name, noted, code) in [("TERM", "term", 143), ("INT", "int", 130)] {
        let lab = Lab::new();
        let supervisor = lab.start(2, LIMIT, PATIENT);
        let pid = supervisor.id().to_string();
        lab.until(2, "ready");
        signal("USR1", &pid);
        lab.until(2, "usr1");
        // To the group, as Ctrl-C in a terminal, and once more, as from a scheduler that signals everybody.
        let sent = Command::new("kill").args([&format!("-{name}"), "--", &format!("-{pid}"), &pid]).status();
        assert!(sent.is_ok());
        let (ended, said) = finish(supervisor);
        assert_eq!(ended, Some(code), "{said}");
        for rank in 0..2 {
            let noted_there = lab.read(rank.to_string());
            let lines: Vec<&str> = noted_there.lines().skip(1).collect();
            assert_eq!(lines, ["usr1", noted], "rank {rank}");
        }
        assert!(!said.contains("exit code"), "an end that was asked for is no failure: {said}");
    }
}

#[test]
fn asked_twice_it_ends_all_at_once() {
    let lab = Lab::new();
    let mut supervisor = lab.start(2, LIMIT, "trap '' TERM INT; echo ready >$RANK; while :; do sleep 0.05; done");
    let pid = supervisor.id().to_string();
    lab.until(2, "ready");
    signal("TERM", &pid);
    // A second signal soon after the first is taken for the same wish, and on a busy machine both may be seen late.
    let (mut sent, begun) = (Instant::now(), Instant::now());
    while supervisor.try_wait().unwrap().is_none() && begun.elapsed() < LIMIT {
        if sent.elapsed() >= Duration::from_millis(1500) {
            signal("INT", &pid);
            sent = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (code, said) = finish(supervisor);
    assert_eq!(code, Some(137), "{said}");
    assert!(said.contains("asked a second time to stop: ends all processes at once"), "{said}");
}

#[test]
fn a_killed_supervisor_leaves_no_orphan() {
    let lab = Lab::new();
    // Not even one that is stopped and one that answers no signal.
    let supervisor = lab.start(3, LIMIT, "trap '' TERM INT HUP; echo $$ ready >$RANK; while :; do sleep 0.05; done");
    lab.until(3, "ready");
    let pids: Vec<String> =
        (0..3).map(|rank| lab.read(rank.to_string()).split(' ').next().unwrap().to_owned()).collect();
    assert!(pids.iter().all(|pid| alive(pid)));
    signal("STOP", &pids[1]);
    signal("KILL", &supervisor.id().to_string());
    let (code, said) = finish(supervisor);
    assert_eq!(code, None, "{said}");
    wait_for("the end of the orphans", || !pids.iter().any(|pid| alive(pid)));
}

/// Whether a process runs; one that is dead and not yet waited for does not.
fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let supervisor = Supervisor {
        program: "/no/such/program".into(),
        arguments: Vec::new(),
        processes: 2,
        patience: LIMIT,
        last_grace: LIMIT,
    };
    let error = format!("{:#}", supervisor.run().unwrap_err());
    assert!(error.starts_with("rank 0 cannot be started (/no/such/program): "), "{error}");
}
