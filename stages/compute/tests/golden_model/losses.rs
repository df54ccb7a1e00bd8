//! `losses/`: values, gradients, queues and centres.

use mugs_compute::loss::{Clustering, InfoNce};
use mugs_compute::named::NamedTensors;
use mugs_test_support::{golden, tally};
use tch::{Device, Tensor, set_num_threads};

use crate::common::{Comparison, json, tensors};

const VALUE: f64 = 2e-5;
const GRADIENT: f64 = 5e-6;
const STATE: f64 = 1e-6;

/// The names of the cases of a kind, and all tensors.
fn cases(kind: &str) -> (Vec<String>, Comparison) {
    set_num_threads(1);
    let manifest = json("losses/manifest.json");
    let names = manifest["cases"].as_object().unwrap().keys().filter(|name| name.starts_with(kind));
    (names.cloned().collect(), Comparison::with(tensors(&golden("model/losses/losses.safetensors"))))
}

/// A copy of a case's student outputs that records a gradient.
fn leaf(comparison: &Comparison, name: &str) -> Tensor {
    comparison.golden(name).copy().set_requires_grad(true)
}

#[test]
fn info_nce() {
    let (names, mut comparison) = cases("infonce_");
    for case in &names {
        let golden = |name: &str| comparison.golden(&format!("{case}.{name}")).shallow_clone();
        let temperature = if case.ends_with("temp007") { 0.07 } else { 0.2 };
        let mut loss = InfoNce::new(case, 64, 32, temperature, 0, Device::Cpu);
        let before = NamedTensors::from([
            ("queue".to_owned(), golden("queue_before")),
            ("queue_ptr".to_owned(), golden("ptr_before")),
        ]);
        loss.load(&before, "").unwrap();
        let (student, teacher) = (leaf(&comparison, &format!("{case}.student")), golden("teacher"));
        let value = loss.forward(&student, &teacher);
        value.backward();
        let state = |loss: &InfoNce, name: &str| loss.state().into_iter().find(|(key, _)| *key == name).unwrap().1;
        assert_eq!(state(&loss, "queue"), golden("queue_before"), "{case}: computing the loss changes no queue");
        loss.update(&teacher);
        comparison.check(&format!("{case}.loss"), &value.reshape([1]), VALUE);
        comparison.check(&format!("{case}.grad_student"), &student.grad(), GRADIENT);
        comparison.check(&format!("{case}.queue_after"), &state(&loss, "queue"), STATE);
        comparison.check(&format!("{case}.ptr_after"), &state(&loss, "queue_ptr"), 0.0);
    }
    assert_eq!(names.len(), 7);
    assert_eq!(comparison.finish(), 4 * names.len());
    tally("InfoNCE", names.len(), "cases");
}

#[test]
fn clustering() {
    let (names, mut comparison) = cases("cluster_");
    for case in &names {
        let golden = |name: &str| comparison.golden(&format!("{case}.{name}")).shallow_clone();
        let mut loss = Clustering::new(128, 0.1, Device::Cpu);
        loss.load(&NamedTensors::from([("center".to_owned(), golden("center_before"))]), "").unwrap();
        let (student, teacher) = (leaf(&comparison, &format!("{case}.student")), golden("teacher"));
        let value = loss.forward(&student, &teacher, golden("teacher_temp").double_value(&[0]));
        value.backward();
        assert_eq!(loss.state()[0].1, golden("center_before"), "{case}: computing the loss moves no centre");
        loss.update(&teacher);
        comparison.check(&format!("{case}.loss"), &value.reshape([1]), VALUE);
        comparison.check(&format!("{case}.grad_student"), &student.grad(), GRADIENT);
        comparison.check(&format!("{case}.center_after"), &loss.state()[0].1, STATE);
    }
    assert_eq!(names.len(), 5);
    assert_eq!(comparison.finish(), 3 * names.len());
    tally("clustering", names.len(), "cases");
}
