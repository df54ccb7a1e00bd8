//! What `--jpeg fast` does to the pictures of a set: how far their pixels are from the exact ones, and what it saves.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use mugs_image::decode::{DecoderConfig, JpegMode};
use mugs_image::ops::{Filter, resize};
use mugs_image::{DecodeError, Decoder, Image};
use mugs_shards::{Sample, ShardSet};
use serde::Serialize;

use crate::config::RunConfig;

/// The most pictures that are compared.
const MOST: u64 = 200;

/// The difference between fast and exact decoding. Pixels are compared byte by byte, 0 to 255; a picture that was
/// decoded smaller with the exact one, made as small by bicubic resizing.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct JpegEffect {
    /// Pictures compared, evenly spread over the set.
    pictures: u64,
    /// Those of them that were decoded smaller.
    smaller: u64,
    /// Mean absolute difference of all their bytes.
    mean_difference: f64,
    /// The same of the pictures that were decoded smaller; 0 if there are none.
    mean_difference_of_smaller: f64,
    /// The largest absolute difference of a byte.
    max_difference: u8,
    /// The time that fast decoding took, as a share of that of exact decoding.
    decoding_time: f64,
}

impl JpegEffect {
    /// Compares up to 200 pictures; none if the configuration decodes exactly. Bad samples are left out.
    pub fn measure(config: &RunConfig, set: &ShardSet) -> Result<Option<Self>> {
        let decoder = config.decoder()?;
        if decoder.jpeg == JpegMode::Exact {
            return Ok(None);
        }
        let mut tally = Tally::new(decoder)?;
        sample(set, MOST, |sample| tally.add(&sample.image))?;
        Ok(Some(tally.effect()))
    }
}

impl fmt::Display for JpegEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pictures,
            smaller,
            mean_difference: mean,
            mean_difference_of_smaller,
            max_difference,
            decoding_time,
        } = self;
        write!(f, "--jpeg fast decodes {smaller} of {pictures} pictures smaller; ")?;
        if *smaller == 0 && *max_difference == 0 {
            return write!(f, "all pixels are the exact ones");
        }
        write!(
            f,
            "bytes differ from exact ones by {mean:.2} on average ({mean_difference_of_smaller:.2} in the smaller \
             pictures) and {max_difference} at most; decoding takes {decoding_time:.2} of the time"
        )
    }
}

