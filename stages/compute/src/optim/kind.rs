//! Which optimiser.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::ConfigError;

/// The published optimisers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// AdamW, betas 0.9 and 0.999: what all published recipes use.
    #[default]
    AdamW,
    /// SGD with momentum 0.9.
    Sgd,
    /// LARS with momentum 0.9 and a trust coefficient of 0.001.
    Lars,
}

impl OptimizerKind {
    /// All of them.
    pub const ALL: [OptimizerKind; 3] = [OptimizerKind::AdamW, OptimizerKind::Sgd, OptimizerKind::Lars];

    /// The published name.
    pub fn name(self) -> &'static str {
        match self {
            OptimizerKind::AdamW => "adamw",
            OptimizerKind::Sgd => "sgd",
            OptimizerKind::Lars => "lars",
        }
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OptimizerKind {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<OptimizerKind, ConfigError> {
        let found = OptimizerKind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| ConfigError::UnknownOptimizer { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_name() {
        for kind in OptimizerKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("adam".parse::<OptimizerKind>().unwrap_err().to_string().contains("adamw, sgd or lars"));
    }
}
