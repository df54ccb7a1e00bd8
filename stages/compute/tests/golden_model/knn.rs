//! k-nearest-neighbour classification against the golden votes, orders and accuracies.

use mugs_compute::evaluate::knn::{Knn, KnnError, ranking};
use mugs_test_support::{golden, tally};
use tch::{Kind, Tensor};

use crate::common::{json, tensors};

fn expect_close(found: f64, expected: &serde_json::Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-4, "{what}: {found}, not {expected}");
}

#[test]
fn classifies_like_the_published_evaluation() {
    let set = tensors(&golden("model/knn/knn.safetensors"));
    let expected = json("knn/expected.json");
    let knn = Knn::new(&set["train_features"], &set["train_labels"], 10).unwrap();
    let mut cases = 0;
    for result in expected["results"].as_array().unwrap() {
        let (k, temperature) = (result["k"].as_i64().unwrap(), result["T"].as_f64().unwrap());
        let accuracy = knn.accuracy(&set["test_features"], &set["test_labels"], k, temperature).unwrap();
        expect_close(accuracy.top1, &result["top1"], &format!("top-1 at k {k}, T {temperature}"));
        expect_close(accuracy.top5, &result["top5"], &format!("top-5 at k {k}, T {temperature}"));
        cases += 1;
        let Some(golden_votes) = set.get(&format!("votes_k{k}_T{temperature}")) else { continue };
        let votes = knn.votes(&set["test_features"], k, temperature).unwrap();
        let scale = golden_votes.abs().clamp_min(1e-9);
        assert!(
            ((&votes - golden_votes).abs() / scale).max().double_value(&[]) < 1e-4,
            "votes at k {k}, T {temperature}"
        );
        assert_eq!(ranking(&votes), set[&format!("order_k{k}_T{temperature}")], "order at k {k}, T {temperature}");
        cases += 2;
    }
    assert_eq!(cases, 24 + 2 * 6);
    tally("k-nearest neighbours", cases, "accuracies, votes and orders");
}

#[test]
fn takes_any_number_of_test_rows_and_follows_class_order() {
    let set = tensors(&golden("model/knn/knn.safetensors"));
    let expected = json("knn/expected.json");
    let knn = Knn::new(&set["train_features"], &set["train_labels"], 10).unwrap();
    let first = |n: i64| (set["test_features"].narrow(0, 0, n), set["test_labels"].narrow(0, 0, n));
    let (features, labels) = first(150);
    let accuracy = knn.accuracy(&features, &labels, 20, 0.07).unwrap();
    expect_close(accuracy.top1, &expected["first_150_test_rows_k20_T0.07"]["top1"], "top-1 of 150");
    expect_close(accuracy.top5, &expected["first_150_test_rows_k20_T0.07"]["top5"], "top-5 of 150");
    let (features, labels) = first(3);
    assert!(knn.accuracy(&features, &labels, 20, 0.07).unwrap().top5 > 0.0);
    let equal = Tensor::from_slice2(&[[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]]);
    assert_eq!(ranking(&equal), Tensor::from_slice2(&[[2_i64, 0, 1], [0, 2, 1]]));
}

#[test]
fn refuses_what_does_not_fit() {
    let features = Tensor::ones([4, 2], (Kind::Float, tch::Device::Cpu));
    let labels = Tensor::from_slice(&[0_i64, 1, 2, 1]);
    let knn = Knn::new(&features, &labels, 3).unwrap();
    assert_eq!(knn.accuracy(&features, &labels, 5, 0.07).unwrap_err(), KnnError::Neighbours { k: 5, train: 4 });
    assert_eq!(knn.accuracy(&features, &labels, 1, 0.0).unwrap_err(), KnnError::Temperature);
    let label = KnnError::Label { smallest: 0, largest: 2, classes: 2 };
    assert_eq!(Knn::new(&features, &labels, 2).unwrap_err(), label);
    assert!(matches!(
        knn.accuracy(&features, &labels.narrow(0, 0, 3), 1, 0.07),
        Err(KnnError::Shape { set: "test", .. })
    ));
}
