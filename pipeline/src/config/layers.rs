//! Layers: defaults, a recipe, a file, the environment, flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use mugs_simd::Level;
use toml::{Table, Value};

use super::recipes::{self, Named};
use super::values::{self, RECIPE};
use super::{Assignment, Flags, RunConfig};

/// Where a command's options come from.
#[derive(Clone, Debug, Default, Args)]
pub struct Sources {
    /// A TOML file with options (as written to config.toml of a run); environment and flags override it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The options of a published run.
    #[arg(long, value_name = "NAME", value_parser = recipes::named, help = recipes::help())]
    pub recipe: Option<Named>,
    /// Any option by its name, with a value as TOML has it or a bare word (--set lr=1e-3 --set arch=vit_base); the option's own flag overrides it. In the environment: MUGS_LR=1e-3
    #[arg(long, value_name = "OPTION=VALUE")]
    pub set: Vec<Assignment>,
    /// The options.
    #[command(flatten)]
    pub options: Flags,
}

/// What a command is to do.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// All options.
    pub config: RunConfig,
    /// The recipe that they began with.
    pub recipe: Option<Named>,
}

impl Sources {
    /// Puts the layers together: defaults < `--recipe` < `--config` < environment < `--set` < flags. The kind of vectors
    /// is chosen for the whole program.
    pub fn resolve(&self) -> Result<Resolved> {
        self.over(RunConfig::default())
    }

    /// The same with another configuration in the place of the defaults: that of a checkpoint.
    pub fn over(&self, base: RunConfig) -> Result<Resolved> {
        let resolved = self.layers(&base, |name| std::env::var_os(name))?;
        // Without a choice of its own the program takes that of MUGS_SIMD, or the best.
        let simd = &resolved.config.simd;
        if simd != "auto" {
            Level::named(simd).with_context(|| format!("--simd {simd}"))?.choose();
        }
        Ok(resolved)
    }

    fn layers(&self, base: &RunConfig, variable: impl Fn(&str) -> Option<OsString>) -> Result<Resolved> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let environment = environment(variable)?;
        if !environment.is_empty() {
            tracing::info!("the environment sets {}", recipes::in_words(&environment));
        }
        let set = self.set.iter().map(|assignment| (assignment.name.clone(), assignment.value.clone())).collect();
        let mut layers: [Table; 3] = [file, environment, set];
        let asked = layers.iter_mut().fold(None, |asked, layer| layer.remove(RECIPE).or(asked));
        let recipe = match (self.recipe, asked) {
            (Some(recipe), _) => Some(recipe),
            (None, Some(name)) => Some(recipes::named(name.as_str().context("a recipe is named by a text")?)?),
            (None, None) => None,
        };
        let mut table = Table::try_from(base)?;
        table.extend(recipe.as_ref().map(Named::table).transpose()?.unwrap_or_default());
        layers.into_iter().for_each(|layer| table.extend(layer));
        let mut config: RunConfig = table.try_into()?;
        self.options.clone().apply(&mut config);
        // A set: two orders are no two configurations.
        config.fix.sort_unstable();
        config.fix.dedup();
        config.check()?;
        Ok(Resolved { config, recipe })
    }
}

/// The options of a file; names and types are looked over here, where the file can be named.
fn read(path: &Path) -> Result<Table> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("{shown} is not a TOML file"))?;
    for (name, value) in &table {
        let good = values::known(name).and_then(|()| match (name.as_str(), value) {
            (RECIPE, Value::String(recipe)) => recipes::named(recipe).map(|_| ()),
            (RECIPE, _) => bail!("recipe should be a name, not {value}"),
            _ => values::fits(name, value),
        });
        good.with_context(|| format!("{shown} is not a valid configuration"))?;
    }
    Ok(table)
}

/// The options that the environment sets: `MUGS_` and the option's name in capitals. An empty one counts as not set;
/// names that are no option's are others' business (MUGS_LOG is the log's).
fn environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Table> {
    let mut table = Table::new();
    for name in values::defaults()?.keys().map(String::as_str).chain([RECIPE]) {
        let called = format!("MUGS_{}", name.to_ascii_uppercase());
        let Some(text) = variable(&called).filter(|text| !text.is_empty()) else { continue };
        let text = text.to_str().with_context(|| format!("{called} in the environment is not UTF-8"))?;
        let assignment = Assignment::new(name, text).with_context(|| format!("{called} in the environment"))?;
        table.insert(assignment.name, assignment.value);
    }
    Ok(table)
}

