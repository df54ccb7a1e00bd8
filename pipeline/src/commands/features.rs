//! Class tokens of a whole set, as evaluations read them.

use anyhow::{Context, Result, ensure};
use mugs_compute::trainer::Trainer;
use mugs_data::decode::{CpuDecode, Decode, Warnings};
use mugs_data::{Fetched, Origin};
use mugs_flow::{BoxError, Emitter, Flow, Running, Workers};
use mugs_image::decode::{DecoderConfig, JpegMode};
use mugs_image::ops::evaluate;
use mugs_image::ops::tensor::Normaliser;
use mugs_shards::ShardSet;
use tch::Tensor;

use crate::config::RunConfig;

/// Pictures of one forward pass.
const BATCH: usize = 64;

/// Features of a set, in the order in which it is stored.
pub struct Features {
    /// `[N, D]` f32: class tokens after the final norm.
    pub tokens: Tensor,
    /// `[N]` classes.
    pub labels: Vec<i64>,
}

/// The class tokens of all pictures of a set: short side to 256/224 of `size` (bicubic), centre crop of `size`
/// pixels, normalised (augment.md, section 11).
///
/// JPEGs are decoded exactly, whatever `config` says about training.
pub fn features(trainer: &Trainer, set: ShardSet, config: &RunConfig, student: bool) -> Result<Features> {
    let size = config.global_crops_size;
    let decoder = DecoderConfig { jpeg: JpegMode::Exact, ..config.decoder()? };
    let mut pictures = start(set, size, decoder, config.workers())?;
    let (mut tokens, mut labels, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut pass = |values: &mut Vec<f32>| {
        let images = Tensor::from_slice(values).view([-1, 3, size as i64, size as i64]);
        tokens.push(trainer.class_tokens(&images, !student));
        values.clear();
    };
    while let Some((origin, planes)) = pictures.recv()? {
        let label = origin.label.with_context(|| format!("{} in {} has no class", origin.key, origin.shard))?;
        labels.push(i64::from(label));
        values.extend_from_slice(&planes);
        if labels.len() % BATCH == 0 {
            pass(&mut values);
        }
    }
    if !values.is_empty() {
        pass(&mut values);
    }
    pictures.join()?;
    ensure!(!tokens.is_empty(), "the set has no pictures");
    Ok(Features { tokens: Tensor::cat(&tokens, 0), labels })
}

fn start(set: ShardSet, size: usize, decoder: DecoderConfig, workers: usize) -> Result<Running<(Origin, Vec<f32>)>> {
    let short = (size * 256).div_ceil(224);
    let mut flow = Flow::new();
    let samples = flow.source("fetch", 64, move |out| read_all(&set, out));
    let planes = flow.map("decode", samples, Workers { count: workers, capacity: 64 }, move |_| {
        let mut decoder = CpuDecode::new(decoder, Warnings::default())?;
        let normaliser = Normaliser::default();
        Ok(move |sample| {
            let picture = decoder.decode(sample)?;
            let image = evaluate(&picture.image, short, size);
            Ok::<_, BoxError>((picture.origin, normaliser.tensor(&image.pixels)))
        })
    });
    Ok(flow.start("features", planes)?)
}

/// Every sample of a set, as stored.
fn read_all(set: &ShardSet, out: &mut Emitter<Fetched>) -> Result<(), BoxError> {
    let mut position = 0;
    for shard in 0..set.manifest().shards.len() {
        let reader = set.open_shard(shard)?;
        for number in 0..reader.len() {
            let sample = reader.read(number)?;
            let origin = Origin {
                epoch: 0,
                position,
                key: sample.key,
                shard: sample.shard_name,
                offset: sample.offset,
                label: sample.label,
                stands_in_for: None,
            };
            out.send(Fetched { origin, image: sample.image })?;
            position += 1;
        }
    }
    Ok(())
}
