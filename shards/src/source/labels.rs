//! The labels of ImageNet's validation pictures.
//!
//! Two files have them: the devkit's `ILSVRC2012_validation_ground_truth.txt`, whose line i is the ILSVRC2012_ID (1 to
//! 1000) of picture i, and Kaggle's `LOC_val_solution.csv`, whose lines are a picture's name and a prediction string
//! that begins with its synset. The devkit's numbers are its own, not those of the sorted synsets, so it needs the
//! synset of each ID.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::Classes;
use crate::pack::PackError;

/// The synset of each picture and the line that says it, by the picture's name without extension.
#[derive(Debug)]
pub(crate) struct Labels(HashMap<String, (Arc<str>, u64)>);

impl Labels {
    /// Reads `path`; `synsets` has the synset of each ILSVRC2012_ID in its lines.
    ///
    /// # Errors
    /// A file cannot be read, or a line is malformed or names an unknown ID, synset or a picture again; it is named.
    pub(crate) fn read(path: &Path, synsets: Option<&Path>, classes: &Classes) -> Result<Self, PackError> {
        let text = super::read_text(path)?;
        let known: Option<HashSet<&str>> = match classes {
            Classes::Fixed(names) => Some(names.iter().map(String::as_str).collect()),
            Classes::Found => None,
        };
        let ids = synsets.map(read_synsets).transpose()?;
        let kaggle = text.starts_with("ImageId");
        let mut labels = HashMap::new();
        for (number, line) in text.lines().enumerate().skip(usize::from(kaggle)) {
            let fault = |reason| source_fault(path, number, reason);
            let (name, synset) = match (kaggle, &ids) {
                (true, _) => kaggle_line(line),
                (false, Some(ids)) => devkit_line(number, line, ids),
                (false, None) => Err("it is an ILSVRC2012_ID: name the file of their synsets with --synsets".into()),
            }
            .map_err(fault)?;
            if known.as_ref().is_some_and(|known| !known.contains(&*synset)) {
                return Err(fault(format!("synset {synset} is not one of the listed classes")));
            }
            if let Some((_, first)) = labels.insert(name.clone(), (synset, number as u64 + 1)) {
                return Err(fault(format!("{name} is in line {first} too")));
            }
        }
        Ok(Self(labels))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(name).map(|(synset, _)| synset)
    }

    /// The first line whose picture is not one of `seen`, and that picture.
    pub(crate) fn first_without(&self, seen: &HashSet<String>) -> Option<(u64, &str)> {
        let missing = self.0.iter().filter(|(name, _)| !seen.contains(*name));
        missing.map(|(name, (_, line))| (*line, name.as_str())).min()
    }

    /// How many pictures have labels.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A fault in the line with this index.
fn source_fault(path: &Path, index: usize, reason: String) -> PackError {
    PackError::Source { path: path.into(), line: Some(index as u64 + 1), reason }
}

/// The first word of each line.
fn read_synsets(path: &Path) -> Result<Vec<Arc<str>>, PackError> {
    let text = super::read_text(path)?;
    let mut seen = HashSet::new();
    let mut synsets = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let synset = line.split([' ', '\t', ',']).next().unwrap_or_default();
        check(synset).map_err(|reason| source_fault(path, number, reason))?;
        if !seen.insert(synset) {
            return Err(source_fault(path, number, format!("synset {synset} is there twice")));
        }
        synsets.push(synset.into());
    }
    Ok(synsets)
}

fn devkit_line(number: usize, line: &str, ids: &[Arc<str>]) -> Result<(String, Arc<str>), String> {
    let id: usize = line.trim().parse().map_err(|_| format!("{line:?} is no ILSVRC2012_ID"))?;
    let synset = id.checked_sub(1).and_then(|index| ids.get(index));
    let synset = synset.ok_or_else(|| format!("ILSVRC2012_ID {id} has no synset: there are {}", ids.len()))?;
    Ok((format!("ILSVRC2012_val_{:08}", number + 1), synset.clone()))
}

fn kaggle_line(line: &str) -> Result<(String, Arc<str>), String> {
    let (name, prediction) = line.split_once(',').ok_or("there is no comma: ImageId,PredictionString is expected")?;
    let synset = prediction.split(' ').next().unwrap_or_default();
    check(synset)?;
    Ok((name.into(), synset.into()))
}

/// Whether a word is a synset: `n` and eight digits.
fn check(word: &str) -> Result<(), String> {
    let digits = word.strip_prefix('n').unwrap_or_default();
    if digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(format!("{word:?} is no synset (n01440764)"))
}
