//! Two hosts, as far as one kernel has them: network namespaces joined by a pair of virtual Ethernet devices.

use std::process::{Command, Output};

use mugs_compute::checkpoint::Checkpoint;
use mugs_test_support::{not_permitted, tally};

use crate::support::Lab;
use crate::team::{ENDLESS, TIMEOUT, Team};

const PICTURES: u64 = 23;
const PORT: &str = "29511";

/// Two namespaces, 10.77.x.1 and 10.77.x.2.
struct Hosts {
    names: [String; 2],
    net: u32,
}

fn ip(line: &str) -> Option<Output> {
    Command::new("ip").args(line.split_whitespace()).output().ok()
}

fn done(line: &str) -> bool {
    ip(line).is_some_and(|output| output.status.success())
}

impl Hosts {
    /// None where that is not permitted.
    fn new(net: u32) -> Option<Hosts> {
        let names = ["a", "b"].map(|end| format!("mugs{}{net}{end}", std::process::id()));
        let [a, b] = &names;
        let hosts = Hosts { names: names.clone(), net };
        let links = ["a", "b"].map(|end| format!("mg{}{net}{end}", std::process::id() % 100_000));
        let [first, second] = &links;
        let lines = [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("link add {first} type veth peer name {second}"),
            format!("link set {first} netns {a} name eth0"),
            format!("link set {second} netns {b} name eth0"),
            format!("-n {a} addr add 10.77.{net}.1/24 dev eth0"),
            format!("-n {b} addr add 10.77.{net}.2/24 dev eth0"),
            format!("-n {a} link set eth0 up"),
            format!("-n {b} link set eth0 up"),
            format!("-n {a} link set lo up"),
            format!("-n {b} link set lo up"),
        ];
        lines.iter().all(|line| done(line)).then_some(hosts)
    }

    /// Two ranks, each on a host of its own, that meet at the first.
    fn team(&self, lab: &Lab, run: &str) -> Team {
        let options = [ENDLESS, &[TIMEOUT]].concat();
        let mut team = Team::start(lab, run, 0, &[], |_, _| ());
        for (rank, name) in self.names.iter().enumerate() {
            let train = lab.train(run, &options);
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name]).arg(train.get_program()).args(train.get_args());
            command.env("OMP_NUM_THREADS", "1").env("RANK", rank.to_string()).env("WORLD_SIZE", "2");
            command.env("MASTER_ADDR", format!("10.77.{}.1", self.net)).env("MASTER_PORT", PORT);
            team.add(lab.path(&format!("{run}-{rank}.log")), command);
        }
        team
    }

    fn link(&self, host: usize, state: &str) {
        assert!(done(&format!("-n {} link set eth0 {state}", self.names[host])));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

#[test]
fn two_hosts_train_until_the_link_between_them_goes_down() {
    let Some(hosts) = Hosts::new(1) else {
        return not_permitted("ranks on two hosts", "network namespaces are not permitted here");
    };
    let lab = Lab::new(PICTURES);
    let mut team = hosts.team(&lab, "run");
    team.wait_for_steps(&lab, "run");
    hosts.link(1, "down");
    let ended = team.end_of(&[0, 1]);
    let after = ended[0].after.as_millis() as usize;
    println!("link down: {} | {}", ended[0].cause(), ended[1].cause());
    tally("fault, link down", after, "ms until all had ended");
    // Each side sees the other gone.
    assert!(ended[0].last_line().contains("rank 1 on "), "{}", ended[0].said);
    assert!(ended[0].last_line().contains("has not answered for"), "{}", ended[0].said);
    assert!(
        ended[1].last_line().contains("rank 0, which serves the meeting place 10.77.1.1:29511"),
        "{}",
        ended[1].said
    );
    assert!(ended.iter().all(|rank| rank.status.code() == Some(1)));
    Checkpoint::read(&lab.path("run/checkpoint.pth")).unwrap();

    // With the link up again the same commands go on.
    hosts.link(1, "up");
    let mut team = hosts.team(&lab, "run");
    team.wait_for_steps(&lab, "run");
    assert!(team.said(0).contains("goes on at epoch"), "{}", team.said(0));
    // The link is gone for a moment only, shorter than the time-out: nobody ends.
    hosts.link(1, "down");
    std::thread::sleep(std::time::Duration::from_secs(2));
    hosts.link(1, "up");
    team.wait_for_steps(&lab, "run");
    team.wait_for_steps(&lab, "run");
    team.signal(1, "TERM");
    assert!(team.end().iter().all(|rank| rank.status.code() == Some(143)));
}
