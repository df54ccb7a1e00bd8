//! Putting samples into shards, in their order.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;

use serde::Serialize;

use super::commit::{Committer, Step};
use super::config::OnBadImage;
use super::journal::{Entry, Journal, OrderDigest};
use super::order::Job;
use super::read::{Loaded, read_ahead};
use super::report::{Action, Reporter};
use super::writer::{NewMember, ShardWriter, tar_length};
use super::{Hooks, List, PackConfig, PackError, Phase, Progress};
use crate::checksum::Checksum;
use crate::index::LABEL_EXTENSION;
use crate::source::BadItem;

/// What is to be packed, and how.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    /// Where the shards are written.
    pub(crate) folder: &'a Path,
    pub(crate) list: &'a List,
    pub(crate) config: &'a PackConfig,
    pub(crate) hooks: Hooks<'a>,
}

/// Where to go on.
pub(crate) struct Start {
    /// The first job that is not done.
    pub(crate) next: usize,
    /// Shards that are finished.
    pub(crate) shards: usize,
    /// Of the jobs that are done.
    pub(crate) digest: OrderDigest,
    pub(crate) reporter: Reporter,
}

/// Writes all shards from `start` on; gives the whole journal, ended.
pub(crate) fn fill(
    work: Work<'_>,
    journal: Journal,
    entries: Vec<Entry>,
    start: Start,
) -> Result<Vec<Entry>, PackError> {
    let Work { folder, list, config, hooks } = work;
    thread::scope(|scope| {
        let committer = Committer::start(scope, folder.to_path_buf(), journal, entries);
        let jobs = &list.jobs[start.next..];
        let loaded = read_ahead(scope, &list.origin, jobs, config.workers.get(), hooks.pictures);
        let mut filler = Filler { work, committer: &committer, start, writer: None, bytes: 0, spent: 0 };
        let filled = jobs.iter().zip(loaded).try_for_each(|(job, loaded)| filler.job(job, loaded));
        let filled = filled.and_then(|()| filler.end());
        // What the committer failed at is the cause of a hand-over that failed.
        match (filled, committer.finish()) {
            (Err(PackError::Stopped), Ok(_)) => Err(PackError::Stopped),
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(entries)) => Ok(entries),
        }
    })
}

struct Filler<'a, 'scope> {
    work: Work<'a>,
    committer: &'a Committer<'scope>,
    start: Start,
    writer: Option<ShardWriter>,
    /// Bytes of pictures packed.
    bytes: u64,
    /// Temporary files handed over for removal.
    spent: usize,
}

