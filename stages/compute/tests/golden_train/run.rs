//! A whole golden run of three or six iterations, from losses and gradients to the final state.

use std::collections::BTreeMap;
use std::sync::Arc;

use mugs_compute::collective::Collective;
use mugs_compute::model::ModelConfig;
use mugs_compute::named::NamedTensors;
use mugs_compute::optim::OptimizerKind;
use mugs_compute::schedule::Rates;
use mugs_compute::trainer::{StepInput, StepReport, Trainer};
use mugs_test_support::{golden, tally};
use serde_json::Value;
use tch::Tensor;

use crate::common::{Comparison, json, tensors};
use crate::tiny::{PER_EPOCH, flat, images, input_of, model_config, schedules_on, train_config_of, trainer_of};

/// How far a run may be from the golden one, by the golden data's own table.
struct Tolerance {
    losses: f64,
    norms: f64,
    state: f64,
}

pub struct Run {
    name: &'static str,
    optimizer: OptimizerKind,
    batch_norm: bool,
    tolerance: Tolerance,
    manifest: Value,
    /// What is stored of it on the way: `after_1`, `after_2_student`, `grads_1`.
    files: &'static [&'static str],
    images: NamedTensors,
    trainer: Trainer,
    compared: usize,
    rank: usize,
    world: usize,
}

/// Small, so that there are several of each kind.
const BUCKET: usize = 20_000;

