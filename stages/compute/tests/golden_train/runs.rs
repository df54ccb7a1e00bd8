//! `step/`: whole runs of one rank.

use crate::run::Run;

#[test]
fn adamw_with_free_lengths_of_the_last_layer() {
    Run::new("adamw_w1_nl0_bn0", &["after_1", "after_2_student", "grads_1"]).all();
}

#[test]
fn adamw_with_fixed_lengths_of_the_last_layer() {
    Run::new("adamw_w1_nl1_bn0", &["after_1"]).all();
}

#[test]
fn adamw_with_batch_norm() {
    Run::new("adamw_w1_nl0_bn1", &["after_1", "grads_1"]).all();
}

#[test]
fn adamw_with_batch_norm_and_fixed_lengths() {
    Run::new("adamw_w1_nl1_bn1", &["after_1"]).all();
}

#[test]
fn sgd() {
    Run::new("sgd_w1_nl0_bn0", &["after_1"]).all();
}

#[test]
fn sgd_with_batch_norm() {
    Run::new("sgd_w1_nl0_bn1", &["after_1"]).all();
}

#[test]
fn lars() {
    Run::new("lars_w1_nl0_bn0", &["after_1"]).all();
}