impl Filler<'_, '_> {
    fn job(&mut self, job: &Job, loaded: Result<Loaded, PackError>) -> Result<(), PackError> {
        if self.work.hooks.stop.load(Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
        let loaded = loaded?;
        match (self.bad(job, &loaded), self.work.config.on_bad_image) {
            (Some(bad), OnBadImage::Fail) => {
                return Err(PackError::BadSample { name: self.shown(job), reason: bad.what });
            }
            (Some(bad), OnBadImage::Skip) => self.start.reporter.bad(&bad, Action::Skipped),
            (bad, _) => self.add(job, &loaded, bad)?,
        }
        self.start.next += 1;
        self.start.digest.add(job);
        self.bytes += loaded.picture.bytes.len() as u64;
        let full = self.writer.as_ref().is_some_and(|shard| self.is_full(shard));
        if let Some(shard) = self.writer.take_if(|_| full) {
            self.commit(Some(shard))?;
        }
        let (samples, total) = (self.start.next as u64, self.work.list.jobs.len() as u64);
        (self.work.hooks.progress)(Progress {
            phase: Phase::Packing,
            samples,
            total,
            bytes: self.bytes,
            total_bytes: 0,
        });
        Ok(())
    }

    /// What is wrong with the sample.
    fn bad(&self, job: &Job, loaded: &Loaded) -> Option<BadItem> {
        let bad = loaded.bad.as_ref()?;
        Some(BadItem { name: job.name.clone().into(), kind: bad.kind.into(), what: bad.what.clone() })
    }

    /// The sample's path as people can open it.
    fn shown(&self, job: &Job) -> std::ffi::OsString {
        match job.picture.place {
            crate::source::Place::Own => self.work.list.origin.root.join(&*job.name).into(),
            crate::source::Place::Range { .. } => job.name.clone().into(),
        }
    }

    /// Packs the sample; `bad` is what is wrong with it and kept.
    fn add(&mut self, job: &Job, loaded: &Loaded, bad: Option<BadItem>) -> Result<(), PackError> {
        let picture = &loaded.picture;
        let label = job.label.map(|label| label.to_string());
        let has_json = loaded.others.iter().any(|other| &*other.extension == "json");
        let json = if self.work.config.json && !has_json { Some(self.metadata(job, loaded)?) } else { None };
        let own = [(LABEL_EXTENSION, label.as_deref()), ("json", json.as_deref())];
        let own = own.iter().filter_map(|(extension, text)| text.map(|text| (*extension, text.as_bytes())));
        let own = own.map(|(extension, data)| NewMember { extension, data, xxh3: Checksum::of(data) });
        let others = loaded.others.iter().map(|other| NewMember {
            extension: &other.extension,
            data: &other.bytes,
            xxh3: other.xxh3,
        });
        let first = NewMember { extension: &picture.extension, data: &picture.bytes, xxh3: picture.xxh3 };
        let members: Vec<NewMember<'_>> = std::iter::once(first).chain(own).chain(others).collect();
        // Before anything is noted: a shard that ends here ends before this sample.
        self.make_room(tar_length(members.iter().map(|member| member.data.len() as u64)))?;
        if let Some(bad) = bad {
            self.start.reporter.bad(&bad, Action::Kept);
        }
        self.start.reporter.content(&job.key, picture.xxh3);
        if let Some(from) = loaded.reencoded_from {
            self.start.reporter.reencoded(from, picture.bytes.len());
        }
        self.writer()?.add(&job.key, &members)
    }

    /// Ends the shard if a sample that takes `length` bytes would make it too long.
    fn make_room(&mut self, length: u64) -> Result<(), PackError> {
        let limit = self.work.config.shard_size;
        let over = |shard: &mut ShardWriter| limit.is_some_and(|limit| shard.bytes() + length > limit.get());
        match self.writer.take_if(over) {
            Some(shard) => self.commit(Some(shard)),
            None => Ok(()),
        }
    }

    /// The shard under way.
    fn writer(&mut self) -> Result<&mut ShardWriter, PackError> {
        let Work { folder, config, .. } = self.work;
        match &mut self.writer {
            Some(shard) => Ok(shard),
            none => Ok(none.insert(ShardWriter::create(folder, &config.name, self.start.shards, config.zstd)?)),
        }
    }

    fn is_full(&self, shard: &ShardWriter) -> bool {
        let config = self.work.config;
        config.shard_size.is_none() && shard.samples() == config.samples_per_shard.get()
    }

    /// The text of the sample's `json` member.
    fn metadata(&self, job: &Job, loaded: &Loaded) -> Result<String, PackError> {
        #[derive(Serialize)]
        struct Metadata<'a> {
            filename: &'a str,
            class_name: Option<&'a str>,
            label: Option<u32>,
            width: Option<u32>,
            height: Option<u32>,
        }
        let classes = &self.work.list.classes;
        let text = serde_json::to_string(&Metadata {
            filename: &job.name.to_string_lossy(),
            class_name: job.label.and_then(|label| classes.get(label as usize)).map(String::as_str),
            label: job.label,
            width: loaded.size.map(|size| size.0),
            height: loaded.size.map(|size| size.1),
        });
        text.map_err(|error| PackError::BadSample { name: job.name.clone().into(), reason: error.to_string() })
    }

    /// Hands a shard, or the end, over to be brought to the disk.
    fn commit(&mut self, shard: Option<ShardWriter>) -> Result<(), PackError> {
        let shard = shard.map(ShardWriter::finish).transpose()?;
        let entry = Entry {
            shard: shard.as_ref().map(|shard| shard.info.clone()),
            done: self.start.next as u64,
            order: self.start.digest.value(),
            report_bytes: 0,
            counts: self.start.reporter.counts.clone(),
        };
        self.start.shards += usize::from(shard.is_some());
        let spent = self.spent_by(entry.done);
        match self.committer.send(Step { shard, report: self.start.reporter.take(), entry, spent }) {
            true => Ok(()),
            // The committer's own error takes the place of this one.
            false => Err(PackError::Stopped),
        }
    }

    fn spent_by(&mut self, done: u64) -> Vec<PathBuf> {
        let rest = &self.work.list.spent[self.spent..];
        let spent: Vec<PathBuf> =
            rest.iter().take_while(|(after, _)| *after <= done).map(|(_, path)| path.clone()).collect();
        self.spent += spent.len();
        spent
    }

    fn end(&mut self) -> Result<(), PackError> {
        if let Some(shard) = self.writer.take() {
            self.commit(Some(shard))?;
        }
        self.commit(None)
    }
}
