//! `step/*_w2_*`: whole runs of two ranks, each a process; and that the number of ranks changes nothing.

use std::sync::Arc;

use mugs_compute::collective::Collective;
use mugs_compute::model::ModelConfig;
use mugs_compute::optim::OptimizerKind;
use mugs_compute::trainer::{StepError, StepInput, Trainer};
use tch::Tensor;

use crate::group::{processes, threads};
use crate::run::Run;
use crate::state::bits;
use crate::tiny::{flat, images, input, model_config, schedules_of, train_config_of, trainer_of};

macro_rules! golden_runs {
    ($($test:ident: $name:literal,)+) => {$(
        #[test]
        fn $test() {
                processes(concat!("ranks::", stringify!($test)), 2, |group| Run::on($name, group).all());
        }
    )+};
}

golden_runs! {
    adamw: "adamw_w2_nl0_bn0",
    adamw_with_fixed_lengths_of_the_last_layer: "adamw_w2_nl1_bn0",
    adamw_with_batch_norm: "adamw_w2_nl0_bn1",
    adamw_with_batch_norm_and_fixed_lengths: "adamw_w2_nl1_bn1",
    sgd_with_batch_norm: "sgd_w2_nl0_bn1",
}

/// The images of `all` that a rank has: those whose position leaves its number over.
fn share(all: &StepInput, rank: usize, world: usize) -> StepInput {
    let images = all.images();
    let own: Vec<i64> = (0..images).filter(|image| *image as usize % world == rank).collect();
    let rows = |crops: &Tensor| {
        let number = crops.size()[0] / images;
        let rows: Vec<i64> = (0..number).flat_map(|crop| own.iter().map(move |image| crop * images + image)).collect();
        crops.index_select(0, &Tensor::from_slice(&rows))
    };
    StepInput {
        global: rows(&all.global),
        local: all.local.as_ref().map(rows),
        weak: own.iter().map(|image| all.weak[*image as usize]).collect(),
        positions: own.iter().map(|image| all.positions[*image as usize]).collect(),
        step: all.step,
    }
}

/// Single images as micro-batches.
fn ones(input: &StepInput) -> Vec<StepInput> {
    let images = input.images() as usize;
    (0..images).map(|image| share(input, image, images)).collect()
}

/// A trainer after three steps on the same four images each, on as many ranks as `group` has.
fn trained(
    model: &ModelConfig,
    group: Option<&Arc<dyn Collective>>,
    single: bool,
    optimizer: OptimizerKind,
) -> Trainer {
    let mut trainer = trainer_of(model, &train_config_of(optimizer));
    let (rank, world) = group.map_or((0, 1), |group| (group.rank(), group.world()));
    if let Some(group) = group {
        trainer.share(group, 20_000);
    }
    let images = images();
    for step in 0..3 {
        let own = share(&input(&images, step), rank, world);
        let inputs = if single { ones(&own) } else { vec![own] };
        trainer.step_accumulated(&inputs, &schedules_of(optimizer).at(0, step)).unwrap();
    }
    trainer
}

/// Networks, centre and optimiser; rows of rings as sets, since ranks write theirs one after the other.
fn compare(found: &Trainer, expected: &Trainer, what: &str) {
    let (found, expected) = (flat(&found.state()), flat(&expected.state()));
    assert!(found.keys().eq(expected.keys()));
    for (name, tensor) in &found {
        let ring = name.contains("queue") && !name.ends_with("_ptr");
        let sorted = |tensor: &Tensor| match (ring, name.ends_with("|queue")) {
            (false, _) => tensor.shallow_clone(),
            (true, true) => tensor.sort(1, false).0,
            (true, false) => tensor.sort(0, false).0,
        };
        let difference = (sorted(tensor) - sorted(&expected[name])).abs().max().double_value(&[]);
        assert!(difference < 2e-5, "{what}: {name} differs by {difference:e}");
    }
}

#[test]
fn any_number_of_ranks_trains_the_same() {
    for (batch_norm, checkpoint_activations, single) in
        [(false, false, false), (true, false, false), (false, true, false), (false, false, true)]
    {
        let model = ModelConfig {
            use_bn_in_head: batch_norm,
            checkpoint_activations,
            drop_path_rate: 0.3,
            ..model_config(false)
        };
        let alone = trained(&model, None, single, OptimizerKind::Sgd);
        for world in [2, 4] {
            let what = format!("{world} ranks, BatchNorm {batch_norm}, again {checkpoint_activations}, ones {single}");
            let all = threads(world, |group| trained(&model, Some(group), single, OptimizerKind::Sgd));
            all.iter().for_each(|trainer| compare(trainer, &alone, &what));
            let all: Vec<_> = all.iter().map(|trainer| bits(&trainer.state())).collect();
            assert!(all.iter().all(|state| *state == all[0]), "{what}: the ranks' states differ");
        }
    }
}

#[test]
fn one_rank_s_bad_loss_ends_the_step_on_all_and_changes_nothing() {
    for batch_norm in [false, true] {
        let model = ModelConfig { use_bn_in_head: batch_norm, ..model_config(false) };
        let errors = threads(2, |group| {
            let mut trainer = trainer_of(&model, &train_config_of(OptimizerKind::AdamW));
            trainer.share(group, 20_000);
            let images = images();
            let rates = schedules_of(OptimizerKind::AdamW).at(1, 0);
            let good = |step| share(&input(&images, step), group.rank(), 2);
            trainer.step(&good(0), &rates).unwrap();
            let before = bits(&trainer.state());
            let bad = good(1);
            if group.rank() == 1 {
                let _ = bad.global.get(4).get(0).get(5).get(5).fill_(f64::NAN);
            }
            let error = trainer.step(&bad, &rates).unwrap_err();
            assert!(bits(&trainer.state()) == before, "rank {}", group.rank());
            // The group is whole, and what was on the way has gone.
            trainer.step(&good(1), &rates).unwrap();
            error
        });
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], texts[1]);
        // With BatchNorm the bad image is in the statistics of both.
        let first = if batch_norm { "on rank 0 is NaN at step 1" } else { "on rank 1 is NaN at step 1" };
        assert!(texts[0].contains(first), "{}", texts[0]);
        assert!(errors.iter().all(|error| matches!(error, StepError::NonFinite { step: 1, .. })));
    }
}

#[test]
fn a_rank_that_gives_up_ends_the_step_of_the_other() {
    let errors = threads(2, |group| {
        let mut trainer = trainer_of(&model_config(false), &train_config_of(OptimizerKind::AdamW));
        trainer.share(group, 20_000);
        let input = share(&input(&images(), 0), group.rank(), 2);
        let before = bits(&trainer.state());
        std::thread::scope(|scope| {
            // As a watch over the other ranks would, having heard that one is gone.
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(300));
                group.abort();
            });
            (group.rank() == 0).then(|| {
                let error = trainer.step(&input, &schedules_of(OptimizerKind::AdamW).at(0, 0)).unwrap_err();
                assert!(bits(&trainer.state()) == before);
                error.to_string()
            })
        })
    });
    let [Some(error), None] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(error, "step 0 was not taken: all-reduce with the other ranks was given up");
}