/// Turns `--batch-size-per-gpu` into `--batch_size_per_gpu`: both spellings of a flag are the same.
pub fn normalise_flags(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    arguments
        .map(|argument| match argument.to_str() {
            Some(text) if text.starts_with("--") && text.len() > 2 => {
                let (name, value) = text[2..].split_at(text[2..].find('=').unwrap_or(text.len() - 2));
                format!("--{}{value}", name.replace('-', "_")).into()
            }
            _ => argument,
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        sources: Sources,
    }

    fn parsed(arguments: &[&str]) -> Result<Sources> {
        let arguments = ["command"].iter().chain(arguments).map(OsString::from);
        Ok(Command::try_parse_from(normalise_flags(arguments))?.sources)
    }

    /// What a command line and an environment give.
    fn resolved_in(environment: &[(&str, &str)], arguments: &[&str]) -> Result<Resolved> {
        let environment: HashMap<&str, &str> = environment.iter().copied().collect();
        let variable = |name: &str| environment.get(name).map(OsString::from);
        parsed(arguments)?.layers(&RunConfig::default(), variable)
    }

    /// What a command line alone gives.
    pub fn resolved(arguments: &[&str]) -> Result<RunConfig> {
        Ok(resolved_in(&[], arguments)?.config)
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    #[test]
    fn each_layer_overrides_the_ones_before_it() {
        let (_folder, path) = file("recipe = \"vit_base_400ep\"\nlr = 1\nmin_lr = 0.1\nweight_decay = 0.3\n");
        let environment = [("MUGS_MIN_LR", "0.2"), ("MUGS_WEIGHT_DECAY", "0.4"), ("MUGS_CLIP_GRAD", "1")];
        let arguments =
            ["--config", &path, "--set", "weight_decay=0.5", "--set", "clip-grad=2", "--set", "seed=7", "--seed", "8"];
        let Resolved { config, recipe } = resolved_in(&environment, &arguments).unwrap();
        assert_eq!(recipe.map(|recipe| recipe.name()), Some("vit_base_400ep"));
        let expected = RunConfig {
            // The recipe over the defaults.
            arch: "vit_base".into(),
            epochs: 400,
            weight_decay_end: 0.1,
            group_teacher_temp: 0.07,
            group_warmup_teacher_temp_epochs: 50,
            freeze_last_layer: 3,
            // The file over the recipe.
            lr: 1.0,
            // The environment over the file.
            min_lr: 0.2,
            // `--set` over the environment, and flags over that.
            weight_decay: 0.5,
            clip_grad: 2.0,
            seed: 8,
            ..RunConfig::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn a_recipe_may_be_named_by_any_layer_and_the_flag_wins() {
        let (_folder, path) = file("recipe = \"vit_base_400ep\"\n");
        let environment = [("MUGS_RECIPE", "vit_small_800ep")];
        let epochs = |environment: &[_], arguments: &[&str]| resolved_in(environment, arguments).unwrap().config.epochs;
        assert_eq!(epochs(&[], &[]), 100);
        assert_eq!(epochs(&[], &["--config", &path]), 400);
        assert_eq!(epochs(&environment, &["--config", &path]), 800);
        assert_eq!(epochs(&environment, &["--set", "recipe=vit_small_300ep"]), 300);
        assert_eq!(epochs(&environment, &["--set", "recipe=vit_small_300ep", "--recipe", "vit_large_250ep"]), 250);
    }

    #[test]
    fn a_written_configuration_gives_the_same_without_its_recipe() {
        let config = resolved(&["--recipe", "vit_large_250ep", "--set", "lr=0.25", "--loss_weights", "1", "0", "1"]);
        let config = config.unwrap();
        let text = toml::to_string_pretty(&config).unwrap();
        assert!(!text.contains("recipe"), "{text}");
        let (_folder, path) = file(&text);
        let again = resolved_in(&[], &["--config", &path]).unwrap();
        assert_eq!((again.config, again.recipe), (config, None));
    }

    #[test]
    fn the_environment_sets_options_and_leaves_other_names_alone() {
        let environment = [
            ("MUGS_BATCH_SIZE_PER_GPU", "8"),
            ("MUGS_COLOR_AUG", "True"),
            ("MUGS_LOSS_WEIGHTS", "1 0 1"),
            ("MUGS_DATA_PATH", "/sets/train"),
            ("MUGS_ARCH", ""),
            ("MUGS_LOG", "debug"),
            ("MUGS_TEST_STRICT", "1"),
            ("MUGS_EPOCS", "3"),
            ("mugs_epochs", "3"),
        ];
        let config = resolved_in(&environment, &[]).unwrap().config;
        let expected = RunConfig {
            batch_size_per_gpu: 8,
            color_aug: true,
            loss_weights: vec![1.0, 0.0, 1.0],
            data_path: "/sets/train".into(),
            ..RunConfig::default()
        };
        assert_eq!(config, expected);
        let error = format!("{:#}", resolved_in(&[("MUGS_EPOCHS", "many")], &[]).unwrap_err());
        assert_eq!(error, "MUGS_EPOCHS in the environment: epochs should be a whole number, not `many`");
    }

    #[test]
    fn every_option_is_a_flag_that_takes_its_default_and_switches_as_published() {
        for (name, value) in values::defaults().unwrap() {
            let flag = format!("--{name}");
            let given: Vec<String> = match &value {
                Value::String(text) => vec![text.clone()],
                Value::Array(items) => items.iter().map(ToString::to_string).collect(),
                other => vec![other.to_string()],
            };
            let arguments: Vec<&str> = [&*flag].into_iter().chain(given.iter().map(String::as_str)).collect();
            assert_eq!(resolved(&arguments).unwrap(), RunConfig::default(), "{name}");
            if let Value::Boolean(_) = value {
                for (text, on) in [("True", true), ("1", true), ("true", true), ("False", false), ("0", false)] {
                    let mut config = RunConfig::default();
                    parsed(&[&flag, text]).unwrap().options.apply(&mut config);
                    assert_eq!(Table::try_from(&config).unwrap()[&name], Value::Boolean(on), "{name} {text}");
                }
                assert!(parsed(&[&flag, "perhaps"]).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn a_wrong_recipe_or_assignment_is_a_usage_error() {
        for (arguments, sentence) in [
            (["--recipe", "vit_huge"], "there is no recipe `vit_huge`, but vit_small_100ep"),
            (["--set", "leraning_rate=1"], "there is no option `leraning_rate`"),
            (["--set", "lr=fast"], "lr should be a number, not `fast`"),
        ] {
            let error = parsed(&arguments).unwrap_err().to_string();
            assert!(error.contains(sentence) && error.contains(arguments[0]), "{error}");
        }
    }

    fn flags(arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(OsString::from);
        normalise_flags(arguments).into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn both_spellings_of_a_flag_are_the_same() {
        assert_eq!(flags(&["--max-steps", "4"]), ["--max_steps", "4"]);
        assert_eq!(flags(&["--data-path=/a-b/c-d"]), ["--data_path=/a-b/c-d"], "values keep their dashes");
        assert_eq!(flags(&["a-b", "-v", "--", "-"]), ["a-b", "-v", "--", "-"]);
    }

    #[test]
    fn a_wrong_file_is_refused_by_name() {
        for (text, sentence) in [
            ("learning_rate = 1.0", "there is no option `learning_rate`; the nearest is"),
            ("lr = \"fast\"", "lr cannot be \"fast\": "),
            ("recipe = \"vit_huge\"", "there is no recipe `vit_huge`"),
            ("recipe = 3", "recipe should be a name, not 3"),
            ("lr = ", "is not a TOML file"),
        ] {
            let (_folder, path) = file(text);
            let error = format!("{:#}", resolved(&["--config", &path]).unwrap_err());
            assert!(error.contains(sentence) && error.contains("run.toml"), "{error}");
        }
    }
}
