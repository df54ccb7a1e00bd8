//! The worst day of a cluster: whatever happens to one rank, all end with the same words, and the checkpoint is sound.
//! The times that this prints are those of docs/faults.md, which were read with a time-out of 5 s everywhere.

use std::process::Command;
use std::time::Duration;

use mugs_compute::checkpoint::Checkpoint;
use mugs_test_support::{free_port, not_permitted, tally};

use crate::support::Lab;
use crate::team::{ENDLESS, Ended, TIMEOUT, Team, within};

const PICTURES: u64 = 23;
/// For faults that are waited for until the time-out.
const WAITED_OUT: &str = "--sync_timeout=10";

fn options<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [ENDLESS, &[TIMEOUT], more].concat()
}

/// A run of two ranks that is at work.
fn at_work(lab: &Lab, name: &str, more: &[&str]) -> Team {
    let mut team = Team::start(lab, name, 2, &options(more), |_, _| ());
    team.wait_for_steps(lab, name);
    team
}

/// Prints what a row of the table says.
fn row(fault: &str, ended: &[Ended]) {
    let after = ended.iter().map(|rank| rank.after).max().unwrap_or_default();
    println!("{fault}: {}", ended[0].last_line());
    tally(&format!("fault, {fault}"), after.as_millis() as usize, "ms until all had ended");
}

/// All failed, with words of which each of `parts` is one.
fn failed(ended: &[Ended], parts: &[&str]) {
    for rank in ended {
        assert_eq!(rank.status.code(), Some(1), "{}", rank.said);
        assert!(rank.last_line().starts_with("error: "), "{}", rank.said);
        assert_eq!(rank.cause(), ended[0].cause());
        parts.iter().for_each(|part| assert!(rank.last_line().contains(part), "{part} in {}", rank.said));
        assert!(!rank.said.contains("panicked"), "{}", rank.said);
    }
}

fn sound_checkpoint(lab: &Lab, name: &str) {
    Checkpoint::read(&lab.path(&format!("{name}/checkpoint.pth"))).unwrap();
}

#[test]
fn a_rank_that_is_killed() {
    let lab = Lab::new(PICTURES);
    let mut team = at_work(&lab, "run", &[]);
    team.signal(1, "KILL");
    let ended = team.end_of(&[0]);
    row("rank 1 killed", &ended);
    failed(&ended, &["rank 1 on ", "has not answered for", "its process, its host or the network is down"]);
    sound_checkpoint(&lab, "run");

    let mut team = at_work(&lab, "run", &[]);
    team.signal(0, "KILL");
    let ended = team.end_of(&[1]);
    row("rank 0 killed", &ended);
    failed(&ended, &["rank 0, which serves the meeting place 127.0.0.1:"]);
    sound_checkpoint(&lab, "run");
    // And the run goes on.
    let mut team = at_work(&lab, "run", &[]);
    team.signal(0, "TERM");
    assert!(team.end_of(&[0, 1]).iter().all(|rank| rank.status.code() == Some(143)));
}

#[test]
fn a_rank_that_stands_still() {
    let lab = Lab::new(PICTURES);
    let mut team = at_work(&lab, "run", &[WAITED_OUT]);
    team.signal(1, "STOP");
    let ended = team.end_of(&[0]);
    row("rank 1 stopped", &ended);
    failed(&ended, &["rank 1 on ", "has not answered for"]);
    // Should it ever go on, it ends too.
    team.signal(1, "CONT");
    let woken = team.end_of(&[1]);
    assert_eq!(woken[0].status.code(), Some(1), "{}", woken[0].said);
    sound_checkpoint(&lab, "run");

    let mut team = at_work(&lab, "run", &[WAITED_OUT]);
    team.signal(0, "STOP");
    let ended = team.end_of(&[1]);
    row("rank 0 stopped", &ended);
    failed(&ended, &["rank 0, which serves the meeting place 127.0.0.1:"]);
    team.signal(0, "CONT");
    assert_eq!(team.end_of(&[0])[0].status.code(), Some(1));
    sound_checkpoint(&lab, "run");
}

#[test]
fn a_loss_that_is_not_finite() {
    let lab = Lab::new(PICTURES);
    let options = options(&["--lr=1e38", "--min_lr=1e38", "--warmup_epochs=0", "--clip_grad=0"]);
    let ended = Team::start(&lab, "run", 2, &options, |_, _| ()).end();
    row("non-finite loss", &ended);
    failed(&ended, &["the loss on rank 0 is ", "nothing was updated: resume from the last checkpoint"]);
    // The pictures are those of the rank that is named, whoever speaks first.
    assert!(ended[0].last_line().starts_with("error: rank 0 on "), "{}", ended[0].said);
    sound_checkpoint(&lab, "run");
}

#[test]
fn a_damaged_shard() {
    let lab = Lab::new(PICTURES);
    let mut shards = std::fs::read_dir(&lab.set).unwrap().map(|entry| entry.unwrap().path());
    let shard = shards.find(|path| path.to_str().unwrap().ends_with("-000001.tar")).unwrap();
    let mut bytes = std::fs::read(&shard).unwrap();
    let picture = bytes.windows(3).position(|window| window == [0xff, 0xd8, 0xff]).unwrap();
    bytes[picture + 200] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let ended = Team::start(&lab, "run", 2, &options(&[]), |_, _| ()).end();
    row("damaged shard", &ended);
    failed(&ended, &["rank ", "-000001.tar", "checksum"]);

    // Left out instead: counted over all ranks, epoch by epoch, until there are too many.
    let more = options(&["--on_bad_sample=skip", "--max_bad_samples=1", "--streams=2"]);
    let mut team = Team::start(&lab, "skips", 2, &more, |_, _| ());
    team.wait_for_steps(&lab, "skips");
    team.signal(0, "TERM");
    assert!(team.end().iter().all(|rank| rank.status.code() == Some(143)));
}

