//! The folder of a run, locked by the process that works in it.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mugs_compute::checkpoint::TEMPORARY_PREFIX;

use crate::config::RunConfig;

/// What the names of checkpoints that are kept by step begin with.
const STEP: &str = "checkpoint-step";
/// A name, and the beginning of names, that files have for a moment.
const BETWEEN: &str = ".unfinished";

/// An open run folder: `checkpoint.pth`, `checkpoint0000.pth` ..., `checkpoint-step00000042.pth` ..., `log.txt`,
/// `config.toml`.
pub struct RunFolder {
    path: PathBuf,
    /// None where another rank holds it.
    _lock: Option<File>,
}

impl RunFolder {
    /// Opens or makes the folder and locks it; a second run in the same folder is refused.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the run folder {}", path.display()))?;
        let lock_path = path.join(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.with_context(|| format!("cannot write in the run folder {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {
                let folder = Self { path: path.to_path_buf(), _lock: Some(lock) };
                folder.clean()?;
                Ok(folder)
            }
            Err(TryLockError::WouldBlock) => {
                bail!("another run works in {}: stop it first, or choose another --output_dir", path.display())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", lock_path.display()))
            }
        }
    }

    /// The folder of a run that another rank has opened; this one only reads in it.
    pub fn join(path: &Path) -> Self {
        Self { path: path.to_path_buf(), _lock: None }
    }

    /// Where the run lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest checkpoint: what a resume starts from.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.pth")
    }

    /// The other checkpoints of the run: `checkpoint0007.pth` and `checkpoint-step00000042.pth`.
    pub fn older_checkpoints(&self) -> Result<Vec<PathBuf>> {
        let of_run = |name: &str| numbered(name, "checkpoint").or_else(|| numbered(name, STEP)).is_some();
        Ok(self.files()?.into_iter().filter(|name| of_run(name)).map(|name| self.path.join(name)).collect())
    }

    /// Writes the resolved configuration.
    pub fn write_config(&self, config: &RunConfig) -> Result<()> {
        replace(&self.path.join("config.toml"), &toml::to_string_pretty(&config.of_any_rank())?)
    }

    /// Keeps the newest checkpoint under the name of the finished epoch, as `checkpoint0007.pth`.
    pub fn keep_epoch(&self, epoch: usize) -> Result<()> {
        self.keep(&epoch_name(epoch))
    }

    /// Gives the newest checkpoint the name of the epoch that it ends, where the run ended between the two.
    pub fn name_after(&self, epoch: usize) -> Result<()> {
        if self.path.join(epoch_name(epoch)).exists() {
            return Ok(());
        }
        tracing::info!("checkpoint.pth, which ends epoch {epoch}, is kept as {} too", epoch_name(epoch));
        self.keep_epoch(epoch)
    }

    /// Keeps the newest checkpoint under the number of steps that were done, as `checkpoint-step00000042.pth`.
    pub fn keep_step(&self, done: u64) -> Result<()> {
        self.keep(&format!("{STEP}{done:08}.pth"))
    }

    /// Removes the checkpoints kept by step but for the `count` that were written last.
    pub fn drop_steps(&self, count: usize) -> Result<()> {
        let mut kept = Vec::new();
        for name in self.files()? {
            let Some(step) = numbered(&name, STEP) else { continue };
            let path = self.path.join(name);
            let written = fs::metadata(&path).and_then(|data| data.modified());
            kept.push((written.with_context(|| format!("cannot look at {}", path.display()))?, step, path));
        }
        kept.sort();
        let surplus = kept.len().saturating_sub(count);
        kept.iter().take(surplus).try_for_each(|(_, _, path)| remove(path))
    }

    /// Gives `checkpoint.pth` a second name, whether or not another file has it. Whenever the process is killed, either
    /// file has the name.
    fn keep(&self, name: &str) -> Result<()> {
        let (newest, between, kept) = (self.checkpoint(), self.path.join(BETWEEN), self.path.join(name));
        remove(&between)?;
        // A link costs no space and no time; where links are not to be had, a copy does.
        let linked = fs::hard_link(&newest, &between).or_else(|_| {
            fs::copy(&newest, &between)?;
            File::open(&between)?.sync_all()
        });
        linked
            .and_then(|()| fs::rename(&between, &kept))
            .with_context(|| format!("cannot keep the checkpoint as {}", kept.display()))?;
        // Renaming one name of a file to another name of the same file leaves both.
        remove(&between)
    }

    /// Removes what a killed process left half written. The folder is locked: nobody writes in it now.
    fn clean(&self) -> Result<()> {
        let unfinished = |name: &&String| [TEMPORARY_PREFIX, BETWEEN].iter().any(|prefix| name.starts_with(prefix));
        self.files()?.iter().filter(unfinished).try_for_each(|name| remove(&self.path.join(name)))
    }

    /// The names in the folder.
    fn files(&self) -> Result<Vec<String>> {
        let names = fs::read_dir(&self.path).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name().into_string().ok())).collect::<std::io::Result<Vec<_>>>()
        });
        let names = names.with_context(|| format!("cannot list {}", self.path.display()))?;
        Ok(names.into_iter().flatten().collect())
    }
}

