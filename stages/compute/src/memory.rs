//! The memory buffer, in which a sample finds its neighbours for the local-group loss (paper, section 3.2).

use tch::{Device, Tensor, no_grad_guard};

use crate::Mends;
use crate::model::{Init, Source, unit_length};
use crate::named::{LoadError, NamedTensors, copy_into, find};
use crate::ring::{self, Clock, RowAges};

/// A ring of rows of width D that is searched by cosine similarity. Student and teacher have one each.
///
/// Quirk kept from the published code: there are three rings, drawn apart but written alike. A row that has not been
/// written is found by one random vector and returned as another. The mend `memory_rows` has one ring in their place.
#[derive(Debug)]
pub struct Memory {
    /// Searched, `[K, D]`.
    queue_q: Tensor,
    /// The lengths of its rows, `[K]`.
    lengths: Tensor,
    /// Returned, `[K, D]`.
    queue_k: Tensor,
    /// Unused, `[K, D]`; part of the published checkpoints.
    queue_v: Unused,
    /// Where the next row goes.
    pointer: i64,
    clock: Clock,
    top_n: i64,
    /// `memory_pointer` of [`Mends`].
    mended_pointer: bool,
}

/// The ring that is written and stored but never read. It is 100 MB for vit_small, so it is kept only where it cannot be
/// told from the others: a written row is that of `queue_q`, any other is still what was drawn.
#[derive(Debug)]
enum Unused {
    /// Drawn from `source` under `name`, but for the rows that have been written since.
    Told { source: Source, name: String },
    /// Of a checkpoint whose random rows are others.
    Kept(Tensor),
    /// All three are one.
    Same,
}

impl Unused {
    /// The ring beside `queue_q`, whose rows were written as `clock` says.
    fn tensor(&self, queue_q: &Tensor, clock: &Clock) -> Tensor {
        match self {
            Unused::Kept(ring) => ring.shallow_clone(),
            Unused::Same => queue_q.shallow_clone(),
            Unused::Told { source, name } => {
                // On the host: a checkpoint must not ask for memory of a GPU that has none left.
                let drawn = source.on(Device::Cpu).tensor(name, &queue_q.size(), Init::Normal);
                let written = Tensor::from_slice(&clock.is_written()).unsqueeze(-1);
                queue_q.to_device(Device::Cpu).where_self(&written, &drawn)
            }
        }
    }

    /// Writes `rows`, which `queue_q` holds now, from `start` on.
    fn write(&self, start: i64, rows: &Tensor) {
        if let Unused::Kept(ring) = self {
            ring::write(ring, 0, start, rows);
        }
    }

