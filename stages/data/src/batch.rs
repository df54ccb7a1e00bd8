//! The stage that makes batches of crops, and what a batch is: what the model reads, on the host or on a device.

use std::any::Any;
use std::sync::Arc;

use mugs_flow::{BoxError, Group};
use serde::{Deserialize, Serialize};

use crate::crop::Erase;
use crate::error::DataError;
use crate::item::{CropSet, Cropped, Dropped};

/// Large crops of a picture: the teacher's two (t1, t2), then the student's two (s1, s2).
pub const GLOBAL_CROPS: usize = 4;

/// How crops are put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Pictures per batch on each rank, 1 or more. Default 64.
    pub batch_size_per_gpu: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { batch_size_per_gpu: 64 }
    }
}

/// What a batch is made of, one entry per picture. All pictures of a batch are of one epoch, their positions ascend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The epoch, from 0.
    pub epoch: u32,
    /// `[B]`: each picture's position in the epoch.
    pub positions: Vec<u64>,
    /// `[B]`: each picture's key.
    pub keys: Vec<Arc<str>>,
    /// `[B]`: each picture's class, where the set has classes.
    pub labels: Vec<Option<u32>>,
    /// `[B]`: whether the student's large crops are weak; such pictures enter the student's memory.
    pub weak: Vec<bool>,
    /// The bad samples at whose positions others of the batch stand, in the order of the positions.
    pub dropped: Vec<Dropped>,
}

/// Crops of one size on the host, crop by crop: all pictures' first crop, then all pictures' second …
///
/// Crop c of picture b of B is number c * B + b. The bytes stay where the crop stage wrote them, picture by picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Crops {
    /// Crops per picture, C.
    pub per_picture: usize,
    /// Their side in pixels, S.
    pub size: usize,
    /// `[C * B]`: what is erased of each when it is made into floats.
    pub erase: Vec<Option<Erase>>,
    /// `[B]`: all crops of each picture.
    pictures: Arc<[CropSet]>,
    /// Which crop of a picture is the first of these.
    first: usize,
}

impl Crops {
    /// The number of crops, C * B.
    pub fn len(&self) -> usize {
        self.erase.len()
    }

    /// Whether there are none (a run without local crops).
    pub fn is_empty(&self) -> bool {
        self.erase.is_empty()
    }

    /// Bytes of all these crops.
    pub fn bytes(&self) -> usize {
        self.len() * 3 * self.size * self.size
    }

    /// The bytes of one crop, `[3, S, S]`: channel by channel.
    ///
    /// # Panics
    /// There are not that many crops.
    pub fn crop(&self, number: usize) -> &[u8] {
        assert!(number < self.len(), "there are {} crops", self.len());
        let pictures = self.pictures.len();
        self.pictures[number % pictures].crop(self.first + number / pictures)
    }
}

/// A batch in the host's memory: bytes, to be made into floats where they are needed.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// What it is made of.
    pub contents: Contents,
    /// The large crops in the order t1, t2, s1, s2.
    pub global: Crops,
    /// The local crops; none if the recipe has none.
    pub local: Crops,
}

/// Crops in a device's memory, ready for the model: normalised f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceCrops {
    /// Crops per picture, C.
    pub per_picture: usize,
    /// Their side in pixels, S.
    pub size: usize,
    /// Device address of `[C * B, 3, S, S]` f32, contiguous, numbered as in [`Crops`]; erased and normalised.
    pub address: u64,
}

/// A batch in a device's memory.
pub struct DeviceBatch {
    /// What it is made of.
    pub contents: Contents,
    /// The CUDA device, by its number.
    pub device: usize,
    /// The large crops.
    pub global: DeviceCrops,
    /// The local crops.
    pub local: DeviceCrops,
    /// Owns the memory at both addresses and frees it when dropped; the work that fills it is complete.
    pub owner: Box<dyn Any + Send>,
}

impl std::fmt::Debug for DeviceBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { contents, device, global, local, .. } = self;
        let mut text = f.debug_struct("DeviceBatch");
        text.field("contents", contents).field("device", device).field("global", global).field("local", local);
        text.finish_non_exhaustive()
    }
}

/// What the data stages deliver and the model reads.
#[derive(Debug)]
pub enum Batch {
    /// In the host's memory.
    Host(HostBatch),
    /// Already in a device's memory.
    Device(DeviceBatch),
}

impl Batch {
    /// What it is made of, wherever it lies.
    pub fn contents(&self) -> &Contents {
        match self {
            Self::Host(batch) => &batch.contents,
            Self::Device(batch) => &batch.contents,
        }
    }

