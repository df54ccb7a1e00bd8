//! What each stage is configured with, read off a run's configuration.

use anyhow::{Context, Result, bail, ensure};
use mugs_compute::loss::LossConfig;
use mugs_compute::model::{Arch, ModelConfig, Precision};
use mugs_compute::optim::OptimizerKind;
use mugs_compute::schedule::{ScheduleConfig, Schedules, TeacherTemperature};
use mugs_compute::trainer::TrainConfig;
use mugs_data::bad::OnBadSample;
use mugs_data::crop::CropConfig;
use mugs_data::fetch::FetchConfig;
use mugs_image::decode::{DecoderConfig, JpegMode};

use super::{Fix, RunConfig};
use crate::launch::{self, Launch};

/// With `--jpeg fast`, the least shorter side of a picture that was made smaller, in sides of the large crops. A crop of
/// a quarter of the area then has at least one such side squared; its aspect ratio, 3/4 to 4/3, may enlarge it a little.
const FAST_SIDE: usize = 2;

impl RunConfig {
    /// What backbone and heads multiply. Under its published name fp16 may be asked for beside the default.
    pub fn precision(&self) -> Result<Precision> {
        let named: Precision = self.precision.parse().with_context(|| format!("--precision {}", self.precision))?;
        match (self.use_fp16, named) {
            (true, Precision::Bf16) => {
                bail!("--use_fp16 true is --precision fp16, but --precision is bf16: choose one")
            }
            (true, _) => Ok(Precision::Fp16),
            (false, named) => Ok(named),
        }
    }

    /// The networks.
    pub fn model(&self) -> Result<ModelConfig> {
        let mut model = ModelConfig::new(self.arch.parse::<Arch>()?);
        let kept = |option: i64, preset: i64| if option == 0 { preset } else { option };
        model.embed_dim = kept(self.embed_dim, model.embed_dim);
        model.depth = kept(self.depth, model.depth);
        model.num_heads = kept(self.num_heads, model.num_heads);
        model.patch_size = self.patch_size;
        model.global_size = self.global_crops_size as i64;
        model.drop_path_rate = self.drop_path_rate;
        model.head_hidden_dim = self.head_hidden_dim;
        model.predictor_hidden_dim = self.predictor_hidden_dim;
        model.instance_out_dim = self.instance_out_dim;
        model.local_group_out_dim = self.local_group_out_dim;
        model.local_group_knn_top_n = self.local_group_knn_top_n;
        model.group_bottleneck_dim = self.group_bottleneck_dim;
        model.group_out_dim = self.group_out_dim;
        model.norm_before_pred = self.norm_before_pred;
        model.use_bn_in_head = self.use_bn_in_head;
        model.norm_last_layer = self.norm_last_layer;
        model.loss_weights = [self.loss_weights[0], self.loss_weights[1], self.loss_weights[2]];
        model.precision = self.precision()?;
        model.checkpoint_activations = self.checkpoint_activations;
        model.mends = self.compute_mends();
        model.validate()?;
        Ok(model)
    }

    /// What updates the weights.
    pub fn optimizer(&self) -> Result<OptimizerKind> {
        self.optimizer.parse().with_context(|| format!("--optimizer {}", self.optimizer))
    }

    /// Queues and temperatures.
    pub fn losses(&self) -> LossConfig {
        LossConfig {
            instance_queue_size: self.instance_queue_size,
            instance_temp: self.instance_temp,
            local_group_queue_size: self.local_group_queue_size,
            local_group_temp: self.local_group_temp,
            group_student_temp: self.group_student_temp,
        }
    }

    /// What the trainer does beside the networks.
    pub fn training(&self) -> Result<TrainConfig> {
        let (optimizer, patch_embed_lr_mult) = (self.optimizer()?, self.patch_embed_lr_mult);
        Ok(TrainConfig { losses: self.losses(), optimizer, patch_embed_lr_mult })
    }

