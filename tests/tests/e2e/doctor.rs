//! `doctor`: what the host has, and ranks that exchange tensors.

use std::process::Command;

use crate::support::{binary, run, text};

#[test]
fn ranks_exchange_tensors_and_say_how_fast() {
    let doctor = || {
        let mut command = Command::new(binary("mugs-pipeline"));
        command.args(["doctor", "--device=cpu", "--format=json"]).env("OMP_NUM_THREADS", "1");
        command
    };
    let json = |command: &mut Command| -> serde_json::Value {
        let output = run(command);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
    };
    let alone = json(&mut doctor());
    assert_eq!(alone["device"], "the CPU");
    assert!(alone["processors"].as_u64().unwrap() > 0 && alone["memory_gib"].as_f64().unwrap() > 0.1);
    assert!(alone.get("collectives").is_none());
    // The library, or what is missing and the way out.
    let nccl = alone["nccl"].as_str().unwrap();
    assert!(nccl.starts_with("NCCL 2.") || nccl.contains("scripts/setup.sh"), "{nccl}");

    let two = json(doctor().args(["--collectives", "--nproc=2"]));
    assert_eq!((&two["collectives"]["ranks"], &two["collectives"]["backend"]), (&2.into(), &"gloo".into()));
    let rates = two["collectives"]["all_reduce"].as_array().unwrap();
    assert_eq!(rates.len(), 3);
    assert!(rates.iter().all(|rate| rate[1].as_f64().unwrap() > 0.0));
    assert_eq!(json(doctor().arg("--collectives"))["collectives"]["backend"], serde_json::Value::Null);

    let refused = run(doctor().args(["--collectives", "--nproc=2", "--backend=nccl"]));
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("--backend nccl is for GPUs, and this run computes on the CPU"), "{said}");
}
