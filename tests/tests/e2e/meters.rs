//! What a Prometheus server sees of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::support::{Lab, run, text};

pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Starts a long run with meters on a free port; gives the process and the address that it names.
pub fn metered(lab: &Lab, more: &[&str]) -> (std::process::Child, String) {
    let mut command = lab.train("run", &["--epochs=100000", "--saveckp_freq=0", "--metrics_addr=127.0.0.1:0"]);
    command.args(more);
    command.stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().unwrap().contains("meters on http://")).unwrap().unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    // Somebody must read what the run says, or it would wait for them at last.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}

/// Values by `name{labels}`, and the types by family.
pub fn parse(body: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut values, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is typed twice");
        } else if !line.is_empty() && !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            values.insert(name.to_owned(), value.parse().unwrap());
        }
    }
    (values, types)
}

#[test]
fn every_promised_family_is_served_and_true() {
    let lab = Lab::new(23);
    let (mut child, address) = metered(&lab, &[]);
    let begun = std::time::Instant::now();
    let (values, types) = loop {
        let (values, types) = parse(&get(&address, "/metrics"));
        // Two epochs done: the checkpoint's time is there too.
        if values.get("mugs_train_step").is_some_and(|step| *step >= 11.0) || begun.elapsed().as_secs() > 60 {
            break (values, types);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    // The run goes on while it is read: what counts pictures early on their way is taken from a second look, so that
    // what counts them late cannot be ahead of it.
    let (later, _) = parse(&get(&address, "/metrics"));
    assert_eq!(get(&address, "/healthz"), "ok\n");
    child.kill().unwrap();
    child.wait().unwrap();

    let families: BTreeSet<&str> = types.keys().map(String::as_str).collect();
    for family in [
        "mugs_stage_items_total",
        "mugs_stage_bytes_total",
        "mugs_stage_busy_seconds_total",
        "mugs_stage_send_wait_seconds_total",
        "mugs_stage_recv_wait_seconds_total",
        "mugs_channel_items",
        "mugs_channel_capacity_items",
        "mugs_step_duration_seconds",
        "mugs_data_wait_seconds",
        "mugs_train_loss",
        "mugs_train_cluster_entropy",
        "mugs_learning_rate",
        "mugs_train_step",
        "mugs_train_epoch",
        "mugs_images_total",
        "mugs_checkpoint_last_success_timestamp_seconds",
        "mugs_fetch_retries_total",
        "mugs_samples_dropped_total",
        "mugs_build_info",
        "process_resident_memory_bytes",
    ] {
        assert!(families.contains(family), "{family} is missing among {families:?}");
    }
    for (name, kind) in &types {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
    }
    assert_eq!(types["mugs_step_duration_seconds"], "histogram");
    let step = values["mugs_train_step"];
    assert!(step >= 11.0);
    assert!(later["mugs_images_total"] >= 4.0 * step - 4.0);
    assert!(values["mugs_train_epoch"] >= 2.0);
    for term in ["total", "instance", "local-group", "group"] {
        assert!(values[&format!("mugs_train_loss{{term=\"{term}\"}}")] > 0.0);
    }
    for of in ["center", "target"] {
        let share = values[&format!("mugs_train_cluster_entropy{{of=\"{of}\"}}")];
        assert!((0.0..=1.0).contains(&share), "{of}: {share}");
    }
    // What left the last stage is what the training thread took, but for what waits in between.
    let name = |stage: &str| format!("mugs_stage_items_total{{stage=\"{stage}\"}}");
    let (upstream, downstream) = (|stage: &str| later[&name(stage)], |stage: &str| values[&name(stage)]);
    assert!(
        upstream("fetch") >= downstream("decode")
            && upstream("decode") >= downstream("crop")
            && upstream("crop") >= 4.0 * downstream("batch")
    );
    assert!(upstream("render") >= downstream("learn") && upstream("learn") >= step);
    assert!(!values.keys().any(|name| name.contains("class")), "no key, shard or path in any label");
}

#[test]
fn an_address_that_is_taken_is_an_error_when_it_was_asked_for() {
    let lab = Lab::new(23);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = run(&mut lab.train("run", &[&format!("--metrics_addr={address}")]));
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains(&address), "{}", text(&failed.stderr));
}
