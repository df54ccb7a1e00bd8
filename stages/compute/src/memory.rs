//! The memory buffer, in which a sample finds its neighbours for the local-group loss (paper, section 3.2).

use tch::{Device, Tensor, no_grad_guard};

use crate::model::{Init, Source, unit_length};
use crate::named::{LoadError, NamedTensors, copy_into, find};
use crate::ring;

/// A ring of rows of width D that is searched by cosine similarity. Student and teacher have one each.
///
/// Quirk kept from the published code: there are three rings, drawn apart but written alike. A row that has not been
/// written is found by one random vector and returned as another.
#[derive(Debug)]
pub struct Memory {
    /// Searched, `[K, D]`.
    queue_q: Tensor,
    /// Returned, `[K, D]`.
    queue_k: Tensor,
    /// Unused, `[K, D]`; part of the published checkpoints.
    queue_v: Tensor,
    /// Where the next row goes.
    pointer: i64,
    top_n: i64,
}

/// What a memory returns for N queries.
#[derive(Debug)]
pub struct Neighbours {
    /// The rows as they were written, the most similar first, `[N, n, D]`.
    pub rows: Tensor,
    /// Their places in the ring, `[N, n]` int64.
    pub index: Tensor,
}

impl Memory {
    /// `rows` rows of `width` standard normal numbers drawn from (`seed`, `name`); a look-up returns `top_n` of them,
    /// all if there are fewer.
    pub fn new(name: &str, rows: i64, width: i64, top_n: i64, seed: u64, device: Device) -> Memory {
        Memory::build(name, rows, width, top_n, Source::seeded(seed, device))
    }

    /// A memory whose rows are all 0, made at once, to be loaded from a checkpoint.
    pub fn blank(rows: i64, width: i64, top_n: i64, device: Device) -> Memory {
        Memory::build("", rows, width, top_n, Source::blank(device))
    }

    fn build(name: &str, rows: i64, width: i64, top_n: i64, source: Source) -> Memory {
        let ring = |queue| source.tensor(&format!("{name}.block.{queue}"), &[rows, width], Init::Normal);
        Memory {
            queue_q: ring("queue_q"),
            queue_k: ring("queue_k"),
            queue_v: ring("queue_v"),
            pointer: 0,
            top_n: top_n.min(rows),
        }
    }

    /// Where the next row goes.
    pub fn pointer(&self) -> i64 {
        self.pointer
    }

    /// The rows most similar to each of `queries` `[N, D]`. No gradient.
    pub fn top_n(&self, queries: &Tensor) -> Neighbours {
        let _no_grad = no_grad_guard();
        let lengths = self.queue_q.norm_scalaropt_dim(2, [-1], false).clamp_min(1e-12);
        // Dividing the similarities spares a normalised copy of the whole ring.
        let similarity = unit_length(queries).matmul(&self.queue_q.tr()) / lengths;
        let (_, index) = similarity.topk(self.top_n, -1, true, true);
        let rows = self.queue_k.index_select(0, &index.flatten(0, 1));
        Neighbours { rows: rows.reshape([index.size()[0], self.top_n, -1]), index }
    }

    /// Writes `rows` `[M, D]` into all three rings: of the student the large crop's patch means of weakly augmented
    /// images ([`weak_rows`]), of the teacher all of them. No row, no change.
    ///
    /// Quirk kept from the published code: unless the write wraps (one that ends exactly at the end does not), the
    /// pointer moves by twice the number of rows, so part of the ring may keep its random rows for ever.
    pub fn write(&mut self, rows: &Tensor) {
        for queue in [&self.queue_q, &self.queue_k, &self.queue_v] {
            ring::write(queue, 0, self.pointer, rows);
        }
        let (capacity, count) = (self.queue_q.size()[0], rows.size()[0]);
        let wraps = self.pointer + count > capacity;
        self.pointer = (self.pointer + if wraps { count } else { 2 * count }) % capacity;
    }

    /// Its tensors under their published names: three rings and the pointer, `[1]` int64.
    pub fn state(&self) -> Vec<(&'static str, Tensor)> {
        let mut state: Vec<_> = self.queues().map(|(name, queue)| (name, queue.shallow_clone())).into();
        state.push(("block.queue_ptr", Tensor::from_slice(&[self.pointer])));
        state
    }

    /// Copies rings and pointer from the tensors called `prefix` + their names.
    ///
    /// # Errors
    /// A tensor is missing or has another shape. Those before it have then been overwritten.
    pub fn load(&mut self, tensors: &NamedTensors, prefix: &str) -> Result<(), LoadError> {
        let pointer = find(tensors, prefix, "block.queue_ptr", &[1])?.int64_value(&[0]);
        self.queues().into_iter().try_for_each(|(name, queue)| copy_into(queue, tensors, prefix, name))?;
        self.pointer = pointer.rem_euclid(self.queue_q.size()[0]);
        Ok(())
    }

    fn queues(&self) -> [(&'static str, &Tensor); 3] {
        [("block.queue_q", &self.queue_q), ("block.queue_k", &self.queue_k), ("block.queue_v", &self.queue_v)]
    }
}

/// Those of `rows` `[M, D]` whose flag says that the image's student crops are weak.
pub fn weak_rows(rows: &Tensor, weak: &[bool]) -> Tensor {
    let chosen: Vec<i64> = (0..).zip(weak).filter_map(|(row, weak)| weak.then_some(row)).collect();
    rows.index_select(0, &Tensor::from_slice(&chosen).to_device(rows.device()))
}
