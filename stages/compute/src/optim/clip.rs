//! Clipping of gradients, each tensor by itself.

use tch::{Tensor, no_grad_guard};

/// What a gradient of L2 norm `norm`, a scalar, is multiplied by so that it is at most about `limit`: `limit / (norm + 1e-6)`, the published
/// coefficient, but at most 1; a scalar that stays on the device, so that nothing waits for it. A limit of 0 switches
/// clipping off.
pub fn factor(norm: &Tensor, limit: f64) -> Option<Tensor> {
    if limit == 0.0 {
        return None;
    }
    let _no_grad = no_grad_guard();
    let coefficient = (norm + 1e-6).reciprocal() * limit;
    Some(coefficient.clamp_max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(gradient: &[f32], limit: f64) -> Vec<f32> {
        let gradient = Tensor::from_slice(gradient);
        factor(&gradient.norm(), limit).map_or_else(|| gradient.copy(), |factor| &gradient * factor).try_into().unwrap()
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