#[test]
fn a_full_disk() {
    let lab = Lab::new(PICTURES);
    let folder = lab.path("run");
    std::fs::create_dir(&folder).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=300k", "tmpfs"]).arg(&folder).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return not_permitted("training onto a full disk", "a tmpfs cannot be mounted here");
    }
    let ended = Team::start(&lab, "run", 2, &options(&[]), |_, _| ()).end();
    assert!(Command::new("umount").arg(&folder).status().unwrap().success());
    row("full disk", &ended);
    failed(&ended, &["rank 0 on ", "cannot write ", ": No space left on device (os error 28)"]);
    assert!(ended.iter().all(|rank| !rank.said.contains("ZipWriter")), "{}", ended[0].said);
}

#[test]
fn a_port_that_is_taken() {
    let lab = Lab::new(PICTURES);
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut team = Team::start(&lab, "run", 2, &options(&[WAITED_OUT]), |_, command| {
        command.env("MASTER_PORT", port.to_string());
    });
    let ended = team.end_of(&[0]);
    row("port taken", &ended);
    failed(&ended, &["rank 0 cannot serve the meeting place 127.0.0.1:", "in use", "choose a free MASTER_PORT"]);
    let other = team.end_of(&[1]);
    failed(&other, &["rank 1 did not find rank 0 at 127.0.0.1:", "takes connections and does not answer"]);
}

#[test]
fn a_rank_that_is_late_or_looks_elsewhere() {
    let lab = Lab::new(PICTURES);
    // Late, but in time.
    let port = free_port();
    let command = |rank: usize| {
        let mut command = lab.train("late", &options(&[]));
        crate::team::place(&mut command, rank, 2, port);
        command
    };
    let mut team = Team::start(&lab, "none", 0, &[], |_, _| ());
    team.add(lab.path("late-0.log"), command(0));
    std::thread::sleep(Duration::from_secs(2));
    team.add(lab.path("late-1.log"), command(1));
    team.wait_for_steps(&lab, "late");
    team.signal(0, "TERM");
    assert!(team.end().iter().all(|rank| rank.status.code() == Some(143)));

    // Elsewhere: nobody is there, and nobody comes.
    let mut team = Team::start(&lab, "run", 3, &options(&[]), |rank, command| {
        if rank == 2 {
            command.env("MASTER_PORT", free_port().to_string());
        }
    });
    let ended = team.end_of(&[0, 1]);
    row("a rank does not come", &ended);
    failed(&ended, &["rank 2 did not come to 127.0.0.1:", &format!("{} (`--sync_timeout`)", within(TIMEOUT))]);
    let ended = team.end_of(&[2]);
    row("wrong MASTER_ADDR or MASTER_PORT", &ended);
    failed(&ended, &["rank 2 did not find rank 0 at 127.0.0.1:", &within(TIMEOUT)]);
}

#[test]
fn a_rank_that_is_held_up_while_its_process_lives() {
    let lab = Lab::new(PICTURES);
    let mut team = at_work(&lab, "run", &[WAITED_OUT]);
    // Its file system does not answer: a pipe that nobody reads, in the place of the log.
    let pipe = lab.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::rename(&pipe, lab.path("run/log.txt")).unwrap();
    let ended = team.end_of(&[0, 1]);
    row("rank 0 held up by its disk", &ended);
    let cause = format!("did not end {} (`--sync_timeout`); rank 0 on ", within(WAITED_OUT));
    for rank in &ended {
        assert_eq!(rank.status.code(), Some(1), "{}", rank.said);
        assert!(rank.last_line().starts_with("error: rank 1 on "), "{}", rank.said);
        assert!(rank.last_line().contains(&cause) && rank.last_line().contains(" is ending epoch "), "{}", rank.said);
    }
    // What is stuck in the kernel is ended by the watch.
    assert!(ended[0].last_line().ends_with("(and this rank did not end by itself within 20 s)"), "{}", ended[0].said);
    sound_checkpoint(&lab, "run");
}

#[test]
fn a_rank_that_cannot_begin() {
    let lab = Lab::new(PICTURES);
    let ended = Team::start(&lab, "run", 2, &options(&[]), |rank, command| {
        if rank == 1 {
            command.arg("--data_path").arg(lab.path("not-mounted"));
        }
    })
    .end();
    row("data missing on one rank", &ended);
    failed(&ended, &["rank 1 on ", "not-mounted; it should be a shard set"]);
}

#[test]
fn ranks_that_were_asked_for_different_things() {
    let lab = Lab::new(PICTURES);
    let ended = Team::start(&lab, "run", 3, &options(&["--streams=66"]), |rank, command| {
        if rank == 1 {
            command.args(["--lr=0.5", "--seed=7", "--bucket_mb=3", "--num_workers=2"]);
        }
    })
    .end();
    row("different options", &ended);
    failed(
        &ended,
        &[
            "the ranks do not agree: --bucket_mb is 25.0 on ranks 0, 2, 3.0 on rank 1; --lr is 0.05 on ranks 0, 2, 0.5 on rank 1; --seed is 0 on ranks 0, 2, 7 on",
        ],
    );
    assert!(!lab.path("run/checkpoint.pth").exists());
}
