//! The way of the data, from shards to what the model reads.
//!
//! ```text
//! fetch ──▶ decode ──▶ crop ──▶ batch ──▶ render ──▶ learn
//! 1 thread  n/4        n        1         1          the caller's thread
//! ```
//!
//! Every arrow is a bounded channel and keeps the order; how long each may grow is said here and nowhere else.

use anyhow::Result;
use mugs_data::Picture;
use mugs_data::batch::{BatchConfig, Batcher};
use mugs_data::crop::{Cropper, Planner, Profile};
use mugs_data::decode::{CpuDecode, Skipping, Warnings};
use mugs_data::fetch::{Cursor, Fetch, Retries, Span};
use mugs_data::order::Share;
use mugs_data::pool::Pool;
use mugs_flow::{BoxError, Flow, Running, Workers};
use mugs_shards::ShardSet;
use mugs_simd::Level;

use crate::config::RunConfig;
use crate::render::{Rendered, Renderer};

/// Encoded samples that wait for a decoder: some hundred KB each.
const FETCHED: usize = 64;
/// Pictures that wait to be cropped, beside those at work: a MB or two each.
const DECODED: usize = 4;
/// Pictures' crops that wait to be batched, beside those at work: about a MB each.
const CROPPED: usize = 8;
/// Batches of bytes that wait to be rendered.
const BATCHES: usize = 1;
/// Rendered batches that wait for the step, beside the one being rendered.
const RENDERED: usize = 1;

/// The data stages at work.
pub struct DataStages {
    /// Delivers the batches; its thread is the last stage.
    pub batches: Running<Rendered>,
    /// Steps per epoch, the same for every rank.
    pub steps_per_epoch: u64,
    /// S, the streams that an epoch is cut into.
    pub streams: u32,
    /// Pictures delivered although libjpeg warned.
    pub warnings: Warnings,
    /// Reads that were tried again.
    pub retries: Retries,
    /// The most bad samples of an epoch.
    pub max_bad_samples: u64,
}

/// Starts the data stages of one rank at `start`, for `epochs` epochs in all; `sharers` such ranks share the processors.
/// The crops' work is counted in `profile`.
pub fn start(
    config: &RunConfig,
    set: ShardSet,
    start: Cursor,
    epochs: u32,
    sharers: u32,
    profile: &Profile,
) -> Result<DataStages> {
    let share = Share { rank: config.rank, world: config.ranks() };
    let span = Span { share, global_batch: config.global_batch(), start, epochs };
    let fetch = Fetch::new(set, &config.fetch()?, config.seed, span)?;
    let (steps_per_epoch, streams, retries) = (fetch.steps(), fetch.order().streams(), fetch.retries());
    let stand_ins = fetch.stand_ins();
    let max_bad_samples = stand_ins.most();
    let planner = Planner::new(config.seed, &config.crops()?)?;
    let batcher = Batcher::new(&BatchConfig { batch_size_per_gpu: config.batch_size_per_gpu })?;
    let warnings = Warnings::default();
    let (decoder, counted) = (config.decoder()?, warnings.clone());
    let (workers, rendering) = (config.workers_on(sharers), config.clone());
    let (level, pool, counted_work) = (Level::chosen(), Pool::default(), profile.clone());

    let mut flow = Flow::new();
    let stop = flow.stop_handle();
    let samples = flow.source("fetch", FETCHED, move |out| fetch.run(out)).weighed(|sample| sample.image.len());
    let decoding = Workers { count: workers.div_ceil(4), capacity: DECODED };
    let pictures = flow
        .map("decode", samples, decoding, move |_| {
            let mut decoder = Skipping::new(CpuDecode::new(decoder, counted.clone())?, stand_ins.clone(), stop.clone());
            Ok(move |sample| decoder.decode(sample))
        })
        .weighed(|picture| picture.image.pixels.len());
    let cropping = Workers { count: workers, capacity: CROPPED };
    let crops = flow
        .map("crop", pictures, cropping, move |_| {
            let mut cropper = Cropper::new(planner.clone(), level, pool.clone(), counted_work.clone());
            Ok(move |picture: Picture| Ok::<_, BoxError>(cropper.crop(&picture)))
        })
        .weighed(|cropped| cropped.crops.bytes());
    let batches = flow.group("batch", crops, BATCHES, batcher).weighed(|batch| batch.bytes());
    let rendered = flow
        .map("render", batches, Workers { count: 1, capacity: RENDERED }, move |_| {
            let mut renderer = Renderer::of(&rendering);
            Ok(move |batch| Ok::<_, BoxError>(renderer.render(batch)?))
        })
        .weighed(|batch| batch.bytes());
    let batches = flow.start("learn", rendered)?;
    Ok(DataStages { batches, steps_per_epoch, streams, warnings, retries, max_bad_samples })
}

/// Starts the stages up to the decoded pictures, all workers decoding, for a bench.
pub fn start_decoding(config: &RunConfig, set: ShardSet) -> Result<Running<Picture>> {
    let share = Share { rank: 0, world: 1 };
    let span = Span { share, global_batch: config.global_batch(), start: Cursor::default(), epochs: u32::MAX };
    let fetch = Fetch::new(set, &config.fetch()?, config.seed, span)?;
    let (stand_ins, decoder) = (fetch.stand_ins(), config.decoder()?);
    let mut flow = Flow::new();
    let stop = flow.stop_handle();
    let samples = flow.source("fetch", FETCHED, move |out| fetch.run(out)).weighed(|sample| sample.image.len());
    let decoding = Workers { count: config.workers(), capacity: DECODED };
    let pictures = flow
        .map("decode", samples, decoding, move |_| {
            let decode = CpuDecode::new(decoder, Warnings::default())?;
            let mut decoder = Skipping::new(decode, stand_ins.clone(), stop.clone());
            Ok(move |sample| decoder.decode(sample))
        })
        .weighed(|picture| picture.image.pixels.len());
    Ok(flow.start("drop", pictures)?)
}
