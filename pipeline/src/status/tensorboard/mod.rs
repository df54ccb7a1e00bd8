//! TensorBoard: what changes over the steps, in event files of the folder `tensorboard` of a run.
//!
//! Every start writes a file of its own that begins by taking back what earlier ones said about the steps to come, so
//! that a run killed behind its last checkpoint shows each step once.

mod event;
mod histogram;
mod record;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::event::{What, event};
pub use self::histogram::Histogram;
use self::record::record;

/// One step of the run.
pub struct TensorBoardStep<'a> {
    /// Steps done, this one included.
    pub done: u64,
    /// Pictures in the step.
    pub images: usize,
    /// Time that it waited for its data.
    pub waited: Duration,
    /// What to write, by tag; only called where something is written.
    pub scalars: &'a dyn Fn() -> Vec<(String, f64)>,
}

/// Writes events every so many steps. A file that cannot be written is a warning, once, and no more is written.
pub struct TensorBoard {
    every: u64,
    /// None once it is off.
    file: Option<EventFile>,
    /// When the last scalars were written, and what has come since.
    since: Instant,
    images: u64,
    waited: Duration,
}

impl TensorBoard {
    /// For a run in the folder `run` that goes on behind `done` steps; `every` 0 writes nothing.
    pub fn open(run: &Path, every: u64, done: u64) -> Self {
        let mut new = Self { every, file: None, since: Instant::now(), images: 0, waited: Duration::ZERO };
        if every > 0 {
            let folder = run.join("tensorboard");
            match EventFile::create(&folder, done + 1) {
                Ok(file) => new.file = Some(file),
                Err(error) => tracing::warn!("no TensorBoard events are written in {}: {error}", folder.display()),
            }
        }
        new
    }

    /// Whether anything is written.
    pub fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// Counts one step, and writes its scalars where they are due: the step's own, pictures a second and the share of
    /// the time that was spent waiting for data, both since the last time.
    pub fn step(&mut self, step: &TensorBoardStep<'_>) {
        if !self.is_on() {
            return;
        }
        self.images += step.images as u64;
        self.waited += step.waited;
        if step.done.is_multiple_of(self.every) {
            let mut scalars = (step.scalars)();
            let elapsed = self.since.elapsed().as_secs_f64().max(1e-9);
            scalars.push(("images_per_second".into(), self.images as f64 / elapsed));
            scalars.push(("data_wait_share".into(), (self.waited.as_secs_f64() / elapsed).min(1.0)));
            self.write(step.done, &What::Scalars(&scalars));
            (self.since, self.images, self.waited) = (Instant::now(), 0, Duration::ZERO);
        }
    }

    /// Writes a picture of `size`, width and height, as a PNG file.
    pub fn image(&mut self, step: u64, tag: &str, size: (usize, usize), png: &[u8]) {
        self.write(step, &What::Image { tag, size, png });
    }

    /// Writes how often which numbers came.
    pub fn histogram(&mut self, step: u64, tag: &str, histogram: &Histogram) {
        self.write(step, &What::Histogram { tag, histogram });
    }

    /// Writes numbers at once, whatever the interval.
    pub fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) {
        self.write(step, &What::Scalars(scalars));
    }

    fn write(&mut self, step: u64, what: &What<'_>) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write(step, what) {
            tracing::warn!("{} is no longer written: {error}; the run goes on", file.path.display());
            self.file = None;
        }
    }
}

struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Makes a file whose name sorts behind those of the folder, as TensorBoard reads them in that order.
    fn create(folder: &Path, first: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let newest = fs::read_dir(folder)?.filter_map(|entry| stamp(&entry.ok()?.file_name().to_string_lossy())).max();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let stamp = newest.map_or(now, |newest| now.max(newest + 1));
        let path = folder.join(format!("events.out.tfevents.{:010}.{:03}.mugs", stamp / 1000, stamp % 1000));
        let file = File::options().write(true).create_new(true).open(&path)?;
        let mut new = Self { path, file };
        new.write(0, &What::Version)?;
        new.write(first, &What::Start)?;
        Ok(new)
    }

    /// One call of the system per event: a kill leaves whole ones.
    fn write(&mut self, step: u64, what: &What<'_>) -> io::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.file.write_all(&record(&event(time, step, what)))
    }
}

/// The milliseconds in a name of ours.
fn stamp(name: &str) -> Option<u64> {
    let (seconds, millis) = name.strip_prefix("events.out.tfevents.")?.strip_suffix(".mugs")?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1000 + millis.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(run: &Path) -> Vec<Vec<Vec<u8>>> {
        let mut paths: Vec<_> = fs::read_dir(run.join("tensorboard")).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| record::tests::records(&fs::read(path).unwrap())).collect()
    }

    fn step(board: &mut TensorBoard, done: u64) {
        let scalars = || vec![("loss/total".to_owned(), 2.0)];
        board.step(&TensorBoardStep { done, images: 4, waited: Duration::ZERO, scalars: &scalars });
    }

    /// Whether the event is of the step, below 128.
    fn is_at(event: &[u8], step: u8) -> bool {
        event[9..11] == [0x10, step]
    }

    #[test]
    fn scalars_come_every_so_many_steps_and_a_later_start_has_a_later_file() {
        let run = tempfile::tempdir().unwrap();
        let mut first = TensorBoard::open(run.path(), 2, 0);
        (1..=5).for_each(|done| step(&mut first, done));
        let mut second = TensorBoard::open(run.path(), 2, 3);
        (4..=4).for_each(|done| step(&mut second, done));

        let files = files(run.path());
        let steps = |file: &[Vec<u8>]| -> Vec<u8> { file.iter().map(|event| event[10]).collect() };
        assert_eq!(files.iter().map(|file| steps(file)).collect::<Vec<_>>(), [vec![0, 1, 2, 4], vec![0, 4, 4]]);
        assert!(is_at(&files[1][1], 4) && files[1][1].ends_with(b"\x3a\x02\x08\x01"), "the start takes step 4 back");
        let scalars = String::from_utf8_lossy(&files[0][2]);
        for tag in ["loss/total", "images_per_second", "data_wait_share"] {
            assert!(scalars.contains(tag), "{tag}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_change_the_order() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("tensorboard");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("events.out.tfevents.4000000000.999.mugs"), "").unwrap();
        let file = EventFile::create(&folder, 1).unwrap();
        assert_eq!(file.path.file_name().unwrap(), "events.out.tfevents.4000000001.000.mugs");
    }

    #[test]
    fn nothing_is_written_where_it_is_switched_off_or_cannot_be() {
        let run = tempfile::tempdir().unwrap();
        let mut off = TensorBoard::open(run.path(), 0, 0);
        step(&mut off, 1);
        assert!(!run.path().join("tensorboard").exists());

        fs::write(run.path().join("tensorboard"), "a file").unwrap();
        let mut failed = TensorBoard::open(run.path(), 1, 0);
        step(&mut failed, 1);
        assert!(!failed.is_on());

        let full = EventFile { path: "/dev/full".into(), file: File::options().write(true).open("/dev/full").unwrap() };
        let mut board = TensorBoard { file: Some(full), every: 1, ..off };
        step(&mut board, 1);
        assert!(!board.is_on());
    }
}
