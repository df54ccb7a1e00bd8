//! `init/`: names, shapes and order of all tensors, and the distributions of their initial values.

use std::collections::HashSet;

use mugs_compute::loss::{LossConfig, Losses};
use mugs_compute::memory::Memory;
use mugs_compute::model::{ModelConfig, Network, Params, Role};
use mugs_compute::named::NamedTensors;
use mugs_test_support::tally;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::common;

/// Name, shape and type as the golden lists hold them.
fn described(name: &str, tensor: &Tensor) -> Value {
    let kind = if tensor.kind() == Kind::Int64 { "int64" } else { "float32" };
    json!([name, tensor.size(), kind])
}

fn described_params(params: &Params) -> Value {
    params.iter().map(|param| described(&param.name, &param.tensor)).collect()
}

fn check_arch(arch: &str) {
    let golden = &common::json("init/state_dict_keys.json")[arch];
    let config = ModelConfig::new(arch.parse().unwrap());
    for norm_last_layer in [false, true] {
        let config = ModelConfig { norm_last_layer, ..config.clone() };
        let student = Network::blank(&config, Role::Student, Device::Cpu).unwrap();
        assert_eq!(described_params(student.params()), golden["student"]);
        check_trainable(student.params(), &golden[format!("optimizer_groups_norm_last_layer_{norm_last_layer}")]);
        assert_eq!(json!(student.params().elements()), golden["n_parameters"]["student_total"]);
    }
    let teacher = Network::blank(&config, Role::Teacher, Device::Cpu).unwrap();
    assert_eq!(described_params(teacher.params()), golden["teacher"]);
    assert!(teacher.params().iter().all(|param| !param.trainable && !param.tensor.requires_grad()));
    tally(&format!("{arch} names"), 2 * golden["student"].as_array().unwrap().len(), "tensors");
    check_batch_norm(arch);
}

/// With BatchNorm in the heads: the lists hold the heads alone, as nothing else differs.
fn check_batch_norm(arch: &str) {
    let golden = &common::json("init/state_dict_keys.json")[format!("{arch}_bn")];
    let config = ModelConfig { use_bn_in_head: true, ..ModelConfig::new(arch.parse().unwrap()) };
    for (role, name) in [(Role::Student, "student"), (Role::Teacher, "teacher")] {
        let network = Network::blank(&config, role, Device::Cpu).unwrap();
        let heads = network.params().iter().filter(|param| !param.name.starts_with("backbone."));
        let found: Value = heads.map(|param| described(&param.name, &param.tensor)).collect();
        assert_eq!(found, golden[name], "{name}");
        if role == Role::Student {
            assert_eq!(json!(network.params().elements()), golden["n_parameters"]["student_total"]);
            let parameters = network.params().iter().filter(|param| !param.buffer && param.name.contains("head."));
            let names: Value = parameters.map(|param| param.name.as_str()).collect();
            assert_eq!(names, golden["parameters_in_order_student"]);
        }
    }
    tally(&format!("{arch} names with BatchNorm"), 2 * golden["student"].as_array().unwrap().len(), "tensors");
}

/// What is trainable is what the optimizer's groups hold between them.
fn check_trainable(params: &Params, groups: &Value) {
    let grouped = groups.as_array().unwrap().iter().flat_map(|group| group["params"].as_array().unwrap());
    let grouped: HashSet<&str> = grouped.map(|name| name.as_str().unwrap()).collect();
    let trainable = params.iter().filter(|param| param.trainable);
    assert_eq!(trainable.map(|param| param.name.as_str()).collect::<HashSet<_>>(), grouped);
    assert!(params.iter().all(|param| param.tensor.requires_grad() == param.trainable));
}

#[test]
fn names_of_vit_small() {
    check_arch("vit_small");
}

#[test]
fn names_of_vit_base() {
    check_arch("vit_base");
}

#[test]
fn names_of_vit_large() {
    check_arch("vit_large");
}