    /// Takes over `ring`, as it stands in a checkpoint beside `queue_q`, whose rows were written as `clock` says.
    fn load(&mut self, ring: &Tensor, queue_q: &Tensor, clock: &Clock) {
        let is_told = || {
            let told = self.tensor(queue_q, clock);
            told.equal(&ring.to_device(told.device()))
        };
        if matches!(self, Unused::Kept(_)) || !is_told() {
            *self = Unused::Kept(ring.to_device(queue_q.device()).to_kind(queue_q.kind()).copy());
        }
    }
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
        Memory::build(name, [rows, width], top_n, Source::seeded(seed, device), seed, device)
    }

    /// The same with rows of 0, made at once, to be loaded from a checkpoint.
    pub fn blank(name: &str, rows: i64, width: i64, top_n: i64, seed: u64, device: Device) -> Memory {
        Memory::build(name, [rows, width], top_n, Source::blank(device), seed, device)
    }

    fn build(name: &str, shape: [i64; 2], top_n: i64, source: Source, seed: u64, device: Device) -> Memory {
        let full = |queue: &str| format!("{name}.block.{queue}");
        let ring = |queue| source.tensor(&full(queue), &shape, Init::Normal);
        let source = Source::seeded(seed, device);
        let queue_q = ring("queue_q");
        Memory {
            lengths: lengths(&queue_q),
            queue_q,
            queue_k: ring("queue_k"),
            queue_v: Unused::Told { source, name: full("queue_v") },
            pointer: 0,
            clock: Clock::new(shape[0]),
            top_n: top_n.min(shape[0]),
            mended_pointer: false,
        }
    }

    /// The same with what `mends` ask of a memory.
    pub fn mended(mut self, mends: Mends) -> Memory {
        self.mended_pointer = mends.memory_pointer;
        if mends.memory_rows {
            self.queue_k = self.queue_q.shallow_clone();
            self.queue_v = Unused::Same;
        }
        self
    }

    /// Where the next row goes.
    pub fn pointer(&self) -> i64 {
        self.pointer
    }

    /// The rows most similar to each of `queries` `[N, D]`. No gradient.
    pub fn top_n(&self, queries: &Tensor) -> Neighbours {
        let _no_grad = no_grad_guard();
        // Dividing the similarities spares a normalised copy of the whole ring.
        let similarity = unit_length(queries).matmul(&self.queue_q.tr()) / &self.lengths;
        let (_, index) = similarity.topk(self.top_n, -1, true, true);
        let rows = self.queue_k.index_select(0, &index.flatten(0, 1));
        Neighbours { rows: rows.reshape([index.size()[0], self.top_n, -1]), index }
    }

    /// Writes `rows` `[M, D]` into all three rings: of the student the large crop's patch means of weakly augmented
    /// images ([`weak_rows`]), of the teacher all of them. No row, no change.
    ///
    /// Quirk kept from the published code: unless the write wraps (one that ends exactly at the end does not), the
    /// pointer moves by twice the number of rows, so part of the ring may keep its random rows for ever. The mend
    /// `memory_pointer` moves it by their number.
    pub fn write(&mut self, rows: &Tensor) {
        ring::write(&self.queue_q, 0, self.pointer, rows);
        ring::write(&self.lengths, 0, self.pointer, &lengths(rows));
        if !matches!(self.queue_v, Unused::Same) {
            ring::write(&self.queue_k, 0, self.pointer, rows);
        }
        self.queue_v.write(self.pointer, rows);
        let (capacity, count) = (self.queue_q.size()[0], rows.size()[0]);
        self.clock.step(self.pointer, count);
        let wraps = self.pointer + count > capacity;
        let moved = if wraps || self.mended_pointer { count } else { 2 * count };
        self.pointer = (self.pointer + moved) % capacity;
    }

    /// When its rows were written. After a [`load`](Self::load) those before it count as such.
    pub fn row_ages(&self) -> RowAges {
        self.clock.ages()
    }

    /// Its tensors under their published names: three rings and the pointer, `[1]` int64.
    pub fn state(&self) -> Vec<(&'static str, Tensor)> {
        vec![
            (QUEUE_Q, self.queue_q.shallow_clone()),
            (QUEUE_K, self.queue_k.shallow_clone()),
            (QUEUE_V, self.queue_v.tensor(&self.queue_q, &self.clock)),
            (POINTER, Tensor::from_slice(&[self.pointer])),
        ]
    }

    /// Copies rings and pointer from the tensors called `prefix` + their names. Where all three are one, it becomes the
    /// one that is searched.
    ///
    /// # Errors
    /// A tensor is missing or has another shape. Those before it have then been overwritten.
    pub fn load(&mut self, tensors: &NamedTensors, prefix: &str) -> Result<(), LoadError> {
        let pointer = find(tensors, prefix, POINTER, &[1])?.int64_value(&[0]);
        let unused = find(tensors, prefix, QUEUE_V, &self.queue_q.size())?;
        copy_into(&self.queue_q, tensors, prefix, QUEUE_Q)?;
        self.lengths = lengths(&self.queue_q);
        if matches!(self.queue_v, Unused::Same) {
            // A random row cannot be told from another.
            self.clock.load(|_| true);
        } else {
            copy_into(&self.queue_k, tensors, prefix, QUEUE_K)?;
            // The two were drawn apart and are written alike.
            let equal = self.queue_q.eq_tensor(&self.queue_k).all_dim(-1, false).to_device(Device::Cpu);
            let written = Vec::<bool>::try_from(equal).unwrap_or_default();
            self.clock.load(|row| written.get(row) == Some(&true));
            self.queue_v.load(unused, &self.queue_q, &self.clock);
        }
        self.pointer = pointer.rem_euclid(self.queue_q.size()[0]);
        Ok(())
    }
}

const QUEUE_Q: &str = "block.queue_q";
const QUEUE_K: &str = "block.queue_k";
const QUEUE_V: &str = "block.queue_v";
const POINTER: &str = "block.queue_ptr";

/// The lengths of `rows` `[M, D]` as similarities are divided by them, `[M]`.
fn lengths(rows: &Tensor) -> Tensor {
    let _no_grad = no_grad_guard();
    rows.norm_scalaropt_dim(2, [-1], false).clamp_min(1e-12)
}

