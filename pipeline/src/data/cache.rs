//! Pictures packed into a set in the output directory: once, and again only when they have changed.
//!
//! The set of a folder lies in `OUTPUT/data-cache/KEY`, where KEY follows from the folder's path and from the names,
//! lengths and times of its pictures. So a folder that has changed is packed into another place, and an interrupted
//! start goes on packing where it was.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::DecimalBytes;
use mugs_data::bad::OnBadSample;
use mugs_shards::{
    Checksum, Fingerprint, Hooks, OnBadImage, PackConfig, PackError, PackReport, PictureCheck, Progress, Resume,
    ShardSet, SourceOptions, fingerprint,
};

use super::open_set_at;
use crate::config::RunConfig;

/// How often the log says how far packing is.
const INTERVAL: Duration = Duration::from_secs(10);

/// The set of the pictures in a folder, packed unless an earlier start has done it; none if `stop` became true.
pub fn pack(pictures: &Path, config: &RunConfig, output: &Path, stop: &AtomicBool) -> Result<Option<ShardSet>> {
    let shown = pictures.display();
    let found = fingerprint(pictures, &SourceOptions::default())
        .with_context(|| format!("--data_path {shown} is no shard set, and its pictures cannot be packed"))?;
    let caches = output.join("data-cache");
    let set = caches.join(key(pictures, &found)?);
    let on_bad_sample = config.on_bad_sample()?;
    name_others(&caches, &set);
    if set.join(mugs_shards::MANIFEST).is_file() && !set.join(".packing").exists() {
        tracing::info!("{shown} is unchanged since it was packed into {}", set.display());
        return open_set_at(&set, on_bad_sample).map(Some).with_context(|| remove(&set));
    }
    tracing::info!(
        "{shown} is a folder of {} pictures ({}): packs it once into {}",
        found.samples,
        DecimalBytes(found.bytes),
        set.display()
    );
    fs::create_dir_all(&caches).with_context(|| format!("cannot make {}", caches.display()))?;
    match write(pictures, &set, on_bad_sample, stop) {
        Ok(report) => say(&report, &set),
        Err(PackError::Stopped) => return Ok(None),
        Err(error @ PackError::Resume { .. }) => return Err(error).with_context(|| remove(&set)),
        Err(error) => return Err(error).with_context(|| format!("cannot pack {shown}")),
    }
    Ok(Some(ShardSet::open(&set)?))
}

fn remove(set: &Path) -> String {
    format!("the packed pictures cannot be used; remove {} to pack them anew", set.display())
}

/// The name of a folder's set among those of an output directory.
fn key(pictures: &Path, found: &Fingerprint) -> Result<String> {
    let path = fs::canonicalize(pictures).with_context(|| format!("cannot read {}", pictures.display()))?;
    let name: String = path.file_name().and_then(OsStr::to_str).unwrap_or("pictures").chars().take(40).collect();
    let text = [path.as_os_str().as_bytes(), b"\0", found.checksum.to_string().as_bytes()].concat();
    Ok(format!("{name}-{:016x}", Checksum::of(&text).value() as u64))
}

/// Says which packed pictures are of no use to this run; it is for people to remove them.
fn name_others(caches: &Path, own: &Path) {
    let Ok(entries) = fs::read_dir(caches) else { return };
    let others: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path != own).collect();
    for other in others {
        tracing::info!(
            "{} holds other pictures, or these as they were; remove it if it is not needed",
            other.display()
        );
    }
}

fn write(pictures: &Path, set: &Path, on_bad_sample: OnBadSample, stop: &AtomicBool) -> Result<PackReport, PackError> {
    let check = PictureCheck::default();
    let on_bad_image = match on_bad_sample {
        OnBadSample::Fail => OnBadImage::Fail,
        // Left to training, which names and counts them in every epoch.
        OnBadSample::Skip => OnBadImage::Keep,
    };
    let described = check.describe().map_err(|error| PackError::Config(error.to_string()))?;
    let config = PackConfig { on_bad_image, pictures: described, ..PackConfig::default() };
    let said = Cell::new(Instant::now());
    let progress = |progress: Progress| {
        if said.get().elapsed() >= INTERVAL {
            said.set(Instant::now());
            let Progress { samples, total, bytes, .. } = progress;
            tracing::info!("packed {samples} of {total} pictures, {}", DecimalBytes(bytes));
        }
    };
    let hooks = Hooks { pictures: &check, progress: &progress, stop };
    mugs_shards::pack(pictures, set, &config, Resume::Auto, hooks)
}

fn say(report: &PackReport, set: &Path) {
    let manifest = &report.manifest;
    tracing::info!(
        "packed {} pictures of {} classes into {} shards ({}): {}",
        manifest.samples,
        manifest.classes.len(),
        manifest.shards.len(),
        DecimalBytes(manifest.bytes()),
        set.display()
    );
    if report.ignored.count > 0 {
        let first = report.ignored.first.join(", ");
        tracing::warn!("left out {} files that are not named like pictures: {first} …", report.ignored.count);
    }
    if let Some(file) = &report.report {
        tracing::warn!("some pictures are bad, or there twice: {} names them", file.display());
    }
}

#[cfg(test)]
mod tests {
    use mugs_image::{Image, encode};

    use super::*;

    #[test]
    fn a_start_that_is_stopped_goes_on_packing_at_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (pictures, output) = (folder.path().join("pictures"), folder.path().join("run"));
        fs::create_dir_all(pictures.join("class")).unwrap();
        for number in 0..5 {
            let png = encode::png(&Image::filled(8, 8, [number, 0, 0])).unwrap();
            fs::write(pictures.join(format!("class/{number}.png")), png).unwrap();
        }
        let config = RunConfig::default();
        let packed = |stop| pack(&pictures, &config, &output, &AtomicBool::new(stop)).unwrap();
        assert!(packed(true).is_none());
        let set = packed(false).unwrap();
        assert_eq!((set.manifest().samples, set.folder().parent().unwrap()), (5, &*output.join("data-cache")));
        let again = packed(true).unwrap();
        assert_eq!((again.folder(), again.digest()), (set.folder(), set.digest()), "nothing is left to be stopped");
    }
}
