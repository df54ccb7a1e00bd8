//! Large tensors in pieces, so that a chain of element-wise operations finds each piece in the processor's cache.

use tch::{Device, Tensor};

/// Numbers in a piece, 1 MiB: small beside a cache of the third level, large beside the cost of a call.
const PIECE: i64 = 1 << 18;

/// The numbers of equally shaped `tensors` piece by piece, views on the same storage. One piece where they are short, on
/// a GPU, or not laid out alike.
pub(crate) fn pieces<const N: usize>(tensors: [&Tensor; N]) -> Vec<[Tensor; N]> {
    let long = tensors
        .iter()
        .all(|tensor| tensor.numel() as i64 > PIECE && tensor.is_contiguous() && tensor.device() == Device::Cpu);
    if !long {
        return vec![tensors.map(Tensor::shallow_clone)];
    }
    let flat = tensors.map(|tensor| tensor.view([-1]));
    let starts = (0..flat[0].size()[0]).step_by(PIECE as usize);
    starts.map(|start| flat.each_ref().map(|all| all.narrow(0, start, PIECE.min(all.size()[0] - start)))).collect()
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn pieces_cover_every_number_once() {
        for (rows, count) in [(1, 1), (256, 1), (257, 2), (1000, 4)] {
            let [a, b] = [(); 2].map(|()| Tensor::zeros([rows, 1024], (Kind::Float, Device::Cpu)));
            let found = pieces([&a, &b]);
            assert_eq!(found.len(), count, "{rows} rows");
            for (number, [mut of_a, mut of_b]) in found.into_iter().enumerate() {
                let (_, _) = (of_a.g_add_scalar_(1.0), of_b.g_add_scalar_(number as f64));
            }
            assert_eq!(a.min().double_value(&[]), 1.0);
            assert_eq!(a.max().double_value(&[]), 1.0);
            assert_eq!(b.get(rows - 1).get(1023).double_value(&[]), count as f64 - 1.0);
        }
        let wide = Tensor::zeros([1024, 1024], (Kind::Float, Device::Cpu));
        assert_eq!(pieces([&wide, &wide.tr()]).len(), 1);
    }
}
