//! What travels between the data stages.

use std::sync::Arc;

use bytes::Bytes;
use mugs_image::Image;

use crate::crop::Erase;
use crate::pool::{Buffer, Pool};

/// Which sample something was made from, and where in the run it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The epoch, from 0.
    pub epoch: u32,
    /// The position in the epoch's order, from 0. With the epoch it determines every draw of the sample's crops.
    pub position: u64,
    /// The sample's key.
    pub key: Arc<str>,
    /// The file name of its shard.
    pub shard: Arc<str>,
    /// Where the picture's bytes begin in the shard.
    pub offset: u64,
    /// Its class, where the set has classes.
    pub label: Option<u32>,
    /// The bad sample at whose position it stands; none if the position is its own.
    pub stands_in_for: Option<Box<Dropped>>,
}

/// A sample that is not delivered because it is bad. Another one of its stream stands at its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its position in the epoch's order.
    pub position: u64,
    /// Its key.
    pub key: Arc<str>,
    /// The file name of its shard.
    pub shard: Arc<str>,
    /// Where the picture's bytes begin in the shard.
    pub offset: u64,
    /// What is wrong in one word, for counting: one of [`BAD_SAMPLE_REASONS`](crate::bad::BAD_SAMPLE_REASONS).
    pub reason: &'static str,
    /// What is wrong in a sentence, which names shard, key and byte offset too.
    pub what: String,
    /// How many samples are bad one after the other in the stream, this one the first of them: at least 1.
    pub in_a_row: u64,
}

/// A sample as it was read: fetch → decode.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The sample.
    pub origin: Origin,
    /// The picture, encoded.
    pub image: Bytes,
}

/// A decoded picture: decode → crop.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The sample.
    pub origin: Origin,
    /// Its pixels.
    pub image: Image,
}

/// The crops of one picture: crop → batch.
#[derive(Debug, Clone)]
pub struct Cropped {
    /// The sample.
    pub origin: Origin,
    /// Whether the student's two large crops are weak.
    pub weak: bool,
    /// The crops in the order of the model: the teacher's two (t1, t2), the student's two large ones (s1, s2), then the
    /// local ones.
    pub crops: CropSet,
    /// What is erased of each crop when it is made into floats.
    pub erase: Vec<Option<Erase>>,
}

/// The finished crops of one picture, in one buffer: each `[3, S, S]` u8, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct CropSet {
    /// `[C]`: each crop's side S in pixels.
    sides: Vec<usize>,
    pixels: Buffer,
}

impl CropSet {
    /// Crops of these sides, whose bytes are written by `fill`, in a buffer of `pool`.
    pub fn new(pool: &Pool, sides: Vec<usize>, fill: impl FnOnce(&mut [u8])) -> Self {
        let bytes = sides.iter().map(|side| 3 * side * side).sum();
        let mut pixels = pool.take(bytes);
        fill(&mut pixels);
        Self { sides, pixels }
    }

    /// The number of crops, C.
    pub fn len(&self) -> usize {
        self.sides.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sides.is_empty()
    }

    /// Bytes of all crops.
    pub fn bytes(&self) -> usize {
        self.pixels.len()
    }

    /// The side of a crop; none if there is no such crop.
    pub fn side(&self, crop: usize) -> Option<usize> {
        self.sides.get(crop).copied()
    }

    /// The bytes of a crop, `[3, S, S]`.
    ///
    /// # Panics
    /// There are not that many crops.
    pub fn crop(&self, crop: usize) -> &[u8] {
        let bytes = |side: &usize| 3 * side * side;
        let start: usize = self.sides[..crop].iter().map(bytes).sum();
        &self.pixels[start..start + bytes(&self.sides[crop])]
    }
}
