//! Writing into a ring of rows, and when which row was written.

use std::collections::BTreeMap;

use tch::Tensor;

/// Writes `rows` along `dim` of `ring`, from `start` on, going on at the beginning after the end. Of more rows than the
/// ring holds, the last ones stay.
pub(crate) fn write(ring: &Tensor, dim: i64, start: i64, rows: &Tensor) {
    let _no_grad = tch::no_grad_guard();
    let (capacity, count) = (ring.size()[dim as usize], rows.size()[dim as usize]);
    let mut done = 0;
    while done < count {
        let at = (start + done) % capacity;
        let length = (count - done).min(capacity - at);
        ring.narrow(dim, at, length).copy_(&rows.narrow(dim, done, length));
        done += length;
    }
}

/// How old the rows of a ring are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowAges {
    /// How many rows were written how many steps ago; 0 is the last step.
    pub by_age: BTreeMap<u32, usize>,
    /// Rows that were written before the state was loaded: nothing tells when.
    pub before: usize,
    /// Rows that hold what was drawn at the start.
    pub never: usize,
}

impl RowAges {
    /// All rows.
    pub fn rows(&self) -> usize {
        self.by_age.values().sum::<usize>() + self.before + self.never
    }
}

/// When each row of a ring was written, counted on the host: nothing waits for the device.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    written: Vec<Written>,
    /// Steps so far.
    now: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Never,
    Before,
    /// In the step of this number.
    At(u32),
}

impl Clock {
    /// Of a ring of so many rows, none of which has been written.
    pub(crate) fn new(rows: i64) -> Clock {
        Clock { written: vec![Written::Never; rows.max(0) as usize], now: 0 }
    }

    /// A step in which `count` rows, which may be 0, were written from `start` on.
    pub(crate) fn step(&mut self, start: i64, count: i64) {
        self.now += 1;
        let capacity = self.written.len();
        for row in 0..(count.max(0) as usize).min(capacity) {
            self.written[(start as usize + row) % capacity] = Written::At(self.now);
        }
    }

    /// Starts again with rows of which it is known whether they were written, not when.
    pub(crate) fn load(&mut self, written: impl Fn(usize) -> bool) {
        let of_row = |row| if written(row) { Written::Before } else { Written::Never };
        *self = Clock { written: (0..self.written.len()).map(of_row).collect(), now: 0 };
    }

    /// Whether each row was written.
    pub(crate) fn is_written(&self) -> Vec<bool> {
        self.written.iter().map(|row| *row != Written::Never).collect()
    }

    /// The ages of the rows.
    pub(crate) fn ages(&self) -> RowAges {
        let mut ages = RowAges::default();
        for row in &self.written {
            match row {
                Written::Never => ages.never += 1,
                Written::Before => ages.before += 1,
                Written::At(step) => *ages.by_age.entry(self.now - step).or_default() += 1,
            }
        }
        ages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_age_by_the_step() {
        let mut clock = Clock::new(6);
        assert_eq!(clock.ages(), RowAges { never: 6, ..RowAges::default() });
        clock.step(4, 3);
        clock.step(1, 1);
        // Rows 4, 5 and 0 are one step old; a step without rows lets all of them age.
        assert_eq!(clock.ages(), RowAges { by_age: BTreeMap::from([(1, 3), (0, 1)]), before: 0, never: 2 });
        clock.step(2, 0);
        assert_eq!(clock.ages().by_age, BTreeMap::from([(2, 3), (1, 1)]));
        assert_eq!(clock.is_written(), [true, true, false, false, true, true]);
        clock.load(|row| row < 4);
        clock.step(3, 2);
        assert_eq!(clock.ages(), RowAges { by_age: BTreeMap::from([(0, 2)]), before: 3, never: 1 });
        assert_eq!(clock.ages().rows(), 6);
        clock.step(5, 20);
        assert_eq!(clock.ages().by_age, BTreeMap::from([(0, 6)]));
    }

    #[test]
    fn wraps_as_often_as_needed() {
        let written = |start, count: i64| {
            let ring = Tensor::from_slice(&[-1_i64, -1, -1, -1]);
            write(&ring, 0, start, &Tensor::from_slice(&(0..count).collect::<Vec<_>>()));
            Vec::<i64>::try_from(ring).unwrap()
        };
        assert_eq!(written(1, 2), [-1, 0, 1, -1]);
        assert_eq!(written(3, 2), [1, -1, -1, 0]);
        assert_eq!(written(2, 2), [-1, -1, 0, 1]);
        assert_eq!(written(2, 0), [-1; 4]);
        assert_eq!(written(1, 9), [7, 8, 5, 6]);
    }
}
