//! Operators that map each byte through a table, composed into one, and the counts that some tables are made of.

use mugs_simd::{Kernel, Simd, Vectors};

use super::planes::{Planes, View, Window};
use super::resize::load;
use crate::image::CHANNELS;
use crate::ops::lookup::{self, Histogram, Table};

/// How often each value occurs, by channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(pub(super) [Histogram; CHANNELS]);

impl Counts {
    /// Of a whole picture.
    pub fn of(planes: &Planes) -> Self {
        let columns = planes.columns();
        Self(std::array::from_fn(|channel| {
            // Equal neighbours would wait for each other's count in one table.
            let mut parts = [[0_u32; 256]; 4];
            for row in 0..planes.rows() {
                let (fours, rest) = planes.row(channel, row)[..columns].as_chunks::<4>();
                for four in fours {
                    for (part, &value) in parts.iter_mut().zip(four) {
                        part[usize::from(value)] += 1;
                    }
                }
                rest.iter().for_each(|&value| parts[0][usize::from(value)] += 1);
            }
            std::array::from_fn(|value| parts.iter().map(|part| part[value]).sum())
        }))
    }

    /// What they are after a look-up.
    pub fn mapped(&self, maps: &Maps) -> Self {
        let mut out = [[0; 256]; CHANNELS];
        for ((out, counts), table) in out.iter_mut().zip(&self.0).zip(&maps.0) {
            for (count, &value) in counts.iter().zip(table) {
                out[usize::from(value)] += count;
            }
        }
        Self(out)
    }
}

/// A table for each channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maps([Table; CHANNELS]);

impl Maps {
    /// The same function for all channels.
    pub fn all(map: impl Fn(u8) -> u8) -> Self {
        Self([lookup::table(map); CHANNELS])
    }

    /// 255 - v.
    pub fn invert() -> Self {
        Self::all(|value| 255 - value)
    }

    /// Inverts values of at least `threshold`.
    pub fn solarize(threshold: i32) -> Self {
        Self([lookup::solarized(threshold); CHANNELS])
    }

    /// Adds to the values below 128, saturating.
    pub fn solarize_add(add: i32) -> Self {
        Self([lookup::solarized_by_adding(add); CHANNELS])
    }

    /// Keeps the upper `bits` bits.
    pub fn posterize(bits: u32) -> Self {
        Self([lookup::posterized(bits); CHANNELS])
    }

    /// Blends from the gray `from` (brightness: 0; contrast: the mean luma).
    pub fn blend(from: u8, factor: f32) -> Self {
        Self::all(|value| crate::ops::colour::blend(from, value, factor))
    }

    /// Stretches each channel to 0 … 255.
    pub fn auto_contrast(counts: &Counts) -> Self {
        Self(counts.0.each_ref().map(lookup::stretch))
    }

    /// Evens out each channel.
    pub fn equalize(counts: &Counts) -> Self {
        Self(counts.0.each_ref().map(lookup::spread))
    }

    /// First these maps, then `next`.
    pub fn then(&self, next: &Self) -> Self {
        let mut out = next.clone();
        for ((out, first), next) in out.0.iter_mut().zip(&self.0).zip(&next.0) {
            *out = lookup::table(|value| next[usize::from(first[usize::from(value)])]);
        }
        out
    }

    /// Writes a window of a picture through the maps.
    pub fn copy(&self, vectors: Vectors, view: &View<'_>, window: &Window, out: &mut Planes) {
        out.reshape(window.rows.len(), window.columns.len());
        vectors.run(Copy { maps: self, view, window, out });
    }

    /// Maps in place.
    pub fn apply(&self, vectors: Vectors, planes: &mut Planes) {
        vectors.run(Apply { maps: self, planes });
    }
}

/// The entries of two vectors of a row from `at` on. Rows are padded to an odd number of lines, so the second vector may
/// lie behind the end.
#[inline(always)]
fn looked_up<S: Simd>(s: S, table: &S::Table, row: &[u8], at: usize) -> [S::I; 2] {
    s.look_up(table, [s.load(&row[at..]), load(s, row, (at + S::BYTES).min(row.len()))])
}

/// Stores what of two vectors lies before the row's last column.
#[inline(always)]
fn store_pair<S: Simd>(s: S, [one, two]: [S::I; 2], row: &mut [u8], at: usize, columns: usize) {
    s.store(one, &mut row[at..]);
    if at + S::BYTES < columns {
        s.store(two, &mut row[at + S::BYTES..]);
    }
}

struct Copy<'a> {
    maps: &'a Maps,
    view: &'a View<'a>,
    window: &'a Window,
    out: &'a mut Planes,
}

impl Kernel for Copy<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.window.columns.len();
        for (channel, table) in self.maps.0.iter().enumerate() {
            let table = s.table(table);
            for (row, from) in self.window.rows.clone().enumerate() {
                let from = self.view.from(channel, from, self.window.columns.start);
                let to = self.out.row_mut(channel, row);
                for at in (0..columns).step_by(2 * S::BYTES) {
                    store_pair(s, looked_up(s, &table, from, at), to, at, columns);
                }
            }
        }
    }
}

struct Apply<'a> {
    maps: &'a Maps,
    planes: &'a mut Planes,
}

impl Kernel for Apply<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (rows, columns) = (self.planes.rows(), self.planes.columns());
        for (channel, table) in self.maps.0.iter().enumerate() {
            let table = s.table(table);
            for row in 0..rows {
                let row = self.planes.row_mut(channel, row);
                for at in (0..columns).step_by(2 * S::BYTES) {
                    let found = looked_up(s, &table, row, at);
                    store_pair(s, found, row, at, columns);
                }
            }
        }
    }
}