    /// Rates by step, once the number of steps in an epoch is known.
    pub fn schedules(&self, steps_per_epoch: u64) -> Result<Schedules> {
        let config = ScheduleConfig {
            epochs: u32::try_from(self.epochs).context("--epochs is too large")?,
            steps_per_epoch,
            global_batch: self.global_batch(),
            lr: self.lr,
            min_lr: self.min_lr,
            warmup_epochs: u32::try_from(self.warmup_epochs).context("--warmup_epochs is too large")?,
            weight_decay: self.weight_decay,
            weight_decay_end: self.weight_decay_end,
            momentum_teacher: self.momentum_teacher,
            teacher_temp: TeacherTemperature {
                start: self.group_warmup_teacher_temp,
                end: self.group_teacher_temp,
                warmup_epochs: u32::try_from(self.group_warmup_teacher_temp_epochs)
                    .context("--group_warmup_teacher_temp_epochs is too large")?,
            },
            freeze_last_layer: u32::try_from(self.freeze_last_layer).context("--freeze_last_layer is too large")?,
            clip_grad: self.clip_grad,
            clips_harder_late: self.arch.parse::<Arch>()? == Arch::VitLarge,
        };
        Ok(Schedules::new(&config)?)
    }

    /// What crops look like.
    pub fn crops(&self) -> Result<CropConfig> {
        let pair = |values: &[f64], name: &str| -> Result<[f64; 2]> {
            <[f64; 2]>::try_from(values)
                .ok()
                .with_context(|| format!("--{name} wants two numbers, the least and the most"))
        };
        let config = CropConfig {
            global_crops_size: self.global_crops_size,
            size_crops: self.size_crops,
            global_crops_scale: pair(&self.global_crops_scale, "global_crops_scale")?,
            local_crops_scale: pair(&self.local_crops_scale, "local_crops_scale")?,
            local_crops_number: self.local_crops_number,
            prob: self.weak_probability(),
            timm_auto_augment_par: self.policy(),
            color_aug: self.color_aug,
            re_prob: self.re_prob,
            vanilla_weak_augmentation: self.vanilla_weak_augmentation,
        };
        config.validate()?;
        Ok(config)
    }

    /// How samples are read.
    pub fn fetch(&self) -> Result<FetchConfig> {
        Ok(FetchConfig {
            readahead_mb: self.readahead_mb as u64,
            shuffle_block: u32::try_from(self.shuffle_block).context("--shuffle_block is too large")?,
            streams: match self.streams {
                0 => None,
                streams => Some(u32::try_from(streams).context("--streams is too large")?),
            },
            on_bad_sample: self.on_bad_sample()?,
            max_bad_samples: (self.max_bad_samples > 0).then_some(self.max_bad_samples),
            ..FetchConfig::default()
        })
    }

    /// How pictures are decoded.
    pub fn decoder(&self) -> Result<DecoderConfig> {
        ensure!(self.max_pixels > 0, "--max_pixels is 0: no picture could be read");
        let jpeg = match self.jpeg.as_str() {
            "exact" => JpegMode::Exact,
            "fast" => JpegMode::Fast { least_side: FAST_SIDE * self.global_crops_size },
            other => bail!("--jpeg {other} is neither exact nor fast"),
        };
        Ok(DecoderConfig { pixel_limit: self.max_pixels, jpeg })
    }

    /// Says so where crops are not the exact ones. Called at the start by every command that makes crops.
    pub fn announce_jpeg(&self) -> Result<()> {
        if let JpegMode::Fast { least_side } = self.decoder()?.jpeg {
            tracing::warn!(
                "--jpeg fast: jpegs whose shorter side has {} pixels or more are decoded at 1/2, 1/4 or 1/8 of their \
                 size, and their crops differ from those of --jpeg exact",
                2 * least_side - 1
            );
        }
        Ok(())
    }

