//! A packed set of small pictures, and the stages over it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mugs_data::Picture;
use mugs_data::batch::{Batch, BatchConfig, Batcher, HostBatch};
use mugs_data::crop::{CropConfig, Cropper, Planner, Profile};
use mugs_data::decode::{CpuDecode, Skipping, Warnings};
use mugs_data::fetch::{Cursor, Fetch, FetchConfig, Span};
use mugs_data::order::Share;
use mugs_data::pool::Pool;
use mugs_flow::{Flow, FlowError, Running, Workers};
use mugs_image::decode::DecoderConfig;
use mugs_image::{Image, encode};
use mugs_random::{Address, Draws};
use mugs_shards::{CheckLevel, Hooks, PackConfig, PictureCheck, Resume, ShardSet, pack};
use mugs_simd::Level;
use tempfile::TempDir;

pub const PICTURES: u64 = 71;
pub const EPOCHS: u32 = 2;
/// Pictures per rank and batch.
pub const BATCH: usize = 4;
pub const ONE: Share = Share { rank: 0, world: 1 };

/// A picture of its own size and texture.
fn picture(number: u64) -> Image {
    let mut draws = Draws::at(5, Address { epoch: 0, position: number, lane: 0 });
    let (width, height) = (16 + draws.below(24) as usize, 16 + draws.below(24) as usize);
    let pixels = (0..width * height * 3).map(|_| draws.next_u32() as u8).collect();
    Image::new(width, height, pixels).unwrap()
}

/// A folder of class folders, in JPEG and PNG.
fn pictures(folder: &Path) {
    for number in 0..PICTURES {
        let class = folder.join(format!("class{}", number % 3));
        fs::create_dir_all(&class).unwrap();
        let (bytes, extension) = match number % 5 {
            0 => (encode::png(&picture(number)).unwrap(), "png"),
            _ => (encode::jpeg(&picture(number), 90).unwrap(), "jpg"),
        };
        fs::write(class.join(format!("{number:03}.{extension}")), bytes).unwrap();
    }
}

/// A packed set in shards of 9, and the folder that it is in.
pub struct Set {
    _folder: TempDir,
    pub path: PathBuf,
}

impl Set {
    /// Packs the pictures after `change` has been at them.
    pub fn pack(change: impl Fn(&Path)) -> Self {
        let folder = TempDir::new().unwrap();
        let (source, path) = (folder.path().join("source"), folder.path().join("set"));
        pictures(&source);
        change(&source);
        let config = PackConfig { samples_per_shard: 9.try_into().unwrap(), ..PackConfig::default() };
        let pictures = PictureCheck { check: CheckLevel::None, ..PictureCheck::default() };
        let hooks = Hooks { pictures: &pictures, progress: &|_| (), stop: &AtomicBool::new(false) };
        pack(&source, &path, &config, Resume::Auto, hooks).unwrap();
        Self { _folder: folder, path }
    }

    pub fn open(&self) -> ShardSet {
        ShardSet::open(&self.path).unwrap()
    }
}

/// Small crops by the published recipes.
fn cropper() -> Cropper {
    let config = CropConfig { global_crops_size: 12, size_crops: 6, local_crops_number: 3, ..CropConfig::default() };
    Cropper::new(Planner::new(9, &config).unwrap(), Level::chosen(), Pool::default(), Profile::default())
}

/// How the samples of a test are read: 4 streams in blocks of 8.
pub fn config() -> FetchConfig {
    FetchConfig { shuffle_block: 8, streams: Some(4), ..FetchConfig::default() }
}

pub fn start(set: &Set, share: Share, workers: usize, start: Cursor, warnings: &Warnings) -> Running<Batch> {
    start_with(&config(), set.open(), share, workers, start, warnings)
}

pub fn start_with(
    config: &FetchConfig,
    set: ShardSet,
    share: Share,
    workers: usize,
    start: Cursor,
    warnings: &Warnings,
) -> Running<Batch> {
    let global_batch = BATCH as u64 * u64::from(share.world);
    let fetch = Fetch::new(set, config, 42, Span { share, global_batch, start, epochs: EPOCHS }).unwrap();
    let workers = Workers { count: workers, capacity: 2 };
    let mut flow = Flow::new();
    let (stand_ins, stop, warnings) = (fetch.stand_ins(), flow.stop_handle(), warnings.clone());
    let samples = flow.source("fetch", 4, move |out| fetch.run(out)).weighed(|sample| sample.image.len());
    let pictures = flow.map("decode", samples, workers, move |_| {
        let mut decoder =
            Skipping::new(CpuDecode::new(DecoderConfig::default(), warnings.clone())?, stand_ins.clone(), stop.clone());
        Ok(move |sample| decoder.decode(sample))
    });
    let crops = flow.map("crop", pictures, workers, |_| {
        let mut cropper = cropper();
        Ok(move |picture: Picture| Ok(cropper.crop(&picture)))
    });
    let batcher = Batcher::new(&BatchConfig { batch_size_per_gpu: BATCH }).unwrap();
    let batches = flow.group("batch", crops, 2, batcher).weighed(Batch::bytes);
    flow.start("learn", batches).unwrap()
}

pub fn drain(mut running: Running<Batch>) -> Result<Vec<HostBatch>, FlowError> {
    let mut batches = Vec::new();
    while let Some(batch) = running.recv()? {
        match batch {
            Batch::Host(batch) => batches.push(batch),
            Batch::Device(batch) => panic!("{batch:?}"),
        }
    }
    running.join()?;
    Ok(batches)
}

pub fn stream(set: &Set, share: Share, workers: usize, from: Cursor) -> Vec<HostBatch> {
    drain(start(set, share, workers, from, &Warnings::default())).unwrap()
}
