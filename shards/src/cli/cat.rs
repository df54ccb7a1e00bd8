//! `mugs-shard cat`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use mugs_shards::ShardSet;

const EXAMPLES: &str = "Examples:
  mugs-shard cat shards/train n01440764_n01440764_10026 > picture.jpeg
  mugs-shard cat shards/train n01440764_n01440764_10026 --member cls
  mugs-shard cat shards/train n01440764_n01440764_10026 --out picture.jpeg";

/// Writes a file of a sample to stdout, after comparing it with its checksum.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Cat {
    /// Folder of the set.
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// Key of the sample; `mugs-shard ls SET --samples` lists them.
    #[arg(value_name = "KEY")]
    key: String,
    /// Extension of the file; by default the picture.
    #[arg(long, value_name = "EXT")]
    member: Option<String>,
    /// Write it to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Cat {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let set = ShardSet::open_partial(&self.set)?;
        let Some((shard, number)) = set.find(&self.key)? else {
            bail!("{} has no sample {}{}", self.set.display(), self.key, self.near(&set)?);
        };
        let reader = set.open_shard(shard)?;
        let members = &reader.entry(number).members;
        let at = match &self.member {
            None => members.iter().position(mugs_shards::Member::is_picture),
            Some(wanted) => members.iter().position(|member| *member.extension == **wanted),
        };
        let Some(at) = at else {
            let there: Vec<&str> = members.iter().map(|member| &*member.extension).collect();
            let wanted = self.member.as_deref().unwrap_or("picture");
            bail!("sample {} in {} has no {wanted}, only {}", self.key, reader.name(), there.join(", "));
        };
        let bytes = reader.read_members_of(number)?.swap_remove(at);
        match &self.out {
            Some(path) => std::fs::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))?,
            None => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The keys that are most like the one that was asked for: first those that hold it or are held by it.
    fn near(&self, set: &ShardSet) -> anyhow::Result<String> {
        const SHOWN: usize = 3;
        let most = (self.key.chars().count() / 3).max(2);
        let mut near: Vec<(bool, usize, String)> = Vec::new();
        for number in 0..set.manifest().shards.len() {
            for entry in set.open_shard(number)?.entries() {
                let (key, distance) = (&*entry.key, strsim::levenshtein(&self.key, &entry.key));
                let apart = !(key.contains(&self.key) || self.key.contains(key));
                if !apart || distance <= most {
                    near.push((apart, distance, key.into()));
                }
            }
            near.sort();
            near.truncate(SHOWN);
        }
        let near: Vec<String> = near.into_iter().map(|(_, _, key)| key).collect();
        Ok(if near.is_empty() { String::new() } else { format!("; perhaps {}", near.join(", ")) })
    }
}