#[test]
fn names_of_memories_and_losses() {
    let golden = &common::json("init/state_dict_keys.json")["vit_small"];
    let model = ModelConfig::default();
    let list = |state: Vec<(&'static str, Tensor)>| -> Value {
        state.iter().map(|(name, tensor)| described(name, tensor)).collect()
    };
    let memory = Memory::new("student_mem", 65536, model.embed_dim, model.local_group_knn_top_n, 0, Device::Cpu);
    assert_eq!(list(memory.state()), golden["student_mem"]);
    assert_eq!(list(memory.state()), golden["teacher_mem"]);
    let losses = Losses::new(&LossConfig::default(), &model, 0, Device::Cpu);
    let states = losses.state().into_iter().map(|(name, state)| (name.to_owned(), list(state)));
    assert_eq!(Value::Object(states.collect()), golden["losses"]);
}

/// All initial values of vit_small with BatchNorm under the names of the statistics.
fn initial_values() -> NamedTensors {
    let model = ModelConfig { group_out_dim: 8192, use_bn_in_head: true, ..ModelConfig::default() };
    let config = LossConfig { instance_queue_size: 4096, local_group_queue_size: 4096, ..LossConfig::default() };
    let student = Network::new(&model, Role::Student, 1, Device::Cpu).unwrap();
    let mut values: NamedTensors =
        student.params().iter().map(|param| (format!("student.{}", param.name), param.tensor.detach())).collect();
    let memory = Memory::new("student_mem", 4096, 384, 8, 1, Device::Cpu);
    values.extend(memory.state().into_iter().map(|(name, tensor)| (format!("student_mem.{name}"), tensor)));
    for (loss, state) in Losses::new(&config, &model, 1, Device::Cpu).state() {
        values.extend(state.into_iter().map(|(name, tensor)| (format!("{loss}|{name}"), tensor)));
    }
    values
}

/// The standard deviation of a class, and that of the square of a value in units of the variance.
fn spread(class: &str, golden_std: f64) -> (f64, f64) {
    if class.starts_with("uniform") {
        // Kurtosis 9/5.
        (golden_std, 0.8_f64.sqrt())
    } else if class.starts_with("normal(0, 0.02)") {
        // Not the golden figure: one value at −2 in one seed is enough to move that.
        (0.02, 2.0_f64.sqrt())
    } else {
        (golden_std, 2.0_f64.sqrt())
    }
}

#[test]
fn distributions() {
    let values = initial_values();
    let golden = common::json("init/statistics.json");
    let mut failures = Vec::new();
    let mut compared = 0;
    for (name, facts) in golden["tensors"].as_object().unwrap() {
        let values = values.get(name).unwrap_or_else(|| panic!("{name}"));
        compared += 1;
        failures.extend(compare(values, facts).map(|failure| format!("{name}: {failure}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(compared, golden["tensors"].as_object().unwrap().len());
    tally("initial distributions", compared, "tensors");
}

fn compare(values: &Tensor, facts: &Value) -> Option<String> {
    let fact = |name: &str| facts[name].as_f64().unwrap();
    let class = facts["class"].as_str().unwrap();
    let values = values.flatten(0, -1).to_kind(Kind::Double);
    if values.numel() as f64 != fact("n") {
        return Some(format!("{} values", values.numel()));
    }
    if let Some(constant) = ["zeros", "ones"].iter().position(|constant| class == *constant) {
        return (values.eq(constant as f64).all().int64_value(&[]) == 0).then(|| format!("not all {constant}"));
    }
    // The values at −2 of the truncated normal, a hundred standard deviations out, are counted apart.
    let inner = values.masked_select(&values.gt(-1.9).logical_or(&values.lt(-2.0)));
    let outliers = if class.starts_with("normal(0, 0.02)") { values.numel() - inner.numel() } else { 0 };
    let values = if outliers > 0 { inner } else { values };
    let (std, spread_of_square) = spread(class, fact("mean_of_stds"));
    let root = (values.numel() as f64).sqrt();
    // Sampling errors of ours and of the golden mean over 12 seeds.
    let golden_mean = if fact("min") == -2.0 { 0.0 } else { fact("mean_of_means") };
    let mean_error =
        (values.mean(Kind::Double).double_value(&[]) - golden_mean) / (std / root) / (13.0_f64 / 12.0).sqrt();
    let std_error = (values.std(true).double_value(&[]) / std - 1.0) / (0.5 * spread_of_square / root);
    let far = mean_error.abs() > 5.0 || std_error.abs() > 5.0 || outliers > 3;
    far.then(|| format!("mean off by {mean_error:.1}, std by {std_error:.1} sampling errors, {outliers} outliers"))
}
