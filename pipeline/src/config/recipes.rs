//! Options under a name: those of the published runs, with what came out of them, and of a small run of our own.

use anyhow::{Result, bail};
use serde::Serialize;
use toml::{Table, Value};

use super::RunConfig;

/// A published run on ImageNet-1K.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// What `--recipe` calls it.
    pub name: &'static str,
    /// Accuracy of the nearest neighbours' vote, in percent.
    pub knn: f64,
    /// Accuracy of a linear classifier, in percent.
    pub linear: f64,
    /// Pictures of a step over all GPUs. No option of the recipe, since hosts differ.
    pub global_batch: u64,
    /// GPUs that share the batch evenly, where their number was published.
    pub gpus: Option<u64>,
    /// The options that it sets. All others have their published values by default.
    pub options: Settings,
}

/// The options that tell the recipes apart, under their names.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Settings {
    pub arch: &'static str,
    pub epochs: usize,
    pub lr: f64,
    pub min_lr: f64,
    pub weight_decay: f64,
    pub weight_decay_end: f64,
    pub group_warmup_teacher_temp: f64,
    pub group_teacher_temp: f64,
    pub group_warmup_teacher_temp_epochs: usize,
    pub norm_last_layer: bool,
    pub freeze_last_layer: usize,
    pub drop_path_rate: f64,
}

const SMALL_100: Settings = Settings {
    arch: "vit_small",
    epochs: 100,
    lr: 8e-4,
    min_lr: 1e-6,
    weight_decay: 0.04,
    weight_decay_end: 0.2,
    group_warmup_teacher_temp: 0.04,
    group_teacher_temp: 0.04,
    group_warmup_teacher_temp_epochs: 0,
    norm_last_layer: false,
    freeze_last_layer: 1,
    drop_path_rate: 0.1,
};

const SMALL_300: Settings = Settings {
    epochs: 300,
    weight_decay_end: 0.1,
    group_teacher_temp: 0.07,
    group_warmup_teacher_temp_epochs: 30,
    ..SMALL_100
};

/// All recipes.
pub static RECIPES: [Recipe; 5] = [
    Recipe { name: "vit_small_100ep", knn: 72.3, linear: 76.4, global_batch: 512, gpus: None, options: SMALL_100 },
    Recipe { name: "vit_small_300ep", knn: 74.8, linear: 78.2, global_batch: 1024, gpus: None, options: SMALL_300 },
    Recipe {
        name: "vit_small_800ep",
        knn: 75.6,
        linear: 78.9,
        global_batch: 1024,
        gpus: None,
        options: Settings { epochs: 800, ..SMALL_300 },
    },
    Recipe {
        name: "vit_base_400ep",
        knn: 78.0,
        linear: 80.6,
        global_batch: 1008,
        gpus: Some(24),
        options: Settings {
            arch: "vit_base",
            epochs: 400,
            min_lr: 2e-6,
            group_warmup_teacher_temp_epochs: 50,
            freeze_last_layer: 3,
            ..SMALL_300
        },
    },
    Recipe {
        name: "vit_large_250ep",
        knn: 80.3,
        linear: 82.1,
        global_batch: 640,
        gpus: None,
        options: Settings {
            arch: "vit_large",
            epochs: 250,
            lr: 1.5e-3,
            min_lr: 1.5e-4,
            weight_decay: 0.025,
            weight_decay_end: 0.08,
            group_warmup_teacher_temp_epochs: 50,
            norm_last_layer: true,
            freeze_last_layer: 3,
            drop_path_rate: 0.3,
            ..SMALL_300
        },
    },
];

/// A run for machines without a GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SmallRecipe {
    /// What `--recipe` calls it.
    pub name: &'static str,
    /// What it trains on, for how long, and what comes out.
    pub about: &'static str,
    /// The options, TOML with comments.
    pub options: &'static str,
}

/// All small recipes.
pub static SMALL_RECIPES: [SmallRecipe; 1] = [SmallRecipe {
    name: "cifar10_small",
    about: "CIFAR-10 on two processors in about 40 minutes, with --nproc 2: scripts/cifar10.sh packs it, trains and measures",
    options: include_str!("../../../examples/cifar10_small.toml"),
}];

