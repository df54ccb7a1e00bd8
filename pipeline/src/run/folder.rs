//! The folder of a run, locked by the process that works in it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::RunConfig;

/// An open run folder: `checkpoint.pth`, `checkpoint0000.pth` ..., `log.txt`, `config.toml`.
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Opens or makes the folder and locks it; a second run in the same folder is refused.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the run folder {}", path.display()))?;
        let lock_path = path.join(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.with_context(|| format!("cannot write in the run folder {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                bail!("another run works in {}: stop it first, or choose another --output_dir", path.display())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", lock_path.display()))
            }
        }
    }

    /// Where the run lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest checkpoint: what a resume starts from.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.pth")
    }

    /// Writes the resolved configuration.
    pub fn write_config(&self, config: &RunConfig) -> Result<()> {
        let path = self.path.join("config.toml");
        let text = toml::to_string_pretty(config)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Keeps the newest checkpoint under the name of the finished epoch, as `checkpoint0007.pth`.
    pub fn keep(&self, epoch: usize) -> Result<()> {
        let kept = self.path.join(format!("checkpoint{epoch:04}.pth"));
        let linked = match fs::remove_file(&kept) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            // A link costs no space and no time; where links are not to be had, a copy does.
            _ => fs::hard_link(self.checkpoint(), &kept).or_else(|_| fs::copy(self.checkpoint(), &kept).map(|_| ())),
        };
        linked.with_context(|| format!("cannot keep the checkpoint as {}", kept.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_in_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunFolder::open(folder.path()).unwrap();
        let error = RunFolder::open(folder.path()).err().map(|error| error.to_string()).unwrap();
        assert!(error.contains("another run works in"), "{error}");
        drop(first);
        RunFolder::open(folder.path()).unwrap();
    }
}
