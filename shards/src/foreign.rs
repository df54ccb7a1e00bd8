//! Tars made elsewhere become a set: each gets an index beside it, and the folder a manifest. The tars are only read.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::checksum::Checksum;
use crate::index::{self, LABEL_EXTENSION, PICTURE_EXTENSIONS};
use crate::manifest::{MANIFEST, Manifest, ShardInfo};
use crate::pack::PackError;
use crate::pack::write_whole;
use crate::source::{read_classes, tars};
use crate::tar::{Dots, GroupedSample, Grouper, MappedTar};

/// What [`index_tars`] is told.
#[derive(Debug, Clone, Default)]
pub struct IndexConfig {
    /// The name of the set: 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// Which dot of a file's name ends the key.
    pub dots: Dots,
    /// Names of the classes; none: labels are numbers without names.
    pub classes: Option<PathBuf>,
}

/// What was indexed.
#[derive(Debug, Clone)]
pub struct Indexed {
    /// The manifest that was written.
    pub manifest: Manifest,
    /// Its checksum.
    pub digest: String,
    /// What is odd about the tars but loses nothing that is known.
    pub warnings: Vec<String>,
}

/// Writes `X.idx` beside each tar of `folder` (`paths`, or all of them) and the manifest that makes them a set.
///
/// # Errors
/// The folder is a set already, a tar is damaged, compressed or lies elsewhere, or a sample is none: the tar, the
/// offset and the key are named. No manifest is written then.
pub fn index_tars(
    folder: &Path,
    paths: Option<Vec<PathBuf>>,
    config: &IndexConfig,
    progress: &dyn Fn(u64),
    stop: &AtomicBool,
) -> Result<Indexed, PackError> {
    let fault = |path: &Path, reason: String| PackError::Source { path: path.into(), line: None, reason };
    if !crate::manifest::valid_name(&config.name) {
        return Err(PackError::Config(format!("name {:?} must have 1 to 64 letters, digits, _ and -", config.name)));
    }
    if folder.join(MANIFEST).exists() {
        return Err(fault(folder, format!("it is a set already: remove its {MANIFEST} to index it anew")));
    }
    let paths = match paths {
        Some(paths) => paths,
        None => tars(folder)?,
    };
    let classes = config.classes.as_deref().map(read_classes).transpose()?.unwrap_or_default();
    let (mut shards, mut warnings, mut seen) = (Vec::new(), Vec::new(), HashMap::new());
    for path in &paths {
        if path.parent().unwrap_or(Path::new("")) != folder {
            return Err(fault(path, format!("it does not lie in {}: index one folder at a time", folder.display())));
        }
        let mut indexer = Indexer { path, config, classes: classes.len(), seen: &mut seen, text: String::new() };
        let (info, found) = indexer.shard(progress, stop)?;
        spare(&folder.join(&info.index))?;
        write_whole(folder, &info.index, indexer.text.as_bytes())?;
        shards.push(info);
        warnings.extend(found);
    }
    if shards.is_empty() {
        return Err(fault(folder, "it holds no tars".into()));
    }
    let mut manifest = Manifest::new(&config.name, 0, classes, shards);
    manifest.foreign = true;
    let (text, digest) =
        manifest.seal().map_err(|error| PackError::Write { path: folder.join(MANIFEST), source: error.into() })?;
    write_whole(folder, MANIFEST, &text)?;
    Ok(Indexed { manifest, digest: digest.to_string(), warnings })
}

/// Refuses to write over a file that is no index of ours: other loaders' indices end in `.idx` too.
fn spare(path: &Path) -> Result<(), PackError> {
    match fs::read(path) {
        Ok(bytes) if !bytes.starts_with(b"#mugs-index") => {
            let reason = "it is the index of another program: move it away first".into();
            Err(PackError::Source { path: path.into(), line: None, reason })
        }
        _ => Ok(()),
    }
}

/// Makes the index of one tar.
struct Indexer<'a> {
    path: &'a Path,
    config: &'a IndexConfig,
    classes: usize,
    /// The tar of each key so far.
    seen: &'a mut HashMap<String, String>,
    text: String,
}