/// The number in a name such as `checkpoint0007.pth`.
fn numbered(name: &str, before: &str) -> Option<u64> {
    let digits = name.strip_prefix(before)?.strip_suffix(".pth")?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Puts a text in place of a file of the run, which has the old or the new one whatever happens.
pub(super) fn replace(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        // Readable like any other file of the run, not by its owner alone as temporary files are.
        let mode = Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new().prefix(BETWEEN).permissions(mode).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn epoch_name(epoch: usize) -> String {
    format!("checkpoint{epoch:04}.pth")
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

    fn names(folder: &RunFolder) -> Vec<String> {
        let mut names = folder.files().unwrap();
        names.retain(|name| name != ".lock");
        names.sort();
        names
    }

    #[test]
    fn checkpoints_are_kept_by_step_and_by_epoch() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(place.path()).unwrap();
        let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
        for step in 1..=4 {
            // As a checkpoint is written: beside the old one, then in its place.
            replace(&folder.checkpoint(), &step.to_string()).unwrap();
            folder.keep_step(step).unwrap();
            folder.keep_step(step).unwrap();
            folder.drop_steps(2).unwrap();
        }
        folder.keep_epoch(7).unwrap();
        replace(&folder.checkpoint(), "5").unwrap();
        folder.keep_epoch(7).unwrap();
        fs::write(place.path().join("checkpoint-best.pth"), "mine").unwrap();
        fs::write(place.path().join("checkpoint-step9.pth.bak"), "mine").unwrap();
        folder.drop_steps(2).unwrap();
        let kept = ["checkpoint-step00000003.pth", "checkpoint-step00000004.pth", "checkpoint0007.pth"];
        let mut all = [&kept[..], &["checkpoint.pth", "checkpoint-best.pth", "checkpoint-step9.pth.bak"]].concat();
        all.sort_unstable();
        assert_eq!(names(&folder), all);
        assert_eq!(kept.map(read), ["3", "4", "5"]);
        let mut older = folder.older_checkpoints().unwrap();
        older.sort();
        assert_eq!(older, kept.map(|name| place.path().join(name)));
    }

    #[test]
    fn an_epoch_that_a_kill_kept_from_its_name_gets_it_and_no_other_is_touched() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(place.path()).unwrap();
        let read = || fs::read_to_string(place.path().join("checkpoint0003.pth")).unwrap();
        replace(&folder.checkpoint(), "whole").unwrap();
        folder.name_after(3).unwrap();
        assert_eq!(read(), "whole");
        replace(&folder.checkpoint(), "other").unwrap();
        folder.name_after(3).unwrap();
        assert_eq!(read(), "whole");
    }

    #[test]
    fn what_was_being_written_goes_when_the_folder_is_opened() {
        let place = tempfile::tempdir().unwrap();
        for name in [".checkpoint-x7", ".unfinished", ".unfinishedAb", "checkpoint.pth", ".mine"] {
            fs::write(place.path().join(name), "").unwrap();
        }
        assert_eq!(names(&RunFolder::open(place.path()).unwrap()), [".mine", "checkpoint.pth"]);
    }
}
