//! Layers: defaults, then a file, then flags; and what differs between two configurations.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail};
use mugs_simd::Level;

use super::{FREE_ON_RESUME, Flags, RunConfig};

/// Puts the layers together: defaults < `--config` file < flags. The kind of vectors is chosen for the whole program.
pub fn resolve(file: Option<&Path>, flags: Flags) -> Result<RunConfig> {
    let mut config = match file {
        None => RunConfig::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("{} is not a valid configuration", path.display()))?
        }
    };
    flags.apply(&mut config);
    config.check()?;
    // Without a choice of its own the program takes that of MUGS_SIMD, or the best.
    if config.simd != "auto" {
        Level::named(&config.simd).with_context(|| format!("--simd {}", config.simd))?.choose();
    }
    Ok(config)
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

/// Options that differ between a run's configuration and the one it is resumed with, as `name: before -> now`.
pub fn drift(before: &RunConfig, now: &RunConfig) -> Result<Vec<String>> {
    let (toml::Value::Table(before), toml::Value::Table(now)) =
        (toml::Value::try_from(before)?, toml::Value::try_from(now)?)
    else {
        bail!("a configuration is always a table");
    };
    Ok(now
        .iter()
        .filter(|(name, value)| !FREE_ON_RESUME.contains(&name.as_str()) && before.get(name.as_str()) != Some(value))
        .map(|(name, value)| match before.get(name.as_str()) {
            Some(old) => format!("{name}: {old} -> {value}"),
            None => format!("{name}: absent -> {value}"),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn drift_names_what_differs_and_lets_free_options_pass() {
        let before = RunConfig::default();
        let now = RunConfig { lr: 0.5, num_workers: 7, max_steps: 3, ..RunConfig::default() };
        assert_eq!(drift(&before, &now).unwrap(), ["lr: 0.0008 -> 0.5"]);
        // Another pixel limit is another idea of what is bad, which may change; another way of decoding may not.
        let now = RunConfig { max_pixels: 1 << 30, jpeg: "fast".into(), ..RunConfig::default() };
        assert_eq!(drift(&before, &now).unwrap(), [r#"jpeg: "exact" -> "fast""#]);
    }

    #[test]
    fn a_file_with_an_unknown_option_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, "learning_rate = 1.0\n").unwrap();
        let error = format!("{:#}", resolve(Some(&path), Flags::default()).unwrap_err());
        assert!(error.contains("learning_rate") && error.contains("run.toml"), "{error}");
    }

    #[test]
    fn every_free_option_exists() {
        let toml::Value::Table(all) = toml::Value::try_from(RunConfig::default()).unwrap() else { panic!() };
        for name in FREE_ON_RESUME {
            assert!(all.contains_key(*name), "{name}");
        }
    }
}