    /// Bytes of its crops in memory.
    pub fn bytes(&self) -> usize {
        let pictures = self.contents().keys.len();
        let floats = |crops: &DeviceCrops| crops.per_picture * pictures * 3 * crops.size * crops.size;
        match self {
            Self::Host(batch) => batch.global.bytes() + batch.local.bytes(),
            Self::Device(batch) => 4 * (floats(&batch.global) + floats(&batch.local)),
        }
    }
}

/// Makes a [`HostBatch`] of every `batch_size_per_gpu` pictures.
///
/// The fetch stage ends every epoch at a whole step, so none is ever left over; one that is, is an error.
pub struct Batcher {
    size: usize,
    held: Vec<Cropped>,
}

impl Batcher {
    /// A batcher that holds nothing yet.
    ///
    /// # Errors
    /// The batch size is 0.
    pub fn new(config: &BatchConfig) -> Result<Self, DataError> {
        let size = config.batch_size_per_gpu;
        if size == 0 {
            return Err(DataError::Batch("`batch_size_per_gpu` is 0, the least is 1".into()));
        }
        Ok(Self { size, held: Vec::with_capacity(size) })
    }

    /// Makes a batch of the held pictures.
    fn complete(&mut self) -> Result<Batch, DataError> {
        let pictures = std::mem::replace(&mut self.held, Vec::with_capacity(self.size));
        let mut contents = Contents { epoch: pictures[0].origin.epoch, ..Contents::default() };
        let crops = pictures[0].crops.len();
        let (mut sets, mut erase) = (Vec::with_capacity(self.size), Vec::with_capacity(self.size));
        for Cropped { origin, weak, crops, erase: erased } in pictures {
            if origin.epoch != contents.epoch {
                return Err(DataError::Batch(format!("it would span epochs {} and {}", contents.epoch, origin.epoch)));
            }
            contents.positions.push(origin.position);
            contents.keys.push(origin.key);
            contents.labels.push(origin.label);
            contents.weak.push(weak);
            contents.dropped.extend(origin.stands_in_for.map(|dropped| *dropped));
            sets.push(crops);
            erase.push(erased);
        }
        let sets: Arc<[CropSet]> = sets.into();
        let range = |range: std::ops::Range<usize>| select(&sets, &erase, &contents.keys, range);
        let global = range(0..GLOBAL_CROPS.min(crops))?;
        let local = range(GLOBAL_CROPS.min(crops)..crops)?;
        Ok(Batch::Host(HostBatch { contents, global, local }))
    }
}

/// The crops of one range of all pictures, crop by crop; they must be of one size.
fn select(
    pictures: &Arc<[CropSet]>,
    erased: &[Vec<Option<Erase>>],
    keys: &[Arc<str>],
    range: std::ops::Range<usize>,
) -> Result<Crops, DataError> {
    let size = pictures[0].side(range.start).unwrap_or(0);
    let mut erase = Vec::with_capacity(range.len() * pictures.len());
    for number in range.clone() {
        for ((picture, erased), key) in pictures.iter().zip(erased).zip(keys) {
            if picture.side(number) != Some(size) {
                return Err(DataError::Batch(format!("crop {number} of {key} is not {size}x{size} like the others")));
            }
            erase.push(erased.get(number).copied().flatten());
        }
    }
    Ok(Crops { per_picture: range.len(), size, erase, pictures: pictures.clone(), first: range.start })
}

impl Group<Cropped, Batch> for Batcher {
    fn push(&mut self, item: Cropped) -> Result<Option<Batch>, BoxError> {
        self.held.push(item);
        if self.held.len() < self.size {
            return Ok(None);
        }
        Ok(Some(self.complete()?))
    }

