//! Clipping of gradients, each tensor by itself.

use tch::{Tensor, no_grad_guard};

/// `gradient` scaled down to an L2 norm of about `limit` if it is longer: by `limit / (norm + 1e-6)`, the published
/// coefficient, if that is below 1. A limit of 0 switches clipping off.
///
/// The coefficient stays on the device, so nothing waits for it. The result is a new tensor: what the backward pass
/// returns may share storage with something else.
pub fn clip(gradient: &Tensor, limit: f64) -> Tensor {
    if limit == 0.0 {
        return gradient.shallow_clone();
    }
    let _no_grad = no_grad_guard();
    let coefficient = (gradient.norm() + 1e-6).reciprocal() * limit;
    gradient * coefficient.clamp_max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(gradient: &[f32], limit: f64) -> Vec<f32> {
        clip(&Tensor::from_slice(gradient), limit).try_into().unwrap()
    }

    #[test]
    fn only_long_gradients_are_scaled() {
        let clipped = values(&[3.0, 4.0], 0.5);
        assert!((clipped[0] - 0.3).abs() < 1e-6 && (clipped[1] - 0.4).abs() < 1e-6, "{clipped:?}");
        assert_eq!(values(&[3.0, 4.0], 5.1), [3.0, 4.0]);
        assert_eq!(values(&[3.0, 4.0], 0.0), [3.0, 4.0]);
        assert_eq!(values(&[0.0, 0.0], 0.5), [0.0, 0.0]);
    }
}
