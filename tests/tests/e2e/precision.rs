//! Half precision and recomputed activations through the command: runs go on, and say what they cannot do.

use mugs_compute::checkpoint::Checkpoint;

use crate::resume::{epochs_logged, same_checkpoints};
use crate::support::{Lab, run, text};

const PICTURES: u64 = 11;

#[test]
fn a_bf16_run_goes_on_to_the_bit_and_differs_from_fp32() {
    let lab = Lab::new(PICTURES);
    let bf16 = ["--precision=bf16", "--max_steps=4"];
    assert!(run(&mut lab.train("whole", &bf16)).status.success());
    assert!(run(&mut lab.train("parts", &["--precision=bf16", "--max_steps=1"])).status.success());
    let second = run(&mut lab.train("parts", &bf16));
    assert!(text(&second.stderr).contains("multiply in bf16"), "{}", text(&second.stderr));
    same_checkpoints(&lab.path("whole"), &lab.path("parts"));

    assert!(run(&mut lab.train("exact", &["--max_steps=4"])).status.success());
    assert_ne!(epochs_logged(&lab.path("whole")), epochs_logged(&lab.path("exact")));
    let drift = run(&mut lab.train("parts", &["--max_steps=5"]));
    assert!(text(&drift.stderr).contains("precision"), "{}", text(&drift.stderr));
}

#[test]
fn recomputed_activations_may_begin_in_mid_run_and_change_nothing() {
    let lab = Lab::new(PICTURES);
    assert!(run(&mut lab.train("kept", &["--max_steps=4"])).status.success());
    assert!(run(&mut lab.train("recomputed", &["--max_steps=2"])).status.success());
    let second = run(&mut lab.train("recomputed", &["--max_steps=4", "--checkpoint_activations=true"]));
    assert!(second.status.success(), "{}", text(&second.stderr));
    same_checkpoints(&lab.path("kept"), &lab.path("recomputed"));
    let read = Checkpoint::read(&lab.path("recomputed").join("checkpoint.pth")).unwrap();
    assert!(read.mugs.configuration.contains(r#""checkpoint_activations":true"#), "{}", read.mugs.configuration);
}

#[test]
fn fp16_on_a_cpu_is_refused_before_anything_is_written() {
    let lab = Lab::new(PICTURES);
    for option in ["--precision=fp16", "--use_fp16=true"] {
        let refused = run(&mut lab.train("run", &["--device=cpu", option]));
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        assert!(said.contains("--precision fp16 needs a GPU") && said.contains("--precision bf16"), "{said}");
    }
    assert!(!lab.path("run").exists() || place_is_empty(&lab));
}

fn place_is_empty(lab: &Lab) -> bool {
    std::fs::read_dir(lab.path("run")).unwrap().next().is_none()
}
