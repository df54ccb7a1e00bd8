//! Buffers that are used again: crops and batches are megabytes, whose pages need not be made anew each time.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that wait for their next use, as many as were in use at once. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pool<T = u8> {
    free: Arc<Mutex<Vec<Vec<T>>>>,
}

impl<T: Copy + Default> Pool<T> {
    /// A buffer of `length` values, to be written: they are zeros or what an earlier use left.
    pub fn take(&self, length: usize) -> Buffer<T> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = (0..free.len()).filter(|&n| free[n].capacity() >= length).min_by_key(|&n| free[n].capacity());
        let mut values = fitting.map_or_else(Vec::new, |found| free.swap_remove(found));
        drop(free);
        if values.capacity() < length {
            values = vec![T::default(); length];
        }
        values.resize(length, T::default());
        Buffer { values, pool: self.clone() }
    }
}

/// Values from a pool, to which their memory returns when they are dropped.
pub struct Buffer<T = u8> {
    values: Vec<T>,
    pool: Pool<T>,
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let values = mem::take(&mut self.values);
        if values.capacity() > 0 {
            self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(values);
        }
    }
}

impl<T: Clone> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), pool: Pool { free: Arc::default() } }
    }
}

impl<T: PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_the_next_one_that_fits() {
        let pool: Pool = Pool::default();
        let (small, large) = (pool.take(10), pool.take(1000));
        let address = large.as_ptr();
        drop((small, large));
        let again = pool.take(900);
        assert_eq!((again.as_ptr(), again.len()), (address, 900));
        assert_eq!(pool.take(1001).len(), 1001);
    }
}
