//! The published run's checkpoint as a start: the state that our own run of the same steps has, and the same next step.

use mugs_compute::checkpoint::{Checkpoint, Loaded, MugsState, Published};
use mugs_compute::state::TrainState;
use mugs_compute::trainer::Trainer;
use mugs_test_support::{golden, tally};
use tch::{Device, Tensor, set_num_threads};

use crate::common::tensors;
use crate::state::bits;
use crate::tiny::{PER_EPOCH, flat, images, input, model_config, schedules, train_config, trainer};

/// What the golden data allow between two runs of six steps, and three times that for one step more.
const TOLERANCE: f64 = 1e-5;
const AFTER: f64 = 3e-5;
/// The key third of these biases has no gradient but rounding noise, which AdamW makes as large as the learning rate.
const NOISE: f64 = 5e-3;

fn published() -> Box<Published> {
    match Loaded::read(&golden("model/checkpoint/checkpoint.pth")).unwrap() {
        Loaded::Published(published) => published,
        Loaded::Own(_) => panic!("it is none of ours"),
    }
}

fn resumed(state: &TrainState) -> Trainer {
    set_num_threads(1);
    Trainer::resume(&model_config(false), &train_config(), 0, Device::Cpu, state).unwrap()
}

/// Our own run through the six steps that the checkpoint is the end of.
fn own_run() -> Trainer {
    let (images, mut own) = (images(), trainer(&model_config(false)));
    for step in 0..2 * PER_EPOCH {
        let rates = schedules().at((step / PER_EPOCH) as u32, step % PER_EPOCH);
        own.step(&input(&images, step), &rates).unwrap();
    }
    own
}

/// One step more, with crops and rates that both runs have seen.
fn next(trainer: &mut Trainer) -> f64 {
    trainer.step(&input(&images(), 5), &schedules().at(1, 2)).unwrap().total
}

fn largest(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// Compares two states, and gives the number of tensors compared.
fn same(found: &TrainState, expected: &TrainState, tolerance: f64) -> usize {
    let (all, other) = (flat(found), flat(expected));
    assert!(all.keys().eq(other.keys()));
    for (name, tensor) in &all {
        let limit = if name.ends_with("qkv.bias") { NOISE } else { tolerance };
        let difference = largest(tensor, &other[name]);
        assert!(difference <= if name.ends_with("queue_ptr") { 0.0 } else { limit }, "{name}: {difference:e}");
    }
    let (found, expected) = (&found.optimizer, &expected.optimizer);
    assert!(found.moments.keys().eq(expected.moments.keys()));
    for (name, moments) in &found.moments {
        let other = &expected.moments[name];
        assert_eq!(moments.step, other.step, "{name}");
        for (a, b) in [(&moments.exp_avg, &other.exp_avg), (&moments.exp_avg_sq, &other.exp_avg_sq)] {
            assert!(largest(a, b) <= tolerance, "{name}: {:e}", largest(a, b));
        }
    }
    for (group, other) in found.groups.iter().zip(&expected.groups) {
        assert_eq!((&group.name, &group.parameters, group.apply_wd), (&other.name, &other.parameters, other.apply_wd));
        assert!((group.lr - other.lr).abs() <= 1e-12 && (group.weight_decay - other.weight_decay).abs() <= 1e-12);
    }
    all.len() + 2 * found.moments.len()
}

#[test]
fn a_published_checkpoint_is_the_end_of_our_own_run_and_goes_on_like_it() {
    let mut own = own_run();
    let mut from_file = resumed(&published().state);
    let compared = same(&from_file.state(), &own.state(), TOLERANCE);
    tally("published checkpoint and our run", compared, "tensors");
    let (ours, theirs) = (next(&mut own), next(&mut from_file));
    assert!((ours - theirs).abs() <= AFTER, "{ours} and {theirs}");
    same(&from_file.state(), &own.state(), AFTER);
}

#[test]
fn a_published_checkpoint_is_the_published_run_s_final_state() {
    let state = flat(&published().state);
    let expected = tensors(&golden("model/step/adamw_w1_nl0_bn0/final.safetensors"));
    assert!(expected.len() > 100, "{}", expected.len());
    for (name, expected) in &expected {
        assert!(state[name].equal(expected), "{name}");
    }
}

#[test]
fn a_published_checkpoint_written_as_ours_goes_on_to_the_bit() {
    let Published { state, epoch, args } = *published();
    let mut direct = resumed(&state);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.pth");
    Checkpoint { state, epoch, args, mugs: MugsState::default() }.write(&path).unwrap();
    let mut through_file = resumed(&Checkpoint::read(&path).unwrap().state);
    assert!(bits(&direct.state()) == bits(&through_file.state()));
    assert!(next(&mut direct) == next(&mut through_file));
    assert!(bits(&direct.state()) == bits(&through_file.state()));
}
