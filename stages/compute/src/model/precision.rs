//! What matrices are multiplied in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::Kind;

use super::ConfigError;

/// The kind of number that the layers of backbone and heads multiply.
///
/// Weights, their gradients, moments, the residual stream, norms, the group head's last layer, losses, queues and
/// memories are float32 in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// float32: what the published numbers were computed in.
    #[default]
    Fp32,
    /// bfloat16: the range of float32 with 8 bits of precision.
    Bf16,
    /// float16: 11 bits of precision in a narrow range, for which the loss is scaled (see
    /// [`LossScaler`](crate::optim::LossScaler)).
    Fp16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 3] = [Precision::Fp32, Precision::Bf16, Precision::Fp16];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Bf16 => "bf16",
            Precision::Fp16 => "fp16",
        }
    }

    /// The kind of tensor.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Precision::Fp32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp16 => Kind::Half,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Precision, ConfigError> {
        let found = Precision::ALL.into_iter().find(|precision| precision.name() == name);
        found.ok_or_else(|| ConfigError::UnknownPrecision { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_found_by_name() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("fp8".parse::<Precision>().unwrap_err().to_string().contains("fp32, bf16 or fp16"));
    }
}
