//! Writing into a ring of rows.

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

#[cfg(test)]
mod tests {
    use super::*;

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
