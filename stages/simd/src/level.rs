//! Which of the paths runs.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::{Kernel, Vectors};

/// The environment's variable that chooses a path where the program does not.
const VARIABLE: &str = "MUGS_SIMD";

/// A path through the operators. All give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// No vectors: the operators as their specification has them.
    Scalar,
    /// AVX2 and FMA: 32 bytes a vector (Intel from Haswell, AMD from Zen on).
    Avx2,
    /// AVX-512 with BW, VL, DQ, VBMI and VNNI: 64 bytes a vector (Intel from Ice Lake, AMD from Zen 4 on).
    Avx512,
}

/// A path that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// No path has this name.
    #[error("`{0}` is no kind of vector; there are auto, scalar, avx2 and avx512")]
    Unknown(String),
    /// The processor lacks what the path needs.
    #[error("this processor has no {wanted}; the best it has is {best} (auto takes that)")]
    Missing {
        /// The path asked for.
        wanted: Level,
        /// The widest there is.
        best: Level,
    },
}

/// The path chosen: 0 for none yet, else the level's number and one.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

impl Level {
    /// All paths, the narrowest first.
    pub const ALL: [Level; 3] = [Level::Scalar, Level::Avx2, Level::Avx512];

    /// The widest that this processor has.
    pub fn best() -> Level {
        Level::ALL.into_iter().rev().find(|level| level.there()).unwrap_or(Level::Scalar)
    }

    /// Those that this processor has, the narrowest first.
    pub fn available() -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(|level| level.there())
    }

    /// The path in use: the one set by [`choose`](Level::choose); else what the variable `MUGS_SIMD` names, if that can
    /// be had; else the best.
    pub fn chosen() -> Level {
        match CHOSEN.load(Ordering::Relaxed) {
            0 => {
                let named = std::env::var(VARIABLE).ok().and_then(|name| Level::named(&name).ok());
                let level = named.unwrap_or_else(Level::best);
                level.choose();
                level
            }
            number => Level::ALL[usize::from(number - 1)],
        }
    }

    /// Makes this the path in use, for all threads.
    pub fn choose(self) {
        CHOSEN.store(self as u8 + 1, Ordering::Relaxed);
    }

    /// The path of this name (`auto`: the best), if the processor has it.
    ///
    /// # Errors
    /// There is no such path, or the processor lacks it.
    pub fn named(name: &str) -> Result<Level, LevelError> {
        if name == "auto" {
            return Ok(Level::best());
        }
        let wanted: Level = name.parse()?;
        if wanted.there() { Ok(wanted) } else { Err(LevelError::Missing { wanted, best: Level::best() }) }
    }

    /// Runs a kernel with this path's vectors; none where it has no vectors, or the processor lacks them.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> Option<K::Out> {
        Vectors::of(self).map(|vectors| vectors.run(kernel))
    }

    /// Whether the processor has it.
    fn there(self) -> bool {
        self == Level::Scalar || Vectors::of(self).is_some()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Scalar => "scalar",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        })
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(name: &str) -> Result<Self, LevelError> {
        let found = Level::ALL.into_iter().find(|level| level.to_string() == name);
        found.ok_or_else(|| LevelError::Unknown(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_unknown_ones_are_refused() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!(Level::named("auto"), Ok(Level::best()));
        let error = Level::named("sse9").unwrap_err().to_string();
        assert_eq!(error, "`sse9` is no kind of vector; there are auto, scalar, avx2 and avx512");
    }

    #[test]
    fn the_path_chosen_stays_chosen() {
        assert!(Level::available().any(|level| level == Level::chosen()));
        Level::Scalar.choose();
        assert_eq!(Level::chosen(), Level::Scalar);
        Level::best().choose();
        assert_eq!(Level::chosen(), Level::best());
    }
}
