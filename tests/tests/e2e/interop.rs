//! Python reads what a run writes.

use std::process::Command;

use crate::support::{Lab, run, text};

/// Opens a checkpoint with `weights_only`, and prints what a script for published checkpoints relies on.
const READ: &str = r#"
import json, sys, torch
c = torch.load(sys.argv[1], weights_only=True, map_location="cpu")
shapes = lambda d: [[k, list(v.shape), str(v.dtype)] for k, v in d.items()]
print(json.dumps({
    "keys": list(c), "epoch": c["epoch"], "args": c["args"],
    "student": shapes(c["student"]), "teacher": shapes(c["teacher"]),
    "memory": shapes(c["student_mem"]),
    "losses": {k: shapes(c[k]) for k in ("instance-sup.", "local-group-sup.", "group-sup.")},
    "groups": [[g["name"], g.get("apply_wd"), len(g["params"])] for g in c["optimizer"]["param_groups"]],
    "moments": len(c["optimizer"]["state"]),
}))
"#;

#[test]
fn torch_opens_a_run_s_checkpoint_and_finds_the_published_names_and_shapes() {
    let Some(python) = mugs_test_support::python(&["torch"]) else {
        mugs_test_support::skip("torch-load", "no Python with torch");
        return;
    };
    let lab = Lab::new(23);
    assert!(run(&mut lab.train("run", &["--max_steps=2"])).status.success());
    let output = run(Command::new(python).args(["-c", READ]).arg(lab.path("run/checkpoint.pth")));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();

    let golden = std::fs::read(mugs_test_support::golden("model/init/state_dict_keys.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let golden = &golden["vit_small"];
    let names = |list: &serde_json::Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry[0].as_str().unwrap().to_owned()).collect()
    };
    // The tiny network has two blocks where vit_small has twelve; everything else has the same names in the same order.
    let kept = |name: &String| !(2..12).any(|block| name.contains(&format!("backbone.blocks.{block}.")));
    let student: Vec<String> =
        names(&golden["student"]).into_iter().filter(kept).map(|n| format!("module.{n}")).collect();
    let teacher: Vec<String> = names(&golden["teacher"]).into_iter().filter(kept).collect();
    assert_eq!(names(&read["student"]), student);
    assert_eq!(names(&read["teacher"]), teacher);
    assert_eq!(names(&read["memory"]), names(&golden["student_mem"]));
    for loss in ["instance-sup.", "local-group-sup.", "group-sup."] {
        assert_eq!(names(&read["losses"][loss]), names(&golden["losses"][loss]));
    }
    let shape = |list: &serde_json::Value, name: &str| {
        list.as_array().unwrap().iter().find(|e| e[0] == name).unwrap_or(&serde_json::Value::Null)[1].clone()
    };
    assert_eq!(shape(&read["student"], "module.backbone.pos_embed"), serde_json::json!([1, 17, 32]));
    assert_eq!(shape(&read["student"], "module.group_head.last_layer.weight_v"), serde_json::json!([32, 16]));
    assert_eq!(shape(&read["memory"], "block.queue_q"), serde_json::json!([32, 32]));
    assert_eq!(read["args"]["batch_size_per_gpu"], 4);
    assert_eq!(read["groups"].as_array().unwrap().len(), 4);
    mugs_test_support::tally("torch.load", student.len() + teacher.len(), "names");
}
