//! Initial values, drawn from (seed, tensor name).
//!
//! A deliberate departure from the published code, which draws all tensors one after the other from one generator:
//! here a tensor's values do not depend on which other tensors there are, nor on threads, device or rank. So a teacher
//! built with the student's seed starts as its copy. The distributions are the published ones.

use mugs_random::{Address, Draws, derive};
use tch::{Device, Tensor};

use super::quantile::normal_quantile;

/// The distribution of a tensor's initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Normal with mean 0 and standard deviation `std`, cut at ±2 *absolute*: see `truncated_normal`.
    TruncatedNormal {
        /// The standard deviation before the cut.
        std: f64,
    },
    /// Uniform within ±`bound`.
    Uniform {
        /// The largest magnitude.
        bound: f64,
    },
    /// Standard normal.
    Normal,
}

impl Init {
    /// The distribution of the projectors' and the backbone's weights.
    pub const WEIGHT: Init = Init::TruncatedNormal { std: 0.02 };

    /// PyTorch's default for linear and convolution layers, whose weights and biases are uniform within
    /// ±1/sqrt(`fan_in`).
    pub fn framework_default(fan_in: i64) -> Init {
        Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }
}

/// Where initial values come from and where they go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    seed: Option<u64>,
    device: Device,
    /// Whether truncated normals are kept from their infinite end.
    mended_tail: bool,
}

/// How many values share one address of the generator: what one thread fills at a time.
const CHUNK: usize = 1 << 16;

impl Source {
    /// Where its tensors lie.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Draws from `seed`, for tensors on `device`.
    pub(crate) fn seeded(seed: u64, device: Device) -> Source {
        Source { seed: Some(seed), device, mended_tail: false }
    }

    /// Leaves all values 0, which costs nothing, for tensors that are about to be loaded.
    pub(crate) fn blank(device: Device) -> Source {
        Source { seed: None, device, mended_tail: false }
    }

    /// The same, for tensors on `device`.
    pub(crate) fn on(self, device: Device) -> Source {
        Source { device, ..self }
    }

    /// The same, with `initial_tail` of [`Mends`](crate::Mends) as given.
    pub(crate) fn with_mended_tail(self, mended_tail: bool) -> Source {
        Source { mended_tail, ..self }
    }

    /// A count of 0, int64 without dimensions.
    pub(crate) fn counter(&self) -> Tensor {
        Tensor::zeros([], (tch::Kind::Int64, self.device))
    }

    /// A float32 tensor filled from (seed, `name`).
    pub(crate) fn tensor(&self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let options = (tch::Kind::Float, self.device);
        let Some(seed) = self.seed.filter(|_| init != Init::Zeros) else { return Tensor::zeros(shape, options) };
        if init == Init::Ones {
            return Tensor::ones(shape, options);
        }
        let mut values = vec![0.0; shape.iter().product::<i64>() as usize];
        fill(derive(seed, name), &mut values, Distribution { init, mended_tail: self.mended_tail });
        Tensor::from_slice(&values).reshape(shape).to_device(self.device)
    }
}

/// What values are drawn from.
#[derive(Clone, Copy)]
struct Distribution {
    init: Init,
    mended_tail: bool,
}

/// Fills `values`, spread over as many threads as libtorch uses; their number does not change a value.
fn fill(key: u64, values: &mut [f32], from: Distribution) {
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
    let per_thread = values.len().div_ceil(threads).next_multiple_of(CHUNK);
    if values.len() <= CHUNK || threads == 1 {
        return fill_chunks(key, 0, values, from);
    }
    std::thread::scope(|scope| {
        for (part, values) in values.chunks_mut(per_thread).enumerate() {
            scope.spawn(move || fill_chunks(key, part * per_thread / CHUNK, values, from));
        }
    });
}

fn fill_chunks(key: u64, first: usize, values: &mut [f32], from: Distribution) {
    let least = if from.mended_tail { SMALLEST_DRAW } else { 0.0 };
    for (chunk, values) in values.chunks_mut(CHUNK).enumerate() {
        let mut draws = Draws::at(key, Address { epoch: 0, position: (first + chunk) as u64, lane: 0 });
        match from.init {
            Init::Zeros => values.fill(0.0),
            Init::Ones => values.fill(1.0),
            Init::TruncatedNormal { std } => {
                values.iter_mut().for_each(|value| *value = truncated_normal(draws.uniform_f32().max(least), std));
            }
            Init::Uniform { bound } => {
                let bound = bound as f32;
                values.iter_mut().for_each(|value| *value = draws.range_f32(-bound, bound));
            }
            Init::Normal => draws.fill_normal_f32(values),
        }
    }
}

/// The smallest uniform draw above 0: 2^-24.
const SMALLEST_DRAW: f32 = 1.0 / (1 << 24) as f32;

/// The published truncated normal at the uniform draw `uniform` (a multiple of 2^-24 in [0, 1)).
///
/// It is the inverse distribution function of a float32 draw, then cut at ±2. Quirk kept from the published code: the
/// draw 0, one in 2^24, gives minus infinity and so −2, a hundred standard deviations out at `std` 0.02. The mend lifts
/// that draw to the next one.
fn truncated_normal(uniform: f32, std: f64) -> f32 {
    (normal_quantile(f64::from(uniform)) * std).clamp(-2.0, 2.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_absolute_and_the_draw_zero_lands_on_it() {
        assert_eq!(truncated_normal(0.0, 0.02), -2.0);
        assert_eq!(truncated_normal(0.5, 0.02), 0.0);
        assert!((truncated_normal(SMALLEST_DRAW, 0.02) + 0.02 * 5.294_704).abs() < 1e-7);
        assert_eq!(truncated_normal(1.0 - SMALLEST_DRAW, 0.02), -truncated_normal(SMALLEST_DRAW, 0.02));
    }

    #[test]
    fn values_do_not_depend_on_the_number_of_threads_or_on_the_length() {
        let source = Source::seeded(3, Device::Cpu);
        let values = |rows| {
            let tensor = source.tensor("x", &[rows, 1000], Init::Normal).flatten(0, 1);
            Vec::<f32>::try_from(tensor).unwrap()
        };
        let mut serial = vec![0.0; 200_000];
        let normal = Distribution { init: Init::Normal, mended_tail: false };
        fill_chunks(derive(3, "x"), 0, &mut serial, normal);
        assert_eq!(values(200), serial);
        assert_eq!(values(70), serial[..70_000]);
    }

    #[test]
    fn a_mended_tail_lifts_the_draw_zero_and_nothing_else() {
        // One of these draws is 0.
        let values = |mended_tail| {
            let mut values = vec![0.0; CHUNK];
            fill_chunks(7, 113, &mut values, Distribution { init: Init::WEIGHT, mended_tail });
            values
        };
        let (published, mended) = (values(false), values(true));
        let changed: Vec<_> = published.iter().zip(&mended).filter(|(before, after)| before != after).collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(*changed[0].0, -2.0);
        assert!((changed[0].1 + 0.02 * 5.294_704).abs() < 1e-7);
    }
}
