//! `crops`: what the network sees, for a person to look at.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use mugs_data::Picture;
use mugs_data::batch::{Batch, BatchConfig, Batcher};
use mugs_data::crop::{Cropper, Planner, Profile};
use mugs_data::decode::{CpuDecode, Skipping, Warnings};
use mugs_data::fetch::{Cursor, Fetch, Span};
use mugs_data::order::Share;
use mugs_data::pool::Pool;
use mugs_flow::{Flow, Group as _, Workers};
use mugs_image::ops::{Filter, resize};
use mugs_image::{Image, encode};
use mugs_shards::ShardSet;
use mugs_simd::Level;

use super::jpeg_effect::JpegEffect;
use crate::cli::CropsArgs;
use crate::config::RunConfig;
use crate::contact_sheet::{ContactSheet, Framed, PICTURE, STRONG, TEACHER, WEAK, denormalised};
use crate::data;
use crate::render::{Planes, Renderer};

/// Runs the command.
pub fn crops(arguments: CropsArgs) -> Result<ExitCode> {
    let CropsArgs { out, pictures: count, sources } = arguments;
    let config = sources.resolve()?.config;
    ensure!(count > 0, "--pictures is 0: there is nothing to draw");
    config.announce_jpeg()?;
    let planner = Planner::new(config.seed, &config.crops()?)?;
    let mut cropper = Cropper::new(planner.clone(), Level::chosen(), Pool::default(), Profile::default());
    let mut sheet = ContactSheet::new();
    let set = data::open_set(&config)?;
    for picture in pictures(&config, set.clone(), count)? {
        let Image { width, height, .. } = picture.image;
        let plan = planner.plan(picture.origin.epoch, picture.origin.position, width, height);
        let strong: Vec<bool> =
            plan.crops.iter().map(|crop| matches!(crop, mugs_data::crop::CropPlan::Strong(_))).collect();
        let shown = thumbnail(&picture.image, config.global_crops_size);
        let mut batcher = Batcher::new(&BatchConfig { batch_size_per_gpu: 1 })?;
        let batch = batcher.push(cropper.crop(&picture)).map_err(|error| anyhow::anyhow!(error))?;
        sheet.row(row(shown, batch.context("a batch of one picture")?, &strong)?);
    }
    let png = encode::png(&sheet.draw())?;
    std::fs::write(&out, png).with_context(|| format!("cannot write {}", out.display()))?;
    println!(
        "{}: gray frame the picture, blue the teacher's crops, green weak and orange strong ones of the student",
        out.display()
    );
    if let Some(effect) = JpegEffect::measure(&config, &set)? {
        println!("{effect}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The first pictures of the first epoch, decoded.
fn pictures(config: &RunConfig, set: ShardSet, count: usize) -> Result<Vec<Picture>> {
    let count = (count as u64).min(set.manifest().samples);
    let span = Span { share: Share { rank: 0, world: 1 }, global_batch: count, start: Cursor::default(), epochs: 1 };
    let fetch = Fetch::new(set, &config.fetch()?, config.seed, span)?;
    let decoder = config.decoder()?;
    let mut flow = Flow::new();
    let (stand_ins, stop) = (fetch.stand_ins(), flow.stop_handle());
    let samples = flow.source("fetch", 8, move |out| fetch.run(out));
    let decoded = flow.map("decode", samples, Workers { count: 1, capacity: 1 }, move |_| {
        let mut decoder = Skipping::new(CpuDecode::new(decoder, Warnings::default())?, stand_ins.clone(), stop.clone());
        Ok(move |sample| decoder.decode(sample))
    });
    let mut running = flow.start("draw", decoded)?;
    let mut pictures = Vec::new();
    while pictures.len() < count as usize
        && let Some(picture) = running.recv()?
    {
        pictures.push(picture);
    }
    Ok(pictures)
}

/// The picture in the height of the large crops.
fn thumbnail(image: &Image, height: usize) -> Image {
    let width = (image.width * height).div_ceil(image.height).clamp(1, 2 * height);
    resize(image, width, height, Filter::Bicubic)
}

fn row(shown: Image, batch: Batch, strong: &[bool]) -> Result<Vec<Framed>> {
    let rendered = Renderer::new().render(batch)?;
    let mut row = vec![Framed { image: shown, colour: PICTURE }];
    let crops = images(&rendered.global).chain(images(&rendered.local));
    for (number, image) in crops.enumerate() {
        let colour = match strong.get(number) {
            _ if number < 2 => TEACHER,
            Some(true) => STRONG,
            _ => WEAK,
        };
        row.push(Framed { image, colour });
    }
    Ok(row)
}

fn images(planes: &Planes) -> impl Iterator<Item = Image> {
    let size = planes.size;
    planes.values.chunks_exact((3 * size * size).max(1)).map(move |values| denormalised(values, size))
}