/// Those of `rows` `[M, D]` whose flag says that the image's student crops are weak.
pub fn weak_rows(rows: &Tensor, weak: &[bool]) -> Tensor {
    let chosen: Vec<i64> = (0..).zip(weak).filter_map(|(row, weak)| weak.then_some(row)).collect();
    rows.index_select(0, &Tensor::from_slice(&chosen).to_device(rows.device()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(memory: &Memory) -> NamedTensors {
        memory.state().into_iter().map(|(name, tensor)| (name.to_owned(), tensor.copy())).collect()
    }

    #[test]
    fn the_unused_ring_is_told_from_the_others_or_kept() {
        let rows = |seed| Source::seeded(seed, Device::Cpu).tensor("rows", &[3, 4], Init::Normal);
        let mut memory = Memory::new("m", 8, 4, 2, 5, Device::Cpu);
        let drawn = Source::seeded(5, Device::Cpu).tensor("m.block.queue_v", &[8, 4], Init::Normal);
        assert_eq!(named(&memory)[QUEUE_V], drawn);
        memory.write(&rows(1));
        memory.write(&rows(2));
        // Places 0 … 2 and, after the published jump of the pointer, 6, 7 and 0.
        let state = named(&memory);
        let written = |place: i64| state[QUEUE_V].get(place) == state[QUEUE_Q].get(place);
        assert_eq!((0..8).filter(|&place| written(place)).collect::<Vec<_>>(), [0, 1, 2, 6, 7]);
        assert_eq!(state[QUEUE_V].narrow(0, 3, 3), drawn.narrow(0, 3, 3));

        let mut resumed = Memory::blank("m", 8, 4, 2, 5, Device::Cpu);
        resumed.load(&state, "").unwrap();
        assert!(matches!(resumed.queue_v, Unused::Told { .. }));
        // Of a run with another seed its random rows must be kept.
        let mut foreign = Memory::blank("m", 8, 4, 2, 6, Device::Cpu);
        foreign.load(&state, "").unwrap();
        assert!(matches!(foreign.queue_v, Unused::Kept(_)));
        assert_eq!(memory.row_ages(), RowAges { by_age: [(0, 3), (1, 2)].into(), before: 0, never: 3 });
        assert_eq!(resumed.row_ages(), RowAges { before: 5, never: 3, ..RowAges::default() });
        for memory in [&mut memory, &mut resumed, &mut foreign] {
            memory.write(&rows(3));
        }
        for other in [&resumed, &foreign] {
            for (name, tensor) in named(&memory) {
                assert_eq!(named(other)[&name], tensor, "{name}");
            }
        }
    }

    #[test]
    fn a_mended_pointer_moves_by_the_rows_that_are_written() {
        let rows = |count: i64| Tensor::ones([count, 4], (tch::Kind::Float, Device::Cpu));
        let pointers = |mends| {
            let mut memory = Memory::new("m", 8, 4, 2, 5, Device::Cpu).mended(mends);
            [3, 2, 0, 3, 8, 9].map(|count| {
                memory.write(&rows(count));
                memory.pointer()
            })
        };
        assert_eq!(pointers(Mends { memory_pointer: true, ..Mends::default() }), [3, 5, 5, 0, 0, 1]);
        // As published: by twice as many, unless the write goes beyond the end.
        assert_eq!(pointers(Mends::default()), [6, 2, 2, 0, 0, 1]);
    }

    #[test]
    fn mended_rows_are_returned_as_what_they_were_found_by() {
        let mended = Mends { memory_rows: true, ..Mends::default() };
        let random = Memory::new("m", 8, 4, 2, 5, Device::Cpu);
        let mut memory = Memory::new("m", 8, 4, 2, 5, Device::Cpu).mended(mended);
        let searched = named(&random)[QUEUE_Q].copy();
        assert_eq!(named(&memory)[QUEUE_Q], searched);
        // The fourth row finds itself first; as published it comes back as another.
        let query = searched.narrow(0, 3, 1);
        let first = |memory: &Memory| memory.top_n(&query).rows.get(0).get(0);
        assert_eq!(first(&memory), searched.get(3));
        assert_ne!(first(&random), searched.get(3));

        let row = Tensor::from_slice(&[1_f32, 2.0, 3.0, 4.0]).view([1, 4]);
        memory.write(&row);
        assert_eq!(memory.top_n(&row).rows.get(0).get(0), row.get(0));
        for ring in [QUEUE_K, QUEUE_V] {
            assert_eq!(named(&memory)[ring], named(&memory)[QUEUE_Q]);
        }
        // Rings that differ, of a run without the mend, become the one that is searched.
        memory.load(&named(&random), "").unwrap();
        assert_eq!(first(&memory), searched.get(3));
    }
}
