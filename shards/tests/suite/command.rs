//! The command: results, formats and exit codes.

use std::process::{Command, Stdio};

use mugs_shards::ShardSet;
use serde_json::Value;

use crate::support::{packed, source};

pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mugs-shard"));
    command.args(arguments);
    command
}

pub fn run(arguments: &[&str]) -> Output {
    let output = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn json(arguments: &[&str]) -> (i32, Value) {
    let output = run(&[arguments, &["--format", "json"]].concat());
    (output.code, serde_json::from_str(&output.stdout).unwrap())
}

#[test]
fn pack_verify_and_ls_agree() {
    let source = source();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("set");
    let (source, set) = (source.path().to_str().unwrap(), path.to_str().unwrap());
    let (code, result) = json(&["pack", source, set, "--samples-per-shard", "4", "--seed", "9", "--name", "toy"]);
    assert_eq!(
        (code, &result["samples"], &result["shards"], &result["classes"]),
        (0, &11.into(), &3.into(), &3.into())
    );
    assert_eq!(result["digest"], ShardSet::open(&path).unwrap().digest());
    let (code, verdict) = json(&["verify", set]);
    assert_eq!((code, &verdict["ok"], &verdict["problems"]), (0, &true.into(), &Value::Array(vec![])));
    let (code, listed) = json(&["ls", set]);
    assert_eq!((code, &listed["name"], &listed["seed"]), (0, &"toy".into(), &9.into()));
    assert_eq!(listed["digest"], result["digest"]);
    assert_eq!(listed["shards"][2]["file"], "toy-000002.tar");
}

#[test]
fn texts_are_for_people() {
    let packed = packed();
    let set = packed.set.to_str().unwrap();
    assert!(run(&["verify", set]).stdout.contains("11 samples in 3 shards"));
    let listed = run(&["ls", set]).stdout;
    assert!(listed.contains("11 samples of 3 classes in 3 shards") && listed.contains("train-000002.tar\t3 samples"));
    let samples = run(&["ls", set, "--samples"]).stdout;
    assert_eq!(samples.lines().count(), 22);
    assert!(samples.contains("\tant_a_b-2\tjpg\t") && samples.contains("\tant_a_b-2\tcls\t"), "{samples}");
}

#[test]
fn damage_is_exit_code_1_with_the_place() {
    let packed = packed();
    let tar = packed.set.join("train-000001.tar");
    let mut bytes = std::fs::read(&tar).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&tar, bytes).unwrap();
    let set = packed.set.to_str().unwrap();
    let output = run(&["verify", set]);
    let key = ShardSet::open(&packed.set).unwrap().open_shard(1).unwrap().entry(0).key.to_string();
    assert_eq!(output.code, 1);
    assert!(output.stdout.starts_with(&format!("train-000001.tar: sample {key}: offset 5: ")), "{}", output.stdout);
    assert!(output.stderr.contains("1 problem"));
    let (code, verdict) = json(&["verify", set]);
    assert_eq!((code, &verdict["ok"], &verdict["problems"][0]["offset"]), (1, &false.into(), &5.into()));
}

#[test]
fn what_is_no_set_is_exit_code_1() {
    let empty = tempfile::tempdir().unwrap();
    for command in ["verify", "ls"] {
        let output = run(&[command, empty.path().to_str().unwrap()]);
        assert!(output.code == 1 && output.stderr.contains("not a shard set"), "{}", output.stderr);
        let output = run(&[command, "/no/such/set"]);
        assert!(output.code == 1 && output.stderr.contains("/no/such/set"), "{}", output.stderr);
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [&["pack"][..], &["frobnicate"], &["pack", "a", "b", "--name", "a/b"], &["verify"], &[]] {
        assert_eq!(run(arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(run(&["pack", "a", "b", "--samples-per-shard", "0"]).code, 2);
    for command in ["pack", "verify", "ls"] {
        let help = run(&[command, "--help"]);
        assert!(help.code == 0 && help.stdout.contains("Examples:"));
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let packed = packed();
    let mut child = command(&["ls", packed.set.to_str().unwrap(), "--samples"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}
