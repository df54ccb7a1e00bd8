//! Features of a whole set, as evaluations read them: class tokens, and what they are held against.

use anyhow::{Context, Result, ensure};
use mugs_compute::trainer::Trainer;
use mugs_data::decode::{CpuDecode, Decode, Warnings};
use mugs_data::{Fetched, Origin};
use mugs_flow::{BoxError, Emitter, Flow, Running, Workers};
use mugs_image::Image;
use mugs_image::decode::{DecoderConfig, JpegMode};
use mugs_image::ops::evaluate;
use mugs_image::ops::tensor::Normaliser;
use mugs_shards::ShardSet;
use tch::Tensor;

use crate::cli::Baseline;
use crate::config::RunConfig;

/// Pictures of one forward pass.
const BATCH: usize = 64;

/// Side of the pictures that baselines are made of, in pixels.
const BASELINE_SIDE: usize = 32;

const CHANNELS: usize = 3;

/// Steps that a histogram tells apart in each channel, and colours that this gives.
const LEVELS: usize = 8;
const COLOURS: usize = LEVELS.pow(3);

/// Features of a set, in the order in which it is stored.
pub struct Features {
    /// `[N, D]` f32: class tokens after the final norm, or a baseline's values.
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
    let crop = Crop { short: (size * 256).div_ceil(224), size };
    let normaliser = Normaliser::default();
    let pictures = start(set, crop, config, move |image| normaliser.tensor(&image.pixels))?;
    collect(pictures, |values| {
        let images = Tensor::from_slice(values).view([-1, 3, size as i64, size as i64]);
        trainer.class_tokens(&images, !student)
    })
}

/// What a network's features are held against: the pictures as they are, short side to 32 pixels (bicubic) and the
/// 32 x 32 in the middle.
pub fn baseline(baseline: Baseline, set: ShardSet, config: &RunConfig) -> Result<Features> {
    let crop = Crop { short: BASELINE_SIDE, size: BASELINE_SIDE };
    let (width, pictures) = match baseline {
        Baseline::Pixels => {
            let normaliser = Normaliser::default();
            (CHANNELS * BASELINE_SIDE.pow(2), start(set, crop, config, move |image| normaliser.tensor(&image.pixels))?)
        }
        Baseline::Histogram => (COLOURS, start(set, crop, config, |image| histogram(&image.pixels))?),
    };
    collect(pictures, |values| Tensor::from_slice(values).view([-1, width as i64]))
}

/// Roots of how often each of 8 x 8 x 8 colours is there, of interleaved RGB bytes: the cosine of two such is the
/// Bhattacharyya coefficient of the histograms.
fn histogram(pixels: &[u8]) -> Vec<f32> {
    let mut counts = vec![0.0_f32; COLOURS];
    for pixel in pixels.chunks_exact(CHANNELS) {
        let colour = pixel.iter().fold(0, |index, &value| index * LEVELS + usize::from(value) * LEVELS / 256);
        counts[colour] += 1.0;
    }
    counts.into_iter().map(f32::sqrt).collect()
}

/// The features of all pictures, which `pass` makes of the values of up to [`BATCH`] of them.
fn collect(mut pictures: Running<(Origin, Vec<f32>)>, pass: impl Fn(&[f32]) -> Tensor) -> Result<Features> {
    let (mut tokens, mut labels, mut values) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((origin, of_picture)) = pictures.recv()? {
        let label = origin.label.with_context(|| format!("{} in {} has no class", origin.key, origin.shard))?;
        labels.push(i64::from(label));
        values.extend_from_slice(&of_picture);
        if labels.len() % BATCH == 0 {
            tokens.push(pass(&values));
            values.clear();
        }
    }
    if !values.is_empty() {
        tokens.push(pass(&values));
    }
    pictures.join()?;
    ensure!(!tokens.is_empty(), "the set has no pictures");
    Ok(Features { tokens: Tensor::cat(&tokens, 0), labels })
}

/// The shorter side that a picture is resized to, and the side of what is then cut out of its middle, in pixels.
#[derive(Clone, Copy)]
struct Crop {
    short: usize,
    size: usize,
}

/// Reads and decodes the set; `values` are those of one picture's crop.
fn start(
    set: ShardSet,
    crop: Crop,
    config: &RunConfig,
    values: impl Fn(&Image) -> Vec<f32> + Clone + Send + Sync + 'static,
) -> Result<Running<(Origin, Vec<f32>)>> {
    let decoder = DecoderConfig { jpeg: JpegMode::Exact, ..config.decoder()? };
    let mut flow = Flow::new();
    let samples = flow.source("fetch", 64, move |out| read_all(&set, out));
    let planes = flow.map("decode", samples, Workers { count: config.workers(), capacity: 64 }, move |_| {
        let mut decoder = CpuDecode::new(decoder, Warnings::default())?;
        let values = values.clone();
        Ok(move |sample| {
            let picture = decoder.decode(sample)?;
            let image = evaluate(&picture.image, crop.short, crop.size);
            Ok::<_, BoxError>((picture.origin, values(&image)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_the_colours_of_eight_levels() {
        // Two of one colour at both ends of its levels, one next to it, and white.
        let pixels = [0, 32, 64, 31, 63, 95, 32, 32, 64, 255, 255, 255];
        let counts = histogram(&pixels);
        let there: Vec<_> = counts.iter().enumerate().filter(|(_, count)| **count > 0.0).collect();
        assert_eq!(there, [(10, &2.0_f32.sqrt()), (74, &1.0), (511, &1.0)]);
    }
}
