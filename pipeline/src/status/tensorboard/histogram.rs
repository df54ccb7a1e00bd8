//! Whole numbers in buckets of equal width, as TensorBoard draws them.

/// The most buckets.
const MOST: u64 = 30;

/// How often which numbers came.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The least and the largest number.
    pub range: (u64, u64),
    /// How many numbers there are, their sum and the sum of their squares.
    pub moments: [f64; 3],
    /// For each bucket, the number it ends before, and how many lie in it.
    pub buckets: Vec<(u64, u64)>,
}

impl Histogram {
    /// Of numbers, rising, and how often each came; none where there are none.
    pub fn of(counted: &[(u64, u64)]) -> Option<Histogram> {
        let (least, most) = (counted.first()?.0, counted.last()?.0);
        let width = (most - least + 1).div_ceil(MOST);
        let mut buckets: Vec<(u64, u64)> =
            (0..(most - least + 1).div_ceil(width)).map(|bucket| (least + (bucket + 1) * width, 0)).collect();
        let mut moments = [0.0; 3];
        for &(number, count) in counted {
            buckets[((number - least) / width) as usize].1 += count;
            for (power, moment) in moments.iter_mut().enumerate() {
                *moment += (number as f64).powi(power as i32) * count as f64;
            }
        }
        Some(Histogram { range: (least, most), moments, buckets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_in_buckets_of_equal_width() {
        assert_eq!(Histogram::of(&[]), None);
        let one = Histogram::of(&[(7, 3)]).unwrap();
        assert_eq!(one, Histogram { range: (7, 7), moments: [3.0, 21.0, 147.0], buckets: vec![(8, 3)] });
        let few = Histogram::of(&[(0, 4), (1, 4), (3, 1)]).unwrap();
        assert_eq!(few.buckets, [(1, 4), (2, 4), (3, 0), (4, 1)]);
        assert_eq!(few.moments, [9.0, 7.0, 13.0]);
        // 61 numbers: of three each, the last bucket of one.
        let many = Histogram::of(&(10..71).map(|number| (number, 2)).collect::<Vec<_>>()).unwrap();
        assert_eq!((many.buckets.len(), many.buckets[0], many.buckets[20]), (21, (13, 6), (73, 2)));
    }
}
