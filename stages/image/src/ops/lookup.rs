//! Operators that map every byte through a table, one for all channels or one for each.

use crate::Image;
use crate::image::CHANNELS;

/// What each value of a byte becomes.
pub(crate) type Table = [u8; 256];

/// The table of a function.
pub(crate) fn table(map: impl Fn(u8) -> u8) -> Table {
    std::array::from_fn(|value| map(value as u8))
}

/// Maps all channels through one table.
pub(super) fn apply(image: &mut Image, table: &Table) {
    for value in &mut image.pixels {
        *value = table[usize::from(*value)];
    }
}

/// Maps each channel through its own table.
fn apply_each(image: &mut Image, tables: &[Table; CHANNELS]) {
    for colour in image.colours_mut() {
        for (value, table) in colour.iter_mut().zip(tables) {
            *value = table[usize::from(*value)];
        }
    }
}

/// How often each value occurs, by channel.
pub(crate) type Histogram = [u32; 256];

fn histograms(image: &Image) -> [Histogram; CHANNELS] {
    let mut counts = [[0; 256]; CHANNELS];
    for colour in image.colours() {
        for (count, &value) in counts.iter_mut().zip(colour) {
            count[usize::from(value)] += 1;
        }
    }
    counts
}

/// The negative: 255 - v.
pub fn invert(image: &mut Image) {
    apply(image, &table(|value| 255 - value));
}

/// Inverts the values of at least `threshold`: 0 inverts all, 256 none.
pub fn solarize(image: &mut Image, threshold: i32) {
    apply(image, &solarized(threshold));
}

pub(crate) fn solarized(threshold: i32) -> Table {
    table(|value| if i32::from(value) < threshold { value } else { 255 - value })
}

/// Adds to the values below 128, saturating.
pub fn solarize_add(image: &mut Image, add: i32) {
    apply(image, &solarized_by_adding(add));
}

pub(crate) fn solarized_by_adding(add: i32) -> Table {
    let brighter = |value: u8| i32::from(value).saturating_add(add).clamp(0, 255) as u8;
    table(|value| if value < 128 { brighter(value) } else { value })
}

/// Keeps the upper `bits` bits of every value: 8 and more change nothing, **0 gives black** (as in Pillow up to 12).
pub fn posterize(image: &mut Image, bits: u32) {
    apply(image, &posterized(bits));
}

pub(crate) fn posterized(bits: u32) -> Table {
    let mask = if bits >= 8 { 0xFF } else { (0xFF_u32 << (8 - bits)) as u8 };
    table(|value| value & mask)
}

/// Stretches each channel so that its darkest value becomes 0 and its brightest 255.
pub fn auto_contrast(image: &mut Image) {
    let tables = histograms(image).map(|counts| stretch(&counts));
    apply_each(image, &tables);
}

pub(crate) fn stretch(counts: &Histogram) -> Table {
    let used = |count: &u32| *count > 0;
    let (low, high) = (counts.iter().position(used).unwrap_or(0), counts.iter().rposition(used).unwrap_or(0));
    if high <= low {
        return table(|value| value);
    }
    let scale = 255.0 / (high - low) as f64;
    let offset = -(low as f64) * scale;
    // The cast truncates and clamps.
    table(|value| (f64::from(value) * scale + offset) as u8)
}

/// Spreads each channel's values so that their histogram becomes as even as a table can make it.
pub fn equalize(image: &mut Image) {
    let tables = histograms(image).map(|counts| spread(&counts));
    apply_each(image, &tables);
}

pub(crate) fn spread(counts: &Histogram) -> Table {
    let mut table = table(|value| value);
    let brightest = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
    let total: u32 = counts.iter().sum();
    // One value only, or a remainder too small to spread.
    let step = (total - brightest) / 255;
    if step == 0 {
        return table;
    }
    let mut below = step / 2;
    for (target, count) in table.iter_mut().zip(counts) {
        // More than 255 steps fit below the top on small pictures: saturate.
        *target = (below / step).min(255) as u8;
        below += count;
    }
    table
}
