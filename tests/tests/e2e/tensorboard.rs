//! TensorBoard reads what a run writes, and sees each step once.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Lab, run, text};

/// Steps and values of every scalar, steps and sizes of every picture, as TensorBoard shows them.
const READ: &str = r#"
import io, json, sys
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, IMAGES
events = EventAccumulator(sys.argv[1], size_guidance={IMAGES: 0})
events.Reload()
tags = events.Tags()
size = lambda image: list(Image.open(io.BytesIO(image.encoded_image_string)).size) == [image.width, image.height]
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "images": {tag: [[e.step, size(e)] for e in events.Images(tag)] for tag in tags["images"]},
}))
"#;

#[test]
fn a_run_that_was_thrown_back_shows_every_step_once() {
    let Some(python) = mugs_test_support::python(&["tensorboard", "PIL"]) else {
        mugs_test_support::skip("tensorboard", "no Python with tensorboard");
        return;
    };
    let lab = Lab::new(23);
    let (newest, older) = (lab.path("run/checkpoint.pth"), lab.path("older.pth"));
    let train = |more: &[&str]| {
        let output = run(&mut lab.train("run", &[&["--tensorboard_every=2", "--epochs=3"], more].concat()));
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    // As if it had been killed behind step 7, with a checkpoint after step 5.
    train(&["--max_steps=5"]);
    fs::copy(&newest, &older).unwrap();
    train(&["--max_steps=7"]);
    fs::copy(&older, &newest).unwrap();
    train(&["--tensorboard_every=3"]);

    let output = run(Command::new(python).args(["-c", READ]).arg(lab.path("run/tensorboard")));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tags = [
        "loss/total",
        "loss/instance",
        "loss/local_group",
        "loss/group",
        "lr",
        "wd",
        "momentum",
        "teacher_temp",
        "images_per_second",
        "data_wait_share",
    ];
    assert_eq!(read["scalars"].as_object().unwrap().len(), tags.len());
    for tag in tags {
        let scalars = read["scalars"][tag].as_array().unwrap();
        let steps: Vec<&Value> = scalars.iter().map(|scalar| &scalar[0]).collect();
        assert_eq!(steps, [2, 4, 6, 9, 12, 15], "{tag}");
    }
    // Over the five steps of the first epoch the rate rises from 0 to lr * G / 256.
    let peak = 0.05 * 4.0 / 256.0;
    let rate = read["scalars"]["lr"][1][1].as_f64().unwrap();
    assert!((rate - peak * 3.0 / 4.0).abs() < 1e-6 * peak, "{rate}");
    let total = read["scalars"]["loss/total"][0][1].as_f64().unwrap();
    let terms = ["loss/instance", "loss/local_group", "loss/group"];
    let mean = terms.map(|tag| read["scalars"][tag][0][1].as_f64().unwrap()).iter().sum::<f64>() / 3.0;
    assert!((total - mean).abs() < 1e-5, "{total} {mean}");
    assert_eq!(read["images"], json!({"crops": [[1, true], [6, true], [11, true]]}));
    mugs_test_support::tally("TensorBoard", tags.len() * 6, "values");
}
