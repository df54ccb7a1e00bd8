//! What is in a set: lengths, formats and sizes of its pictures, classes, and what is odd.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use mugs_image::{Format, header};
use serde::Serialize;

use crate::error::ShardError;
use crate::set::ShardSet;

/// Odd pictures that are named; all are counted.
const NAMED: usize = 20;

/// More pixels than any photograph of a data set needs.
const LARGE: u64 = 50_000_000;
/// A shorter side than a crop can be made of.
const SMALL: u32 = 32;
/// A longer side, as a multiple of the shorter.
const LONG: u32 = 10;

/// What is in a set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetStats {
    /// The name of the set.
    pub name: String,
    /// Samples.
    pub samples: u64,
    /// Shards.
    pub shards: u64,
    /// Bytes of the pictures.
    pub bytes: Quantiles,
    /// Shorter sides of the pictures in pixels.
    pub short_side: Quantiles,
    /// Longer sides of the pictures in pixels.
    pub long_side: Quantiles,
    /// Pictures by format, as their content says.
    pub formats: BTreeMap<String, u64>,
    /// Samples without a label.
    pub unlabelled: u64,
    /// Samples of each class, by its number.
    pub classes: Vec<ClassCount>,
    /// Samples whose picture has the same bytes as an earlier one's.
    pub duplicates: u64,
    /// Odd pictures by kind: `not_an_image`, `other_extension`, `large`, `small`, `long`.
    pub odd: BTreeMap<String, u64>,
    /// The first of the odd pictures, in the order of the set.
    pub odd_first: Vec<Odd>,
    /// Shorter sides by steps of 50 pixels: how many lie in each step. The last of 101 steps has all from 5000
    /// pixels on.
    pub short_sides: Vec<u64>,
}

/// How many samples a class has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its name, or its number where the set has no names.
    pub name: String,
    /// Its samples.
    pub samples: u64,
}

/// A picture that is odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Odd {
    /// The sample.
    pub key: String,
    /// As in [`SetStats::odd`].
    pub kind: &'static str,
    /// `12000x8000 pixels`.
    pub what: String,
}

/// Some numbers in short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// The smallest.
    pub min: u64,
    /// The middle one; of an even count the lower of the two.
    pub median: u64,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub max: u64,
    /// All added up.
    pub total: u64,
}

impl Quantiles {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let total: u64 = values.iter().sum();
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        let mean = total as f64 / values.len().max(1) as f64;
        Self {
            min: at(0),
            median: at(values.len().saturating_sub(1) / 2),
            mean,
            max: values.last().copied().unwrap_or(0),
            total,
        }
    }
}

/// Looks at every picture's header, with `workers` threads; `progress` is called after each sample.
///
/// # Errors
/// A sample cannot be read, or does not have its checksum.
pub fn stats(
    set: &ShardSet,
    workers: usize,
    progress: &(dyn Fn() + Sync),
    stop: &AtomicBool,
) -> Result<Option<SetStats>, ShardError> {
    let shards = set.manifest().shards.len();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<(), ShardError> {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= shards {
                break;
            }
            let seen = look(set, number, progress, stop)?;
            found.lock().unwrap_or_else(PoisonError::into_inner).push((number, seen));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.clamp(1, shards)).map(|_| scope.spawn(work)).collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All threads are waited for; the first error counts.
        results.collect::<Vec<_>>().into_iter().collect::<Result<(), ShardError>>()
    })?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(number, _)| *number);
    Ok(Some(summary(set, found.into_iter().flat_map(|(_, seen)| seen))))
}

/// What is known of a sample.
struct Seen {
    key: String,
    bytes: u64,
    xxh3: u128,
    label: Option<u32>,
    extension: String,
    /// Format, columns and rows; or why it is no picture.
    header: Result<(Format, u32, u32), String>,
}

