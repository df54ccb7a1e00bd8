//! TensorBoard reads what a run writes, and sees each step once.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Lab, run, text};

/// Steps and values of every scalar, steps and sizes of every picture, steps and buckets of every histogram, as
/// TensorBoard shows them.
const READ: &str = r#"
import io, json, sys
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, HISTOGRAMS, IMAGES
events = EventAccumulator(sys.argv[1], size_guidance={IMAGES: 0, HISTOGRAMS: 0})
events.Reload()
tags = events.Tags()
size = lambda image: list(Image.open(io.BytesIO(image.encoded_image_string)).size) == [image.width, image.height]
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "histograms": {tag: [[e.step, list(zip(e.histogram_value.bucket_limit, e.histogram_value.bucket))]
                         for e in events.Histograms(tag)] for tag in tags["histograms"]},
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
        "cluster_entropy/center",
        "cluster_entropy/target",
        "images_per_second",
        "data_wait_share",
    ];
    let rings = ["student_memory", "teacher_memory", "instance_queue", "local_group_queue"];
    assert_eq!(read["scalars"].as_object().unwrap().len(), tags.len() + 2 * rings.len());
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
    let share = |tag: &str, at: usize| read["scalars"][tag][at][1].as_f64().unwrap();
    for tag in ["cluster_entropy/center", "cluster_entropy/target"] {
        assert!((0..6).all(|at| (0.0..=1.0).contains(&share(tag, at))), "{tag}");
    }
    // Behind each epoch of five steps. Of 32 keys eight are written a step, of 32 rows four; the pointer passes over as many.
    let rows = |each: f64| json!([[1.0, each], [2.0, each], [3.0, each], [4.0, each]]);
    for (ring, each) in [("instance_queue", 8.0), ("local_group_queue", 8.0), ("teacher_memory", 4.0)] {
        let expected = json!([[5, rows(each)], [10, rows(each)], [15, rows(each)]]);
        assert_eq!(read["histograms"][format!("age/{ring}")], expected, "{ring}");
    }
    assert_eq!(read["histograms"].as_object().unwrap().len(), rings.len());
    assert_eq!([0, 1, 2].map(|at| share("never_written/teacher_memory", at)), [0.5; 3]);
    assert_eq!([0, 1, 2].map(|at| share("written_before_start/instance_queue", at)), [0.0; 3]);
    assert_eq!(read["images"], json!({"crops": [[1, true], [6, true], [11, true]]}));
    mugs_test_support::tally("TensorBoard", tags.len() * 6, "values");
}