/// What `--recipe` names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Named {
    /// A published run.
    Published(&'static Recipe),
    /// A small one.
    Small(&'static SmallRecipe),
}

/// The recipe of this name.
pub fn named(name: &str) -> Result<Named> {
    let published = RECIPES.iter().map(Named::Published);
    let all: Vec<Named> = published.chain(SMALL_RECIPES.iter().map(Named::Small)).collect();
    match all.iter().find(|recipe| recipe.name() == name) {
        Some(recipe) => Ok(*recipe),
        None => {
            let names: Vec<&str> = all.iter().map(|recipe| recipe.name()).collect();
            bail!("there is no recipe `{name}`, but {}", names.join(", "))
        }
    }
}

impl Named {
    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Named::Published(recipe) => recipe.name,
            Named::Small(recipe) => recipe.name,
        }
    }

    /// The options that the recipe sets.
    pub fn table(&self) -> Result<Table> {
        match self {
            Named::Published(recipe) => recipe.table(),
            Named::Small(recipe) => Ok(toml::from_str(recipe.options)?),
        }
    }

    /// Says at the start of a run what it follows, and where it departs from it.
    pub fn announce(&self, config: &RunConfig) -> Result<()> {
        match self {
            Named::Published(recipe) => recipe.announce(config),
            Named::Small(recipe) => {
                let changed = departures(&self.table()?, config)?;
                let but = if changed.is_empty() { String::new() } else { format!(", but with {}", changed.join(", ")) };
                tracing::info!("recipe {}{but}", recipe.name);
                Ok(())
            }
        }
    }
}

/// What `--help` says about `--recipe`.
pub fn help() -> String {
    let recipes: Vec<String> =
        RECIPES.iter().map(|r| format!("{} ({:.1} / {:.1} %, {})", r.name, r.knn, r.linear, r.pictures())).collect();
    format!(
        "The options of a published run; file, environment and flags override them. With its accuracy on ImageNet-1K \
         (k-NN / linear) and its pictures a step: {}. Beside these {}, a run for two processors. `mugs-pipeline recipes` \
         lists what each sets",
        recipes.join(", "),
        SMALL_RECIPES[0].name
    )
}

impl Recipe {
    /// The options that the recipe sets.
    pub fn table(&self) -> Result<Table> {
        Ok(Table::try_from(&self.options)?)
    }

    /// The batch in words: `1008 = 24 GPUs x 42`.
    pub fn pictures(&self) -> String {
        match self.gpus {
            Some(gpus) => format!("{} = {gpus} GPUs x {}", self.global_batch, self.global_batch / gpus),
            None => self.global_batch.to_string(),
        }
    }

