//! Scaling of the loss, without which small gradients are 0 in float16.
//!
//! P. Micikevicius et al.: "Mixed precision training", ICLR 2018, with the dynamic scale and the constants of PyTorch's
//! `GradScaler`.

const GROWTH_FACTOR: f64 = 2.0;
const BACKOFF_FACTOR: f64 = 0.5;
/// Steps in a row without overflow after which the scale grows.
const GROWTH_INTERVAL: i64 = 2000;
const FIRST_SCALE: f64 = 65536.0;

/// The factor on the loss, and when it next grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaler {
    /// The factor.
    pub scale: f64,
    /// Steps since it last changed.
    pub growth_tracker: i64,
}

impl Default for LossScaler {
    fn default() -> Self {
        LossScaler { scale: FIRST_SCALE, growth_tracker: 0 }
    }
}

impl LossScaler {
    /// What never changes, by the names that `GradScaler` stores it under.
    pub const CONSTANTS: [(&'static str, f64); 2] =
        [("growth_factor", GROWTH_FACTOR), ("backoff_factor", BACKOFF_FACTOR)];
    /// The interval, likewise.
    pub const INTERVAL: (&'static str, i64) = ("growth_interval", GROWTH_INTERVAL);

    /// The scale at which an overflow is not the scale's: gradients as they are then fit no float16 either.
    pub const LEAST: f64 = 1.0;

    /// Takes a step into account: `overflowed` if a gradient was not finite, and the weights stayed as they were.
    pub fn update(&mut self, overflowed: bool) {
        let next = self.growth_tracker + 1;
        *self = match overflowed {
            true => LossScaler { scale: self.scale * BACKOFF_FACTOR, growth_tracker: 0 },
            false if next == GROWTH_INTERVAL => LossScaler { scale: self.scale * GROWTH_FACTOR, growth_tracker: 0 },
            false => LossScaler { growth_tracker: next, ..*self },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_two_thousand_good_steps() {
        let mut scaler = LossScaler::default();
        scaler.update(true);
        assert_eq!(scaler, LossScaler { scale: 32768.0, growth_tracker: 0 });
        (0..1999).for_each(|_| scaler.update(false));
        assert_eq!(scaler, LossScaler { scale: 32768.0, growth_tracker: 1999 });
        scaler.update(false);
        assert_eq!(scaler, LossScaler { scale: 65536.0, growth_tracker: 0 });
        scaler.update(false);
        scaler.update(true);
        assert_eq!(scaler, LossScaler { scale: 32768.0, growth_tracker: 0 });
    }
}