impl Indexer<'_> {
    fn fault(&self, reason: String) -> PackError {
        PackError::Source { path: self.path.into(), line: None, reason }
    }

    fn shard(&mut self, progress: &dyn Fn(u64), stop: &AtomicBool) -> Result<(ShardInfo, Vec<String>), PackError> {
        let file = self.path.file_name().and_then(|name| name.to_str());
        let file = file.ok_or_else(|| self.fault("its name is not UTF-8".into()))?.to_owned();
        let Some(stem) = file.strip_suffix(".tar") else {
            return Err(self.fault("only plain tars can be indexed: mugs-shard pack makes new shards of others".into()));
        };
        let index = format!("{stem}.idx");
        let tar = MappedTar::open(self.path)?;
        let bytes = tar.bytes();
        self.text = index::HEADER.into();
        let mut grouper = Grouper::new(self.path, self.config.dots);
        let (mut members, mut samples, mut told) = (tar.members(), 0, 0);
        for member in members.by_ref() {
            if stop.load(Ordering::Relaxed) {
                return Err(PackError::Stopped);
            }
            let (member, _) = member?;
            if let Some(sample) = grouper.push(&member)? {
                self.sample(bytes, &sample)?;
                samples += 1;
            }
            progress(member.end() - told);
            told = member.end();
        }
        if let Some(last) = grouper.finish() {
            self.sample(bytes, &last)?;
            samples += 1;
        }
        if samples == 0 {
            return Err(self.fault("it holds no samples".into()));
        }
        let mut warnings: Vec<String> =
            members.warnings().iter().map(|warning| format!("{}: {warning}", self.path.display())).collect();
        let passed = grouper.passed();
        let others = passed.links + passed.others + passed.without_extension;
        if others > 0 {
            warnings.push(format!("{}: {others} members are no files of samples", self.path.display()));
        }
        let info = ShardInfo {
            file,
            index,
            samples,
            bytes: bytes.len() as u64,
            tar_bytes: None,
            xxh3: Checksum::of(bytes),
            index_bytes: self.text.len() as u64,
            index_xxh3: Checksum::of(self.text.as_bytes()),
        };
        Ok((info, warnings))
    }

    /// Adds a sample's lines.
    fn sample(&mut self, tar: &[u8], sample: &GroupedSample) -> Result<(), PackError> {
        let offset = sample.members.first().map_or(0, |member| member.offset);
        let key = std::str::from_utf8(&sample.key)
            .map_err(|_| self.fault(format!("the key at offset {offset} is not UTF-8")))?
            .to_owned();
        if key.starts_with('#') {
            return Err(self.fault(format!("key {key} at offset {offset} begins with #, which an index cannot hold")));
        }
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = self.seen.insert(key.clone(), file) {
            return Err(self.fault(format!("key {key} at offset {offset} is in {other} too")));
        }
        if !sample.members.iter().any(|member| PICTURE_EXTENSIONS.contains(&&*member.extension)) {
            let extensions: Vec<&str> = sample.members.iter().map(|member| &*member.extension).collect();
            let only = extensions.join(", ");
            let reason = format!("sample {key} at offset {offset} has no picture, only {only}");
            return Err(self.fault(format!("{reason}; if its names have dots, say --dots last")));
        }
        for member in &sample.members {
            let data = usize::try_from(member.offset).ok().zip(usize::try_from(member.length).ok());
            let data = data.and_then(|(start, length)| tar.get(start..start.checked_add(length)?)).unwrap_or_default();
            if member.extension == LABEL_EXTENSION {
                self.label(&key, member.offset, data)?;
            }
            let line = (member.length, Checksum::of(data));
            index::push_line(&mut self.text, &key, &member.extension, member.offset, line);
        }
        Ok(())
    }

    /// Whether a label is the number of a class.
    fn label(&self, key: &str, offset: u64, data: &[u8]) -> Result<(), PackError> {
        let text = String::from_utf8_lossy(data);
        match text.trim_ascii().parse::<u32>() {
            Ok(number) if self.classes == 0 || (number as usize) < self.classes => Ok(()),
            Ok(number) => {
                let classes = self.classes;
                Err(self.fault(format!("{key}.cls at offset {offset} is {number}, but there are {classes} classes")))
            }
            Err(_) => Err(self.fault(format!(
                "{key}.cls at offset {offset} is {text:?}, no number: mugs-shard pack numbers classes by their names"
            ))),
        }
    }
}

/// The folder of tars that are named, and the tars.
///
/// # Errors
/// A brace pattern is malformed.
pub fn tars_of(sources: &[PathBuf]) -> Result<(PathBuf, Option<Vec<PathBuf>>), PackError> {
    if let [folder] = sources
        && fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir())
    {
        return Ok((folder.clone(), None));
    }
    let mut paths = Vec::new();
    for source in sources {
        paths.extend(crate::source::expand(source)?);
    }
    let folder = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_path_buf();
    Ok((folder, Some(paths)))
}