    /// Says at the start of a run what it follows, and where it departs from it.
    pub fn announce(&self, config: &RunConfig) -> Result<()> {
        let Self { name, knn, linear, .. } = self;
        let changed = departures(&self.table()?, config)?;
        let but = if changed.is_empty() { String::new() } else { format!(", but with {}", changed.join(", ")) };
        tracing::info!("recipe {name} ({knn:.1} / {linear:.1} % of ImageNet-1K by k-NN / linear, as published){but}");
        if let Some(warning) = self.other_batch(config) {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// What keeps the published batch, if this run has another: as many micro-batches as make it up, each at most as
    /// large as the run's, which is what the host bears.
    fn other_batch(&self, config: &RunConfig) -> Option<String> {
        let (published, now) = (self.global_batch, config.global_batch());
        if now == published {
            return None;
        }
        let differs = format!(
            "recipe {} was published with {} pictures a step, this run has {now}, and the learning rate scales with them",
            self.name,
            self.pictures(),
        );
        let ranks = u64::from(config.ranks());
        if !published.is_multiple_of(ranks) {
            return Some(format!("{differs}; {ranks} ranks cannot share the published batch evenly"));
        }
        let of_rank = published / ranks;
        let most = (config.batch_size_per_gpu as u64).clamp(1, of_rank);
        let each = (1..=most).rev().find(|&each| of_rank.is_multiple_of(each)).unwrap_or(1);
        let on = if ranks > 1 { format!(" on each of {ranks} ranks") } else { String::new() };
        Some(format!(
            "{differs}: --batch_size_per_gpu {each} --accumulate {}{on} keeps the published batch",
            of_rank / each
        ))
    }
}

/// A recipe's options that have other values in a run, as `epochs = 3 (100)`.
fn departures(recipe: &Table, config: &RunConfig) -> Result<Vec<String>> {
    let now = Table::try_from(config)?;
    let changed = recipe.iter().filter_map(|(name, value)| {
        let now = now.get(name).filter(|now| *now != value)?;
        Some(format!("{name} = {now} ({value})"))
    });
    Ok(changed.collect())
}

/// The options in one line, as a TOML file has them.
pub fn in_words(table: &Table) -> String {
    let words: Vec<String> = table.iter().map(|(name, value): (&String, &Value)| format!("{name} = {value}")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::tests::resolved;

    #[test]
    fn recipes_are_the_published_ones() {
        // Architecture, epochs, batch, rates, decays, temperatures with warm-up, last layer, drop path, k-NN, linear.
        let published = [
            "vit_small 100 512 0.0008 0.000001 0.04 0.2 0.04 0.04 0 false 1 0.1 72.3 76.4",
            "vit_small 300 1024 0.0008 0.000001 0.04 0.1 0.04 0.07 30 false 1 0.1 74.8 78.2",
            "vit_small 800 1024 0.0008 0.000001 0.04 0.1 0.04 0.07 30 false 1 0.1 75.6 78.9",
            "vit_base 400 1008 0.0008 0.000002 0.04 0.1 0.04 0.07 50 false 3 0.1 78 80.6",
            "vit_large 250 640 0.0015 0.00015 0.025 0.08 0.04 0.07 50 true 3 0.3 80.3 82.1",
        ];
        for (recipe, row) in RECIPES.iter().zip(published) {
            let config = resolved(&["--recipe", recipe.name]).unwrap();
            config.check().unwrap();
            let RunConfig { arch, epochs, lr, min_lr, weight_decay, weight_decay_end, .. } = &config;
            let (from, to, over) =
                (config.group_warmup_teacher_temp, config.group_teacher_temp, config.group_warmup_teacher_temp_epochs);
            let (norm, freeze, drop) = (config.norm_last_layer, config.freeze_last_layer, config.drop_path_rate);
            let Recipe { knn, linear, global_batch, .. } = recipe;
            let ours = format!(
                "{arch} {epochs} {global_batch} {lr} {min_lr} {weight_decay} {weight_decay_end} {from} {to} {over} \
                 {norm} {freeze} {drop} {knn} {linear}"
            );
            assert_eq!(ours, row, "{}", recipe.name);
            // What all have in common.
            assert_eq!((config.warmup_epochs, config.clip_grad, config.momentum_teacher), (10, 3.0, 0.996));
            assert_eq!((config.instance_queue_size, config.local_group_queue_size), (65536, 65536));
            assert_eq!((config.global_crops_scale, config.local_crops_scale), (vec![0.25, 1.0], vec![0.05, 0.25]));
            assert_eq!((&*config.timm_auto_augment_par, config.prob), ("rand-m9-mstd0.5-inc1", 0.5));
            assert!(!config.use_fp16 && config.optimizer == "adamw");
        }
    }

    #[test]
    fn names_say_architecture_and_epochs_and_gpus_make_the_batch() {
        for recipe in &RECIPES {
            assert_eq!(recipe.name, format!("{}_{}ep", recipe.options.arch, recipe.options.epochs));
            assert!(recipe.gpus.is_none_or(|gpus| recipe.global_batch.is_multiple_of(gpus)));
            assert!(help().contains(recipe.name));
        }
        assert!(help().contains("vit_base_400ep (78.0 / 80.6 %, 1008 = 24 GPUs x 42)"), "{}", help());
    }

    #[test]
    fn small_recipes_set_options_that_exist_to_what_is_valid() {
        for recipe in &SMALL_RECIPES {
            let config = resolved(&["--recipe", recipe.name]).unwrap();
            config.check().unwrap();
            // Every option of the file arrived.
            assert_eq!(departures(&named(recipe.name).unwrap().table().unwrap(), &config).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn another_batch_is_warned_of_with_the_way_out() {
        let Named::Published(recipe) = named("vit_base_400ep").unwrap() else { panic!() };
        let with = |batch_size_per_gpu, accumulate| {
            recipe.other_batch(&RunConfig { batch_size_per_gpu, accumulate, ..RunConfig::default() })
        };
        let warning = with(64, 1).unwrap();
        assert!(warning.contains("published with 1008 = 24 GPUs x 42 pictures a step, this run has 64"), "{warning}");
        for (batch, accumulate, way_out) in [
            (64, 1, "--batch_size_per_gpu 63 --accumulate 16 keeps"),
            (4, 3, "--batch_size_per_gpu 4 --accumulate 252 keeps"),
            (2048, 1, "--batch_size_per_gpu 1008 --accumulate 1 keeps"),
        ] {
            let warning = with(batch, accumulate).unwrap();
            assert!(warning.contains(way_out), "{warning}");
        }
        assert_eq!((with(42, 24), with(1008, 1)), (None, None));
    }

    #[test]
    fn departures_are_named_with_what_the_recipe_has() {
        let recipe = named("vit_small_300ep").unwrap().table().unwrap();
        let config = resolved(&["--recipe", "vit_small_300ep", "--epochs", "3", "--seed", "5"]).unwrap();
        assert_eq!(departures(&recipe, &config).unwrap(), ["epochs = 3 (300)"]);
        let error = named("vit_huge").unwrap_err().to_string();
        assert!(error.starts_with("there is no recipe `vit_huge`, but vit_small_100ep, "), "{error}");
    }
}