    /// Says so where an option that was asked for does less than it seems to.
    pub fn announce_limits(&self) {
        if self.use_bn_in_head && self.accumulate > 1 {
            tracing::warn!(
                "--use_bn_in_head true with --accumulate {}: the heads' statistics are those of each micro-batch of {} \
                 pictures over all ranks, not of the whole step",
                self.accumulate,
                self.global_batch() / self.accumulate as u64
            );
        }
        if !self.use_prefetcher && !self.mends(Fix::NormaliseOnce) {
            tracing::warn!(
                "--use_prefetcher false: crops are normalised twice, as the published trainer does then; \
                 --fix normalise_once normalises them once"
            );
        }
        if self.debug {
            tracing::warn!(
                "--debug true has no effect: the published trainer then takes the first two classes alone; a folder of \
                 two class folders as --data_path does the same"
            );
        }
        let usual = RunConfig::default();
        if self.strong_ratio != usual.strong_ratio {
            tracing::warn!("--strong_ratio {} has no effect: no operator of the policy uses it", self.strong_ratio);
        }
    }

    /// What is done about bad samples.
    pub fn on_bad_sample(&self) -> Result<OnBadSample> {
        match self.on_bad_sample.as_str() {
            "fail" => Ok(OnBadSample::Fail),
            "skip" => Ok(OnBadSample::Skip),
            other => bail!("--on_bad_sample {other} is neither fail nor skip"),
        }
    }

    /// Pictures of one step over all ranks.
    pub fn global_batch(&self) -> u64 {
        (self.batch_size_per_gpu * self.accumulate) as u64 * u64::from(self.ranks())
    }

    /// How many ranks train together, once the launch is known.
    pub fn ranks(&self) -> u32 {
        self.world_size.max(1)
    }

    /// The same on a rank of a launch.
    pub fn on(self, launch: &Launch) -> RunConfig {
        RunConfig { world_size: launch.world, rank: launch.rank, local_rank: launch.local_rank, ..self }
    }

    /// The same without what a launch says, as it is asked for and written down.
    pub fn of_any_rank(&self) -> RunConfig {
        RunConfig { world_size: 0, rank: 0, local_rank: 0, ..self.clone() }
    }

    /// Threads that crop, in a process that has the host to itself.
    pub fn workers(&self) -> usize {
        self.workers_on(1)
    }

    /// Threads that crop, in one of `sharers` processes that share the processors ([`launch::Launch::sharers`]).
    pub fn workers_on(&self, sharers: u32) -> usize {
        or_share(self.num_workers, sharers)
    }

    /// Threads of the training step, in a process that has the host to itself.
    pub fn step_threads(&self) -> usize {
        self.step_threads_on(1)
    }

    /// Threads of the training step, in one of `sharers` processes that share the processors.
    pub fn step_threads_on(&self, sharers: u32) -> usize {
        or_share(self.threads, sharers)
    }
}

fn or_share(option: usize, sharers: u32) -> usize {
    if option > 0 { option } else { launch::fair_share(launch::processors(), sharers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_share_the_processors_unless_an_option_says_otherwise() {
        let processors = launch::processors();
        let asked = RunConfig { num_workers: 3, threads: 5, ..RunConfig::default() };
        let default = RunConfig::default();
        assert_eq!((asked.workers_on(64), asked.step_threads_on(64)), (3, 5));
        assert_eq!((default.workers(), default.step_threads()), (processors, processors));
        assert_eq!(
            (default.workers_on(2), default.step_threads_on(2)),
            ((processors / 2).max(1), (processors / 2).max(1))
        );
        assert_eq!(default.workers_on(u32::MAX), 1);
    }

    #[test]
    fn pictures_are_decoded_exactly_up_to_the_reference_s_limit_unless_an_option_says_otherwise() {
        assert_eq!(RunConfig::default().decoder().unwrap(), DecoderConfig::default());
        let fast = RunConfig { jpeg: "fast".into(), max_pixels: 1000, global_crops_size: 64, ..RunConfig::default() };
        let expected = DecoderConfig { pixel_limit: 1000, jpeg: JpegMode::Fast { least_side: 128 } };
        assert_eq!(fast.decoder().unwrap(), expected);
        for (wrong, option) in [
            (RunConfig { jpeg: "quick".into(), ..RunConfig::default() }, "--jpeg quick"),
            (RunConfig { max_pixels: 0, ..RunConfig::default() }, "--max_pixels is 0"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
    }
}
