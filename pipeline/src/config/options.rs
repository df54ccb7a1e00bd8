//! Every option of a run, in one table: name, type, default, help.
//!
//! The names are the published ones where there is one. From the table come the configuration (with its TOML form
//! and defaults) and the command-line flags, so that the two cannot differ.

use clap::ArgAction;
use mugs_image::DEFAULT_PIXEL_LIMIT;
use serde::{Deserialize, Serialize};

use super::Fix;
use super::values::switch;
use crate::launch;

macro_rules! options {
    ($( $heading:literal { $(
        $(#[doc = $doc:literal])+
        $name:ident : $kind:ty = $default:expr $(=> { $($extra:tt)* })? ;
    )+ } )+) => {
        /// A resolved configuration: what a run was asked to do, all defaults filled in.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct RunConfig {
            $($( $(#[doc = $doc])+ pub $name: $kind, )+)+
        }

        impl Default for RunConfig {
            fn default() -> Self {
                Self { $($( $name: $default, )+)+ }
            }
        }

        /// The options as command-line flags; `_` and `-` in their names are the same.
        #[derive(Clone, Debug, Default, clap::Args)]
        pub struct Flags {
            $($(
                $(#[doc = $doc])+
                #[arg(long = stringify!($name), help_heading = $heading $(, $($extra)*)?)]
                pub $name: Option<$kind>,
            )+)+
        }

        impl Flags {
            /// Overrides the configuration with the flags that were given.
            pub fn apply(self, config: &mut RunConfig) {
                $($( if let Some(value) = self.$name { config.$name = value; } )+)+
            }
        }
    };
}

options! {
    "Model" {
        /// Architecture: vit_tiny, vit_small, vit_base or vit_large; sets width, depth and heads [default: vit_small]
        arch: String = "vit_small".into();
        /// Side of a patch in pixels [default: 16]
        patch_size: i64 = 16;
        /// Width of the tokens, instead of the architecture's; 0 keeps the architecture's [default: 0]
        embed_dim: i64 = 0;
        /// Number of blocks, instead of the architecture's; 0 keeps the architecture's [default: 0]
        depth: i64 = 0;
        /// Attention heads per block, instead of the architecture's; 0 keeps the architecture's [default: 0]
        num_heads: i64 = 0;
        /// Hidden width of the three projectors [default: 2048]
        head_hidden_dim: i64 = 2048;
        /// Hidden width of the two predictors [default: 4096]
        predictor_hidden_dim: i64 = 4096;
        /// Stochastic depth of the student's last block; grows linearly from 0 over the blocks [default: 0.1]
        drop_path_rate: f64 = 0.1;
        /// Normalise the predictors' input [default: true]
        norm_before_pred: bool = true => { value_name = "BOOL", value_parser = switch };
        /// Normalise the hidden layers of the three projectors over the batch (the predictors have no such layer) [default: false]
        use_bn_in_head: bool = false => { value_name = "BOOL", value_parser = switch };
    }
    "Losses" {
        /// Switches of the instance, local-group and group loss: > 0 is on; the sum of the three divides the total, and the losses are multiplied with --fix loss_weights alone [default: 1 1 1]
        loss_weights: Vec<f64> = vec![1.0, 1.0, 1.0] => { action = ArgAction::Set, num_args = 3, value_name = "WEIGHT" };
        /// Width of the instance head's output [default: 256]
        instance_out_dim: i64 = 256;
        /// Keys in the instance queue [default: 65536]
        instance_queue_size: i64 = 65536;
        /// Temperature of the instance loss [default: 0.2]
        instance_temp: f64 = 0.2;
        /// Width of the local-group head's output [default: 256]
        local_group_out_dim: i64 = 256;
        /// Memory rows that the relation block sees beside an image [default: 8]
        local_group_knn_top_n: i64 = 8;
        /// Keys in the local-group queue, and rows of each of the two memories [default: 65536]
        local_group_queue_size: i64 = 65536;
        /// Temperature of the local-group loss [default: 0.2]
        local_group_temp: f64 = 0.2;
        /// Number of groups (prototypes) [default: 65536]
        group_out_dim: i64 = 65536;
        /// Width of the group projector's output [default: 256]
        group_bottleneck_dim: i64 = 256;
        /// Freeze the gains of the group head's last layer [default: false]
        norm_last_layer: bool = false => { value_name = "BOOL", value_parser = switch };
        /// The student's temperature in the group loss [default: 0.1]
        group_student_temp: f64 = 0.1;
        /// The teacher's temperature in the first epoch of its warm-up [default: 0.04]
        group_warmup_teacher_temp: f64 = 0.04;
        /// The teacher's temperature after its warm-up [default: 0.04]
        group_teacher_temp: f64 = 0.04;
        /// Epochs over which the teacher's temperature moves linearly [default: 0]
        group_warmup_teacher_temp_epochs: usize = 0;
    }
    "Optimiser" {
        /// Epochs of the whole run; every schedule is laid over them [default: 100]
        epochs: usize = 100;
        /// Pictures per rank and step [default: 64]
        batch_size_per_gpu: usize = 64;
        /// Micro-batches of batch_size_per_gpu pictures that make up one step: the update of one batch so many times larger (learning rate included), with the memory of one micro-batch; BatchNorm heads see each micro-batch by itself [default: 1]
        accumulate: usize = 1 => { value_name = "N" };
        /// What updates the weights: adamw, sgd or lars [default: adamw]
        optimizer: String = "adamw".into() => { value_name = "NAME", value_parser = ["adamw", "sgd", "lars"], hide_possible_values = true };
        /// Peak learning rate for 256 pictures a step; scaled by the global batch / 256 [default: 0.0008]
        lr: f64 = 8e-4;
        /// Final learning rate, not scaled [default: 0.000001]
        min_lr: f64 = 1e-6;
        /// Epochs of linear warm-up from 0 [default: 10]
        warmup_epochs: usize = 10;
        /// Factor on the learning rate of the patch embedding [default: 0.2]
        patch_embed_lr_mult: f64 = 0.2;
        /// Weight decay at the start [default: 0.04]
        weight_decay: f64 = 0.04;
        /// Weight decay at the end; cosine in between [default: 0.2]
        weight_decay_end: f64 = 0.2;
        /// Largest L2 norm of each parameter tensor's gradient, for vit_large a tenth of it after epoch 100; 0 switches clipping off [default: 3.0]
        clip_grad: f64 = 3.0;
        /// Epochs in which the group head's last layer gets no gradient [default: 1]
        freeze_last_layer: usize = 1;
        /// Teacher momentum at the start; cosine towards 1 [default: 0.996]
        momentum_teacher: f64 = 0.996;
        /// What backbone and heads multiply: fp32; bf16 on any device (on a CPU without AVX512-BF16 or AMX slower than fp32); fp16 on a GPU, with a scaled loss. Weights, losses, queues and memories stay fp32 [default: fp32]
        precision: String = "fp32".into() => { value_name = "KIND", value_parser = ["fp32", "bf16", "fp16"], hide_possible_values = true };
        /// The published name of --precision fp16 [default: false]
        use_fp16: bool = false => { value_name = "BOOL", value_parser = switch };
        /// Compute the student's activations once more in the backward pass in place of keeping them: the memory of one block's activations, about a third more time, the same bits [default: false]
        checkpoint_activations: bool = false => { value_name = "BOOL", value_parser = switch };
    }
    "Crops" {
        /// Side of the four large crops in pixels; a multiple of the patch size [default: 224]
        global_crops_size: usize = 224;
        /// Side of the local crops in pixels; a multiple of the patch size [default: 96]
        size_crops: usize = 96;
        /// Area of a large crop as a share of the picture, least and most [default: 0.25 1]
        global_crops_scale: Vec<f64> = vec![0.25, 1.0] => { action = ArgAction::Set, num_args = 2, value_name = "SHARE" };
        /// Area of a local crop as a share of the picture, least and most [default: 0.05 0.25]
        local_crops_scale: Vec<f64> = vec![0.05, 0.25] => { action = ArgAction::Set, num_args = 2, value_name = "SHARE" };
        /// Local crops per picture; 0 trains on the large ones alone [default: 10]
        local_crops_number: usize = 10;
        /// Probability of WEAK augmentation of a student crop (the published help says the opposite of what it does; --fix strong_prob makes it true) [default: 0.5]
        prob: f64 = 0.5;
        /// RandAugment policy of strong crops; `inc` and any digit switches the increasing set on, EVEN inc0 without --fix policy_inc: leave the part out to have it off [default: rand-m9-mstd0.5-inc1]
        timm_auto_augment_par: String = "rand-m9-mstd0.5-inc1".into();
        /// WITHOUT EFFECT, here as in the published trainer: it bounds translations in pixels, which no operator of the policy uses [default: 0.45]
        strong_ratio: f64 = 0.45;
        /// Colour jitter and gray in strong crops too [default: false]
        color_aug: bool = false => { value_name = "BOOL", value_parser = switch };
        /// Probability of erasing a rectangle of a strong crop [default: 0.25]
        re_prob: f64 = 0.25;
        /// Give the student copies of the teacher's crops instead of crops of its own [default: false]
        vanilla_weak_augmentation: bool = false => { value_name = "BOOL", value_parser = switch };
    }
    "Data" {
        /// A shard set (the folder with its manifest.json, as `mugs-shard pack` makes it), or, to train on, a folder of pictures: class folders, or flat without labels; it is packed once into the folder data-cache of --output_dir
        data_path: String = String::new() => { value_name = "FOLDER" };
        /// Threads that decode and crop; 0 takes one per processor [default: 0]
        num_workers: usize = 0;
        /// Most memory that pictures read ahead may hold, in MiB [default: 256]
        readahead_mb: usize = 256;
        /// Samples of a stream that are shuffled together [default: 256]
        shuffle_block: usize = 256;
        /// Erase, then normalise crops. With false they are normalised, erased and normalised AGAIN, as the published trainer does then; --fix normalise_once leaves the last out [default: true]
        use_prefetcher: bool = true => { value_name = "BOOL", value_parser = switch };
        /// What is done about a sample whose bytes are bad or whose picture cannot be decoded: `fail` ends the run, `skip` puts the next good sample of its stream in its place [default: fail]
        on_bad_sample: String = "fail".into() => { value_name = "POLICY", value_parser = ["fail", "skip"], hide_possible_values = true };
        /// With --on_bad_sample skip: most bad samples of an epoch, one more ends the run; 0 takes 0.1 % of the epoch, at least 10 [default: 0]
        max_bad_samples: u64 = 0;
        /// Most pixels of a picture; one of more is a bad sample (too_large). Also bounds the memory: a picture of P pixels takes 3 P bytes wherever it waits, 3 to 16 P while it is decoded, up to 22 P while it is cropped, which the worker keeps for the next one [default: 178956970, Pillow's limit]
        max_pixels: u64 = DEFAULT_PIXEL_LIMIT;
        /// How JPEGs are decoded: `exact`, or `fast`, which decodes large ones at 1/2, 1/4 or 1/8 of their size, the smallest whose shorter side is at least 2 x --global_crops_size; their crops differ from the exact ones [default: exact]
        jpeg: String = "exact".into() => { value_name = "MODE", value_parser = ["exact", "fast"], hide_possible_values = true };
        /// Vectors that crops are computed with: `avx512`, `avx2`, `scalar` (the operators as their specification has them, many times slower) or `auto`, the widest that the processor has; all give the same bytes [default: auto]
        simd: String = "auto".into() => { value_name = "KIND", value_parser = ["auto", "scalar", "avx2", "avx512"], hide_possible_values = true };
        /// Streams that an epoch is cut into; 0 takes the smallest multiple of the ranks that is at least 64 [default: 0]
        streams: usize = 0;
    }
    "Run" {
        /// Folder of the run: checkpoint.pth, log.txt and config.toml; a run found there is resumed
        output_dir: String = String::new() => { value_name = "DIR" };
        /// Seed of everything drawn: order, crops, weights, stochastic depth [default: 0]
        seed: u64 = 0;
        /// Stop after this step of the whole run, with a checkpoint; changes no schedule; 0 is no limit [default: 0]
        max_steps: u64 = 0;
        /// Write a checkpoint every so many steps beside the one per epoch; 0 writes none [default: 0]
        save_every_steps: u64 = 0;
        /// Write a checkpoint when so many minutes have gone by since the last one, for example 7.5; 0 writes none [default: 0]
        save_every_minutes: f64 = 0.0;
        /// Checkpoints to keep beside checkpoint.pth: before it is replaced it gets a second name, as checkpoint-step00000042.pth, and of those the newest so many stay; a damaged checkpoint.pth is made up for by the one that stands furthest; 0 keeps none [default: 1]
        keep: usize = 1;
        /// Keep checkpoint0000.pth and so on every so many epochs; 0 keeps none [default: 20]
        saveckp_freq: usize = 20;
        /// Address of the Prometheus meters, for example 127.0.0.1:9400; `off` serves none [default: 127.0.0.1:9400]
        metrics_addr: String = DEFAULT_METRICS_ADDR.into() => { value_name = "ADDRESS" };
        /// Write TensorBoard's events into the folder tensorboard of the run every so many steps; 0 writes none [default: 10]
        tensorboard_every: u64 = 10;
        /// Where the step is computed: `cpu`, `cuda` (the first GPU; the build needs CUDA=1 scripts/setup.sh), or `auto`, a GPU if there is one [default: auto]
        device: String = "auto".into() => { value_name = "DEVICE", value_parser = ["cpu", "cuda", "auto"], hide_possible_values = true };
        /// Threads of the training step; 0 takes one per processor [default: 0]
        threads: usize = 0;
        /// WITHOUT EFFECT: the published trainer then takes the pictures of the first two classes alone; here the steps of an epoch follow from a set as a whole, so pack those two: make --data_path a folder of two class folders. MUGS_LOG=debug gives more log lines [default: false]
        debug: bool = false => { value_name = "BOOL", value_parser = switch };
    }
    "Mends of the published code" {
        /// Quirks of the published code to mend, which changes the run; several by spaces, commas or --fix again. No name, no mend [default: none]
        fix: Vec<Fix> = Vec::new() => { value_name = "NAME", num_args = 0.., value_delimiter = ',' };
    }
    "Launch" {
        /// Start and supervise so many processes on this host, which train together; without a number, or with `gpus`, one per GPU. 0 starts none, and leaves it to a launcher (torchrun, srun, mpirun) or to one process [default: 0]
        nproc: usize = 0 => { value_name = "N", num_args = 0..=1, default_missing_value = launch::PER_GPU, value_parser = launch::processes };
        /// What carries gradients and memories between ranks: gloo, nccl (GPUs alone), or auto, nccl on GPUs [default: auto]
        backend: String = "auto".into() => { value_name = "NAME", value_parser = ["auto", "gloo", "nccl"], hide_possible_values = true };
        /// Seconds after which a rank that does not answer, or does not come to where the others wait, ends the run on all ranks [default: 300]
        sync_timeout: f64 = 300.0 => { value_name = "SECONDS" };
        /// MiB of gradients that go to the other ranks at a time; one such buffer is kept per bucket [default: 25]
        bucket_mb: f64 = 25.0 => { value_name = "MIB" };
        /// Number of processes that train together, where no launcher says it in the environment; 0 takes the launcher's, or 1 [default: 0]
        world_size: u32 = 0;
        /// Number of this process among them, where no launcher says it [default: 0]
        rank: u32 = 0;
        /// Number of this process on its host, where no launcher says it [default: 0]
        local_rank: u32 = 0;
        /// Where the processes meet: env:// (MASTER_ADDR and MASTER_PORT, or what the launcher gives), or tcp://HOST:PORT of rank 0 [default: env://]
        dist_url: String = "env://".into() => { value_name = "URL" };
        /// WITHOUT EFFECT: how the published trainer starts its processes; what launched this one is read off its environment [default: false]
        ddpjob: bool = false => { value_name = "BOOL", value_parser = switch };
    }
}

/// Where the meters are served unless an option says otherwise; busy, it is only a warning.
pub const DEFAULT_METRICS_ADDR: &str = "127.0.0.1:9400";

/// Options that may differ between a run and its resumption: they change where, how fast and how long, not what.
pub const FREE_ON_RESUME: &[&str] = &[
    "data_path",
    // The pictures of a step must stay the same, which is checked by itself; how they are cut up may change.
    "batch_size_per_gpu",
    "accumulate",
    "num_workers",
    "readahead_mb",
    "on_bad_sample",
    "max_bad_samples",
    "max_pixels",
    "simd",
    "output_dir",
    "max_steps",
    "save_every_steps",
    "save_every_minutes",
    "keep",
    "saveckp_freq",
    "metrics_addr",
    "tensorboard_every",
    "device",
    "threads",
    "checkpoint_activations",
    // Without effect on anything, or on what is computed.
    "strong_ratio",
    "debug",
    "nproc",
    "backend",
    "sync_timeout",
    "bucket_mb",
    "world_size",
    "rank",
    "local_rank",
    "dist_url",
    "ddpjob",
];