/// Hands up to `most` samples to `visit`, evenly spread over the set in the order of storage.
fn sample(set: &ShardSet, most: u64, mut visit: impl FnMut(Sample) -> Result<()>) -> Result<()> {
    let all = set.manifest().samples;
    let count = most.min(all);
    let mut wanted = (0..count).map(|number| number * all / count).peekable();
    let mut first = 0;
    for (number, shard) in set.manifest().shards.iter().enumerate() {
        let end = first + shard.samples;
        if wanted.peek().is_some_and(|place| *place < end) {
            let reader = set.open_shard(number)?;
            while let Some(place) = wanted.next_if(|place| *place < end) {
                match reader.read((place - first) as usize) {
                    Ok(sample) => visit(sample)?,
                    Err(error) if error.is_bad_sample() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        first = end;
    }
    Ok(())
}

/// Both decoders, and what they gave so far.
struct Tally {
    fast: Decoder,
    exact: Decoder,
    /// Time that each took.
    took: [Duration; 2],
    all: Difference,
    smaller: Difference,
}

/// Differences added up.
#[derive(Debug, Default, Clone, Copy)]
struct Difference {
    pictures: u64,
    bytes: u64,
    sum: u64,
    most: u8,
}

impl Tally {
    fn new(fast: DecoderConfig) -> Result<Self> {
        let exact = DecoderConfig { jpeg: JpegMode::Exact, ..fast };
        Ok(Self {
            fast: Decoder::with_config(fast)?,
            exact: Decoder::with_config(exact)?,
            took: Default::default(),
            all: Difference::default(),
            smaller: Difference::default(),
        })
    }

    /// Compares a picture, if it can be decoded.
    fn add(&mut self, file: &[u8]) -> Result<()> {
        let (exact, exact_took) = timed(&mut self.exact, file);
        let (fast, fast_took) = timed(&mut self.fast, file);
        let (Ok(exact), Ok(fast)) = (exact, fast) else { return Ok(()) };
        self.took = [self.took[0] + exact_took, self.took[1] + fast_took];
        let smaller = (exact.width, exact.height) != (fast.width, fast.height);
        let exact = if smaller { resize(&exact, fast.width, fast.height, Filter::Bicubic) } else { exact };
        self.all.add(&exact, &fast);
        if smaller {
            self.smaller.add(&exact, &fast);
        }
        Ok(())
    }

    fn effect(&self) -> JpegEffect {
        let [exact, fast] = self.took.map(|took| took.as_secs_f64());
        JpegEffect {
            pictures: self.all.pictures,
            smaller: self.smaller.pictures,
            mean_difference: self.all.mean(),
            mean_difference_of_smaller: self.smaller.mean(),
            max_difference: self.all.most,
            decoding_time: if exact > 0.0 { fast / exact } else { 1.0 },
        }
    }
}

fn timed(decoder: &mut Decoder, file: &[u8]) -> (Result<Image, DecodeError>, Duration) {
    let start = Instant::now();
    let decoded = decoder.decode(file);
    (decoded.map(|decoded| decoded.image), start.elapsed())
}

impl Difference {
    fn add(&mut self, one: &Image, other: &Image) {
        let each = one.pixels.iter().zip(&other.pixels).map(|(one, other)| one.abs_diff(*other));
        self.pictures += 1;
        self.bytes += one.pixels.len() as u64;
        self.sum += each.clone().map(u64::from).sum::<u64>();
        self.most = self.most.max(each.max().unwrap_or(0));
    }

    fn mean(&self) -> f64 {
        self.sum as f64 / self.bytes.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use mugs_image::encode;

    use super::*;

    #[test]
    fn small_pictures_are_equal_and_large_ones_compared_at_the_size_they_come_in() {
        let fast = DecoderConfig { jpeg: JpegMode::Fast { least_side: 32 }, ..DecoderConfig::default() };
        let mut tally = Tally::new(fast).unwrap();
        let stripes = |width: usize, height: usize| {
            let pixels = (0..width * height * 3).map(|at| if at / 3 % 2 == 0 { 0 } else { 200 }).collect();
            encode::jpeg(&Image::new(width, height, pixels).unwrap(), 95).unwrap()
        };
        tally.add(&stripes(62, 62)).unwrap();
        let small = tally.effect();
        assert_eq!((small.pictures, small.smaller, small.mean_difference, small.max_difference), (1, 0, 0.0, 0));
        assert!(small.to_string().ends_with("all pixels are the exact ones"), "{small}");
        tally.add(b"no picture").unwrap();
        tally.add(&stripes(128, 64)).unwrap();
        let both = tally.effect();
        assert_eq!((both.pictures, both.smaller), (2, 1));
        assert!(both.mean_difference > 0.0 && both.mean_difference < both.mean_difference_of_smaller, "{both:?}");
        assert!(f64::from(both.max_difference) >= both.mean_difference_of_smaller, "{both:?}");
    }

    #[test]
    fn differences_are_added_up() {
        let mut difference = Difference::default();
        difference.add(&Image::filled(2, 1, [10, 20, 30]), &Image::filled(2, 1, [13, 20, 24]));
        difference.add(&Image::filled(1, 1, [0, 0, 0]), &Image::filled(1, 1, [0, 0, 9]));
        assert_eq!((difference.sum, difference.bytes, difference.most), (27, 9, 9));
        assert_eq!(difference.mean(), 3.0);
    }
}
