//! Everything that can be wrong with a run's configuration, seen before anything is packed, opened or met.

use anyhow::{Result, bail, ensure};

use super::RunConfig;
use crate::launch;

/// A year in seconds: libtorch counts a time-out's end in nanoseconds.
const LONGEST_TIMEOUT: f64 = 31_536_000.0;

/// In MiB, a terabyte: more than all gradients.
const LARGEST_BUCKET: f64 = 1_048_576.0;

impl RunConfig {
    /// Looks over what can be seen without data: names, ranges, sizes that belong together.
    pub fn check(&self) -> Result<()> {
        ensure!(self.epochs > 0, "--epochs is 0: nothing would be trained");
        ensure!(self.batch_size_per_gpu > 0, "--batch_size_per_gpu is 0");
        ensure!(self.accumulate > 0, "--accumulate is 0: a step has at least one micro-batch");
        ensure!(self.loss_weights.len() == 3, "--loss_weights wants three numbers");
        for (name, size) in [("global_crops_size", self.global_crops_size), ("size_crops", self.size_crops)] {
            let patch = self.patch_size.max(1) as usize;
            ensure!(
                size >= patch && size % patch == 0,
                "--{name} {size} is not a multiple of --patch_size {patch}: choose {} or {}",
                (size / patch).max(1) * patch,
                (size / patch + 1) * patch
            );
        }
        ensure!(
            self.local_crops_number == 0 || self.size_crops != self.global_crops_size,
            "--size_crops and --global_crops_size are both {}: local crops must be of another size",
            self.size_crops
        );
        self.check_launch()?;
        self.check_whole_numbers()?;
        ensure!(
            self.save_every_minutes.is_finite() && self.save_every_minutes >= 0.0,
            "--save_every_minutes {} is no length of time: give minutes, or 0 for none",
            self.save_every_minutes
        );
        self.model()?;
        self.optimizer()?;
        self.crops()?;
        self.fetch()?;
        self.decoder()?;
        Ok(())
    }

    /// Looks over what training alone needs: rates over the run, temperatures, queues.
    pub fn check_training(&self) -> Result<()> {
        // Nothing that is checked depends on how many steps an epoch has.
        self.schedules(1)?;
        Ok(self.training()?.validate()?)
    }

    /// A run writes its options down as TOML, whose whole numbers have 63 bits.
    fn check_whole_numbers(&self) -> Result<()> {
        let serde_json::Value::Object(options) = serde_json::to_value(self)? else { return Ok(()) };
        let too_large = |value: &serde_json::Value| value.as_u64().is_some_and(|number| i64::try_from(number).is_err());
        match options.iter().find(|(_, value)| too_large(value)) {
            Some((name, value)) => bail!("--{name} {value} is too large: {} at most", i64::MAX),
            None => Ok(()),
        }
    }

    /// The options of ranks that train together, as far as they can be looked over before the launch is known.
    fn check_launch(&self) -> Result<()> {
        for (name, value, unit, most) in [
            ("sync_timeout", self.sync_timeout, "seconds", LONGEST_TIMEOUT),
            ("bucket_mb", self.bucket_mb, "MiB", LARGEST_BUCKET),
        ] {
            ensure!(value > 0.0 && value <= most, "--{name} {value}: give {unit}, more than 0 and at most {most}");
        }
        launch::check_url(&self.dist_url)
    }
}

#[cfg(test)]
mod tests {
    use mugs_compute::optim::OptimizerKind;

    use super::*;

    #[test]
    fn what_is_not_built_is_refused_with_the_way_out() {
        let default = RunConfig::default;
        for (wrong, sentence) in [
            (RunConfig { optimizer: "adam".into(), ..default() }, "--optimizer adam"),
            (
                RunConfig { use_fp16: true, precision: "bf16".into(), ..default() },
                "--use_fp16 true is --precision fp16, but --precision is bf16",
            ),
            (RunConfig { sync_timeout: 0.0, ..default() }, "--sync_timeout 0: give seconds, more than 0"),
            (RunConfig { sync_timeout: 1e20, ..default() }, "give seconds, more than 0 and at most 31536000"),
            (RunConfig { bucket_mb: f64::NAN, ..default() }, "--bucket_mb NaN: give MiB, more than 0"),
            (RunConfig { seed: 1 << 63, ..default() }, "--seed 9223372036854775808 is too large: 9223372036854775807"),
            (RunConfig { max_pixels: u64::MAX, ..default() }, "--max_pixels 18446744073709551615 is too large"),
            (RunConfig { dist_url: "host:1".into(), ..default() }, "--dist_url host:1 is neither env:// nor tcp://"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
        for kind in OptimizerKind::ALL {
            let config = RunConfig { optimizer: kind.to_string(), use_bn_in_head: true, ..default() };
            config.check().unwrap();
            assert_eq!((config.optimizer().unwrap(), config.model().unwrap().use_bn_in_head), (kind, true));
        }
        // What has no effect is taken.
        let idle = RunConfig { debug: true, ddpjob: true, strong_ratio: 0.1, ..default() };
        idle.check().unwrap();
    }

    #[test]
    fn what_only_training_needs_is_looked_over_before_it_begins() {
        let default = RunConfig::default;
        default().check_training().unwrap();
        for (wrong, part) in [
            (
                RunConfig { epochs: 5, ..default() },
                "a warm-up of 10 epochs (`warmup_epochs`) does not fit into a run of 5",
            ),
            (RunConfig { lr: -1.0, ..default() }, "`lr` is -1"),
            (RunConfig { group_teacher_temp: 0.0, ..default() }, "`group_teacher_temp` is 0"),
            (RunConfig { momentum_teacher: 2.0, ..default() }, "`momentum_teacher` is 2"),
            (RunConfig { instance_queue_size: 0, ..default() }, "instance_queue_size is 0"),
        ] {
            // Data stages alone do without.
            wrong.check().unwrap();
            let error = wrong.check_training().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