impl Run {
    /// What the run is, by its name: optimiser, `norm_last_layer` and BatchNorm.
    pub fn new(name: &'static str, files: &'static [&'static str]) -> Run {
        let (optimizer, rest) = name.split_once('_').unwrap();
        let optimizer = optimizer.parse().unwrap();
        let (norm_last_layer, batch_norm) = (rest.contains("nl1"), rest.contains("bn1"));
        let tolerance = match (optimizer, batch_norm) {
            (OptimizerKind::AdamW, true) => Tolerance { losses: 1e-3, norms: 4e-3, state: 1e-3 },
            (_, true) => Tolerance { losses: 1e-5, norms: 7e-5, state: 1e-5 },
            _ => Tolerance { losses: 1e-5, norms: 3e-5, state: 1e-5 },
        };
        let model = ModelConfig { use_bn_in_head: batch_norm, ..model_config(norm_last_layer) };
        Run {
            name,
            optimizer,
            batch_norm,
            tolerance,
            manifest: json(&format!("step/{name}/manifest.json")),
            files,
            images: images(),
            trainer: trainer_of(&model, &train_config_of(optimizer)),
            compared: 0,
            rank: 0,
            world: 1,
        }
    }

    /// The same on a rank of several.
    pub fn on(name: &'static str, group: &Arc<dyn Collective>) -> Run {
        let mut run = Run::new(name, &["after_1"]);
        (run.rank, run.world) = (group.rank(), group.world());
        assert_eq!(run.manifest["world_size"], run.world);
        run.trainer.share(group, BUCKET);
        run
    }

    /// Takes every step and compares all that is stored.
    pub fn all(&mut self) {
        let iterations = self.manifest["iterations"].as_array().unwrap().len() as u64;
        assert_eq!(iterations, if self.optimizer == OptimizerKind::AdamW { 6 } else { 3 });
        for iteration in 0..iterations {
            let expected = self.manifest["iterations"][iteration as usize].clone();
            let rates = schedules_on(self.optimizer, self.world as u64)
                .at((iteration / PER_EPOCH) as u32, iteration % PER_EPOCH);
            let input = input_of(&self.images, iteration, self.rank);
            self.iteration(&input, &rates, &expected);
            match iteration {
                0 => self.compare("after_1"),
                1 => self.compare("after_2_student"),
                _ => {}
            }
        }
        self.compare("final");
        tally(self.name, self.compared, "tensors");
    }

    fn iteration(&mut self, input: &StepInput, rates: &Rates, expected: &Value) {
        let (mut norms, mut clipped) = (BTreeMap::new(), BTreeMap::new());
        let report = self.trainer.step_watched(std::slice::from_ref(input), rates, |gradient| {
            norms.insert(gradient.name.to_owned(), gradient.raw.norm().double_value(&[]));
            clipped.insert(gradient.name.to_owned(), gradient.clipped.copy());
        });
        let what = format!("{}, iteration {}", self.name, input.step);
        self.losses_agree(&report.unwrap(), expected, input.step as usize, &what);
        self.rates_agree(rates, expected, &what);
        self.pointers_agree(expected, &what);
        norms_agree(&norms, expected, self.tolerance.norms, &what);
        if input.step == 0 {
            self.compare_tensors("grads_1", &clipped, 5e-6);
        }
    }

    /// Compares the losses of every rank: those of the second stand apart.
    fn losses_agree(&self, report: &StepReport, expected: &Value, iteration: usize, what: &str) {
        assert_eq!((report.by_rank.len(), report.terms.len()), (self.world, 3), "{what}");
        let others = &self.manifest["iterations_rank1"];
        for (rank, losses) in report.by_rank.iter().enumerate() {
            let expected = if rank == 0 { expected } else { &others[iteration] };
            close(losses[0], &expected["total_loss"], self.tolerance.losses, what);
            for ((name, _), loss) in report.terms.iter().zip(&losses[1..]) {
                close(*loss, &expected[format!("loss {name}")], self.tolerance.losses, &format!("{what}, {name}"));
            }
        }
        let mean = report.by_rank.iter().map(|losses| losses[0]).sum::<f64>() / self.world as f64;
        assert!((report.total - mean).abs() < 1e-12, "{what}");
    }

    fn rates_agree(&self, rates: &Rates, expected: &Value, what: &str) {
        close(rates.momentum, &expected["momentum"], 1e-12, what);
        let groups = self.trainer.state().optimizer.groups;
        assert_eq!(groups.len(), 4);
        for (index, group) in groups.iter().enumerate() {
            close(group.lr, &expected["lr"][index], 1e-12, what);
            close(group.weight_decay, &expected["weight_decay"][index], 1e-12, what);
        }
    }

    fn pointers_agree(&self, expected: &Value, what: &str) {
        let state = flat(&self.trainer.state());
        let pointer = |name: &str| state[name].int64_value(&[0]);
        let memories = ["student_mem", "teacher_mem"].map(|memory| pointer(&format!("{memory}.block.queue_ptr")));
        let queues = ["instance-sup.", "local-group-sup."].map(|loss| pointer(&format!("{loss}|queue_ptr")));
        assert_eq!(serde_json::json!(memories), expected["mem_ptr"], "{what}");
        assert_eq!(serde_json::json!(queues), expected["queue_ptr"], "{what}");
    }

    fn compare(&mut self, file: &str) {
        let state = flat(&self.trainer.state());
        self.compare_tensors(file, &state, self.tolerance.state);
    }

    /// Compares what a golden file holds with `found`, if the run has such a file.
    fn compare_tensors(&mut self, file: &str, found: &BTreeMap<String, Tensor>, tolerance: f64) {
        if file != "final" && !self.files.contains(&file) {
            return;
        }
        let golden = tensors(&golden(&format!("model/step/{}/{file}.safetensors", self.name)));
        let names: Vec<String> = golden.keys().cloned().collect();
        let mut comparison = Comparison::with(golden);
        for name in names {
            let tensor = found.get(&name).unwrap_or_else(|| panic!("{file}: the trainer has no {name}"));
            let adamw = self.optimizer == OptimizerKind::AdamW && file != "grads_1";
            if adamw && name.ends_with("attn.qkv.bias") {
                signal_agrees(&comparison, &name, tensor, tolerance);
            } else if name.ends_with("queue_ptr") || name.ends_with("num_batches_tracked") {
                comparison.check(&name, tensor, 0.0);
            } else {
                let noisy = adamw && self.batch_norm && has_no_signal(&name);
                comparison.check(&name, tensor, if noisy { NOISE } else { tolerance });
            }
            self.compared += 1;
        }
        comparison.finish();
    }
}

/// What rounding noise comes to where AdamW makes steps of it.
const NOISE: f64 = 3e-2;

/// Whether a tensor of a run with BatchNorm and AdamW follows gradients that are nothing but rounding noise: shifts in
/// front of a BatchNorm, and what moves with them.
fn has_no_signal(name: &str) -> bool {
    let shifts = ["group_head.projector.0.bias", "group_head.projector.3.bias", "backbone.norm.bias", "running_mean"];
    shifts.iter().any(|shift| name.ends_with(shift)) || name.contains("_mem.block.queue_")
}

/// Compares query and value thirds of a bias. The key third has no gradient but rounding noise, which AdamW turns into
/// steps as large as the learning rate.
fn signal_agrees(comparison: &Comparison, name: &str, found: &Tensor, tolerance: f64) {
    let difference = (found - comparison.golden(name)).abs();
    let largest = |third: i64| difference.narrow(0, 48 * third, 48).max().double_value(&[]);
    let [query, key, value] = [0, 1, 2].map(largest);
    assert!(query <= tolerance && value <= tolerance, "{name}: {query:e}, {value:e}");
    assert!(key <= 5e-3, "{name}: the keys' part differs by {key:e}");
}

fn close(found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, not {expected}");
}

fn norms_agree(found: &BTreeMap<String, f64>, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected["grad_norms"].as_object().unwrap();
    for (name, norm) in expected {
        let found = found.get(name).unwrap_or_else(|| panic!("{what}: no gradient of {name}"));
        close(*found, norm, tolerance, &format!("{what}, gradient of {name}"));
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}
