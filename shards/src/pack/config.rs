//! How a set is packed.

use std::num::NonZero;

use serde::{Deserialize, Serialize};

use super::error::PackError;
use crate::manifest::valid_name;
use crate::source::SourceOptions;

/// How a set is packed. All but `workers` decide the bytes that are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PackConfig {
    /// What the shards' names begin with: 1 to 64 letters, digits, `_` and `-`. Default `train`, as in
    /// `train-000000.tar`.
    pub name: String,
    /// Samples in each shard but the last, which has the rest. Default 1000: about 110 MB of ImageNet.
    pub samples_per_shard: NonZero<u64>,
    /// The most bytes of a shard's tar, before it is compressed; a single larger sample gets a shard of its own. Takes
    /// the place of `samples_per_shard`. Default none.
    pub shard_size: Option<NonZero<u64>>,
    /// Seed of the order of the samples, which is drawn over the whole set. Default 0.
    pub seed: u64,
    /// What the source is and how its names and labels are read.
    pub source: SourceOptions,
    /// What is done with a sample that is no good. Default: packing ends.
    pub on_bad_image: OnBadImage,
    /// Whether each sample gets a member `json` with file name, class name, label, width and height. Default no.
    pub json: bool,
    /// The zstd level, 1 to 22, of compressed shards (`.tar.zst`). Default none: not compressed, as pictures are
    /// compressed already.
    pub zstd: Option<i32>,
    /// Pack only the first so many samples of the order. Default all.
    pub limit: Option<NonZero<u64>>,
    /// What the caller's [`Pictures`](super::Pictures) are configured to, as text; packing goes on only with the same.
    pub pictures: String,
    /// Threads that read and check pictures. Default 4: reading many small files is waiting.
    pub workers: NonZero<usize>,
}

/// What is done with a sample that cannot be used, and with a key that is there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnBadImage {
    /// Packing ends with its name.
    #[default]
    Fail,
    /// It is left out, counted and named in the report.
    Skip,
    /// It is packed as it is (a key that is there twice gets `-2`), counted and named in the report.
    Keep,
}

impl Default for PackConfig {
    fn default() -> Self {
        const SAMPLES: NonZero<u64> = NonZero::new(1000).unwrap();
        const WORKERS: NonZero<usize> = NonZero::new(4).unwrap();
        Self {
            name: "train".into(),
            samples_per_shard: SAMPLES,
            shard_size: None,
            seed: 0,
            source: SourceOptions::default(),
            on_bad_image: OnBadImage::Fail,
            json: false,
            zstd: None,
            limit: None,
            pictures: String::new(),
            workers: WORKERS,
        }
    }
}

impl PackConfig {
    /// Whether the options can be used.
    pub(crate) fn check(&self) -> Result<(), PackError> {
        if !valid_name(&self.name) {
            let reason = format!("name {:?} must have 1 to 64 letters, digits, _ and -", self.name);
            return Err(PackError::Config(reason));
        }
        match self.zstd {
            Some(level) if !(1..=22).contains(&level) => {
                Err(PackError::Config(format!("zstd level {level} is not within 1 to 22")))
            }
            _ => Ok(()),
        }
    }

    /// The names of the options in which `other` differs and that change the bytes of the set. A pack that ended at
    /// its first bad picture has none yet, so it may go on with any way of treating them.
    pub(crate) fn differing(&self, other: &Self) -> Result<Vec<String>, serde_json::Error> {
        let fields = |config: &Self| -> Result<serde_json::Map<String, serde_json::Value>, serde_json::Error> {
            let config = Self { workers: Self::default().workers, ..config.clone() };
            Ok(serde_json::to_value(config)?.as_object().cloned().unwrap_or_default())
        };
        let (own, other) = (fields(self)?, fields(other)?);
        let mut names = Vec::new();
        for (name, value) in &own {
            let nested = value.as_object().zip(other.get(name).and_then(|value| value.as_object()));
            match nested {
                Some((own, other)) => {
                    names.extend(
                        own.iter().filter(|(key, value)| other.get(*key) != Some(value)).map(|(key, _)| key.clone()),
                    );
                }
                None if other.get(name) != Some(value) => names.push(name.clone()),
                None => {}
            }
        }
        Ok(names)
    }
}