    fn finish(&mut self) -> Result<Option<Batch>, BoxError> {
        match self.held.len() {
            0 => Ok(None),
            left => Err(DataError::Batch(format!("{left} of {} pictures are left at the end", self.size)).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Origin;
    use crate::pool::Pool;

    /// A picture whose crops tell it and themselves by their colour.
    fn cropped(epoch: u32, position: u64, sizes: &[usize]) -> Cropped {
        let key: Arc<str> = format!("key{position}").into();
        let shard = "a-000000.tar".into();
        let origin = Origin { epoch, position, key, shard, offset: 512, label: Some(7), stands_in_for: None };
        let crops = CropSet::new(&Pool::default(), sizes.to_vec(), |mut bytes| {
            for (crop, &size) in sizes.iter().enumerate() {
                let (own, rest) = bytes.split_at_mut(3 * size * size);
                own.fill(crop as u8);
                own[0] = position as u8;
                bytes = rest;
            }
        });
        let rectangle = Erase { top: 1, left: 2, height: 3, width: 4, noise: Default::default() };
        let erase = (0..sizes.len()).map(|crop| (crop == 2).then_some(rectangle)).collect();
        Cropped { origin, weak: position.is_multiple_of(2), crops, erase }
    }

    fn batcher(size: usize) -> Batcher {
        Batcher::new(&BatchConfig { batch_size_per_gpu: size }).unwrap()
    }

    fn host(batch: Option<Batch>) -> HostBatch {
        match batch {
            Some(Batch::Host(batch)) => batch,
            other => panic!("no host batch: {other:?}"),
        }
    }

    #[test]
    fn crops_are_gathered_crop_by_crop() {
        let mut batcher = batcher(2);
        let sizes = [4, 4, 4, 4, 2, 2, 2];
        assert!(batcher.push(cropped(3, 10, &sizes)).unwrap().is_none());
        let batch = host(batcher.push(cropped(3, 12, &sizes)).unwrap());
        assert_eq!(batch.contents.epoch, 3);
        assert_eq!(batch.contents.positions, [10, 12]);
        assert_eq!(batch.contents.keys, ["key10".into(), "key12".into()]);
        assert_eq!(batch.contents.labels, [Some(7), Some(7)]);
        assert_eq!(batch.contents.weak, [true, true]);
        assert_eq!((batch.global.per_picture, batch.global.size, batch.global.len()), (4, 4, 8));
        assert_eq!((batch.local.per_picture, batch.local.size, batch.local.len()), (3, 2, 6));
        let first_pixels = |crops: &Crops| (0..crops.len()).map(|n| crops.crop(n)[..2].to_vec()).collect::<Vec<_>>();
        assert_eq!(
            first_pixels(&batch.global),
            [[10, 0], [12, 0], [10, 1], [12, 1], [10, 2], [12, 2], [10, 3], [12, 3]]
        );
        assert_eq!(first_pixels(&batch.local), [[10, 4], [12, 4], [10, 5], [12, 5], [10, 6], [12, 6]]);
        let erased: Vec<bool> = batch.global.erase.iter().map(Option::is_some).collect();
        assert_eq!(erased, [false, false, false, false, true, true, false, false]);
        assert_eq!(Batch::Host(batch).bytes(), 8 * 48 + 6 * 12);
        assert!(batcher.finish().unwrap().is_none());
    }

    #[test]
    fn a_batch_without_local_crops_has_none() {
        let batch = host(batcher(1).push(cropped(0, 0, &[4; 4])).unwrap());
        assert!(batch.local.is_empty() && batch.local.bytes() == 0);
    }

    #[test]
    fn what_cannot_be_a_batch_is_refused() {
        let message = |batcher: &mut Batcher, item| batcher.push(item).unwrap_err().to_string();
        let mut two = batcher(2);
        two.push(cropped(0, 1, &[4; 4])).unwrap();
        assert_eq!(two.finish().unwrap_err().to_string(), "cannot make a batch: 1 of 2 pictures are left at the end");
        assert_eq!(message(&mut two, cropped(1, 2, &[4; 4])), "cannot make a batch: it would span epochs 0 and 1");
        two.push(cropped(0, 1, &[4; 4])).unwrap();
        let wrong = message(&mut two, cropped(0, 2, &[4, 4, 3, 4]));
        assert_eq!(wrong, "cannot make a batch: crop 2 of key2 is not 4x4 like the others");
        assert!(Batcher::new(&BatchConfig { batch_size_per_gpu: 0 }).is_err());
    }

    #[test]
    fn a_device_batch_frees_its_memory_once_it_is_dropped() {
        let memory = Arc::new(());
        let crops = DeviceCrops { per_picture: 4, size: 2, address: 0xdead_0000 };
        let contents = Contents { keys: vec!["a".into(), "b".into()], ..Contents::default() };
        let owner = Box::new(memory.clone());
        let batch = Batch::Device(DeviceBatch { contents, device: 0, global: crops, local: crops, owner });
        assert_eq!(batch.bytes(), 2 * 4 * 2 * 12 * 4);
        assert_eq!(Arc::strong_count(&memory), 2);
        drop(batch);
        assert_eq!(Arc::strong_count(&memory), 1);
    }
}