fn look(
    set: &ShardSet,
    number: usize,
    progress: &(dyn Fn() + Sync),
    stop: &AtomicBool,
) -> Result<Vec<Seen>, ShardError> {
    let reader = set.open_shard(number)?;
    let mut seen = Vec::with_capacity(reader.len());
    for place in 0..reader.len() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sample = reader.read(place)?;
        let header = header(&sample.image).map_err(|error| error.to_string());
        seen.push(Seen {
            key: sample.key.to_string(),
            bytes: sample.image.len() as u64,
            xxh3: reader.entry(place).picture().map_or(0, |picture| picture.xxh3.value()),
            label: sample.label,
            extension: sample.extension.to_string(),
            header: header.map(|header| (header.format, header.width as u32, header.height as u32)),
        });
        progress();
    }
    Ok(seen)
}

fn summary(set: &ShardSet, samples: impl Iterator<Item = Seen>) -> SetStats {
    const STEP: u32 = 50;
    let manifest = set.manifest();
    let names = manifest.classes.iter().map(|name| ClassCount { name: name.clone(), samples: 0 });
    let mut stats = SetStats {
        name: manifest.name.clone(),
        samples: 0,
        shards: manifest.shards.len() as u64,
        bytes: Quantiles::default(),
        short_side: Quantiles::default(),
        long_side: Quantiles::default(),
        formats: BTreeMap::new(),
        unlabelled: 0,
        classes: names.collect(),
        duplicates: 0,
        odd: BTreeMap::new(),
        odd_first: Vec::new(),
        short_sides: Vec::new(),
    };
    let (mut bytes, mut short, mut long) = (Vec::new(), Vec::new(), Vec::new());
    let (mut contents, mut numbers) = (HashMap::new(), BTreeMap::<u32, u64>::new());
    for seen in samples {
        stats.samples += 1;
        bytes.push(seen.bytes);
        stats.duplicates += u64::from(contents.insert(seen.xxh3, ()).is_some());
        match seen.label {
            None => stats.unlabelled += 1,
            Some(label) => *numbers.entry(label).or_default() += 1,
        }
        if let Ok((format, width, height)) = &seen.header {
            *stats.formats.entry(format.name().into()).or_default() += 1;
            let side = (*width).min(*height);
            short.push(u64::from(side));
            long.push(u64::from((*width).max(*height)));
            let step = (side / STEP) as usize;
            if stats.short_sides.len() <= step.min(100) {
                stats.short_sides.resize(step.min(100) + 1, 0);
            }
            stats.short_sides[step.min(100)] += 1;
        }
        if let Some((kind, what)) = odd(&seen) {
            *stats.odd.entry(kind.into()).or_default() += 1;
            if stats.odd_first.len() < NAMED {
                stats.odd_first.push(Odd { key: seen.key, kind, what });
            }
        }
    }
    for (label, samples) in numbers {
        match stats.classes.get_mut(label as usize) {
            Some(class) => class.samples = samples,
            None => stats.classes.push(ClassCount { name: label.to_string(), samples }),
        }
    }
    (stats.bytes, stats.short_side, stats.long_side) =
        (Quantiles::of(bytes), Quantiles::of(short), Quantiles::of(long));
    stats
}

/// What is odd about a picture, the gravest first.
fn odd(seen: &Seen) -> Option<(&'static str, String)> {
    let (format, width, height) = match &seen.header {
        Ok(header) => *header,
        Err(reason) => return Some(("not_an_image", reason.clone())),
    };
    let pixels = format!("{width}x{height} pixels");
    let (short, long) = (width.min(height), width.max(height));
    if u64::from(width) * u64::from(height) > LARGE {
        Some(("large", pixels))
    } else if short < SMALL {
        Some(("small", pixels))
    } else if long > LONG * short {
        Some(("long", pixels))
    } else if !fits(format, &seen.extension) {
        Some(("other_extension", format!("{} named .{}", format.name(), seen.extension)))
    } else {
        None
    }
}

/// Whether a picture is named like its format.
fn fits(format: Format, extension: &str) -> bool {
    let extensions: &[&str] = match format {
        Format::Jpeg => &["jpg", "jpeg"],
        Format::Png => &["png"],
        Format::Pnm => &["ppm", "pgm", "pnm", "pbm"],
        Format::Bmp => &["bmp"],
        Format::Tiff => &["tif", "tiff"],
        Format::WebP => &["webp"],
    };
    extensions.contains(&extension)
}
