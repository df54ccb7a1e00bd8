//! From a source's list to the order in which its samples are packed.
//!
//! Keys are given in the source's order. The order of packing then follows from keys and seed alone: samples are
//! sorted by XXH3 of their keys, seeded from the seed. So a tar of class tars and the folders that were once made of
//! it give the same set, a sample that is left out moves no other before it, and a source that is read once can be
//! dealt into buckets before its length is known.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::config::OnBadImage;
use super::error::PackError;
use super::key::Keys;
use crate::source::{BadItem, Classes, Label, Part, RawItem, stem};

/// A sample to be packed.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) key: Box<str>,
    pub(crate) name: Box<OsStr>,
    pub(crate) label: Option<u32>,
    pub(crate) picture: Part,
    pub(crate) others: Vec<Part>,
}

/// Draws the place of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shuffle(u64);

impl Shuffle {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mugs_random::derive(seed, "order of packing"))
    }

    /// A number that looks random, by which samples are sorted.
    pub(crate) fn place(self, key: &str) -> u64 {
        xxh3_64_with_seed(key.as_bytes(), self.0)
    }
}

/// Gives keys in a source's order and says what becomes of one that is there twice.
pub(crate) struct KeyGiver {
    keys: Keys,
    /// XXH3-128 of the keys that were wanted: different ones may become the same key, which is no fault.
    wanted: HashSet<u128>,
    on_bad: OnBadImage,
}

/// The key of a sample, or why it gets none.
pub(crate) enum Given {
    Key(Box<str>),
    /// With another key than its own, because that is taken.
    Renamed(Box<str>, BadItem),
    Skipped(BadItem),
}

impl KeyGiver {
    pub(crate) fn new(on_bad: OnBadImage) -> Self {
        Self { keys: Keys::default(), wanted: HashSet::new(), on_bad }
    }

    /// The key of a sample; `wanted` is the one that its source gives it.
    pub(crate) fn give(&mut self, name: &OsStr, wanted: Option<&str>, extension: &str) -> Result<Given, PackError> {
        let Some(wanted) = wanted else {
            return Ok(Given::Key(self.keys.give(name.as_bytes(), stem(name, extension))));
        };
        let twice = !self.wanted.insert(xxh3_128(wanted.as_bytes()));
        if twice && self.on_bad == OnBadImage::Fail {
            return Err(PackError::DuplicateKey { name: name.into(), key: wanted.into() });
        }
        let bad = |what: String| BadItem { name: name.into(), kind: "duplicate_key".into(), what };
        if twice && self.on_bad == OnBadImage::Skip {
            return Ok(Given::Skipped(bad(format!("key {wanted} is there twice"))));
        }
        let key = self.keys.give(wanted.as_bytes(), wanted.as_bytes());
        Ok(match twice {
            true => Given::Renamed(key.clone(), bad(format!("key {wanted} is there twice; this one is called {key}"))),
            false => Given::Key(key),
        })
    }
}

/// Samples with keys and labels, the names of their classes, and what was found on the way.
pub(crate) struct Ordered {
    pub(crate) jobs: Vec<Job>,
    pub(crate) classes: Vec<String>,
    pub(crate) bad: Vec<BadItem>,
}

/// Gives keys and labels and sorts.
pub(crate) fn order(
    items: Vec<RawItem>,
    classes: Classes,
    mut keys: KeyGiver,
    shuffle: Shuffle,
) -> Result<Ordered, PackError> {
    let labels = Labels::new(classes, items.iter().map(|item| (&item.label, &*item.name)))?;
    let (mut jobs, mut bad) = (Vec::with_capacity(items.len()), Vec::new());
    for RawItem { name, key, label, picture, others } in items {
        let key = match keys.give(&name, key.as_deref(), &picture.extension)? {
            Given::Key(key) => key,
            Given::Renamed(key, note) => {
                bad.push(note);
                key
            }
            Given::Skipped(note) => {
                bad.push(note);
                continue;
            }
        };
        let label = labels.number(&label, &name)?;
        jobs.push(Job { key, name, label, picture, others });
    }
    sort(&mut jobs, shuffle);
    Ok(Ordered { jobs, classes: labels.names, bad })
}

/// Sorts into the order of packing.
pub(crate) fn sort(jobs: &mut [Job], shuffle: Shuffle) {
    jobs.sort_unstable_by(|a, b| shuffle.place(&a.key).cmp(&shuffle.place(&b.key)).then_with(|| a.key.cmp(&b.key)));
}

/// The numbers of classes.
pub(crate) struct Labels {
    names: Vec<String>,
    numbers: HashMap<Arc<str>, u32>,
    fixed: bool,
}

impl Labels {
    pub(crate) fn new<'a>(
        classes: Classes,
        labels: impl Iterator<Item = (&'a Label, &'a OsStr)>,
    ) -> Result<Self, PackError> {
        let fixed = matches!(classes, Classes::Fixed(_));
        let names = match classes {
            Classes::Fixed(names) => names,
            Classes::Found => found(labels)?,
        };
        if names.len() as u64 > u64::from(u32::MAX) {
            return Err(PackError::Config("more than 2^32 classes".into()));
        }
        let numbers = names.iter().enumerate().map(|(number, name)| (name.as_str().into(), number as u32)).collect();
        Ok(Self { names, numbers, fixed })
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.names
    }

    pub(crate) fn number(&self, label: &Label, name: &OsStr) -> Result<Option<u32>, PackError> {
        let unknown = |class: String| PackError::UnknownClass { name: name.into(), class };
        match label {
            Label::None => Ok(None),
            Label::Number(number) if self.fixed && *number as usize >= self.names.len() => {
                Err(unknown(format!("{number} (there are {})", self.names.len())))
            }
            Label::Number(number) => Ok(Some(*number)),
            Label::Class(class) => match self.numbers.get(class) {
                Some(number) => Ok(Some(*number)),
                None => Err(unknown(class.to_string())),
            },
        }
    }
}

/// All names of classes in byte order; numbers and names cannot be mixed, since nothing says what the numbers mean.
fn found<'a>(labels: impl Iterator<Item = (&'a Label, &'a OsStr)>) -> Result<Vec<String>, PackError> {
    let (mut names, mut number) = (BTreeSet::new(), None);
    for (label, name) in labels {
        match label {
            Label::None => {}
            Label::Number(_) => number = Some(name),
            Label::Class(class) => {
                names.insert(class.clone());
            }
        }
    }
    match (names.first(), number) {
        (Some(class), Some(name)) => Err(PackError::MixedLabels { name: name.into(), class: class.to_string() }),
        _ => Ok(names.into_iter().map(|name| name.to_string()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Place;

    fn item(name: &str, key: Option<&str>, label: Label) -> RawItem {
        let picture = Part { extension: "jpg".into(), place: Place::Own, length: 1, xxh3: None };
        RawItem { name: OsStr::new(name).into(), key: key.map(Into::into), label, picture, others: Vec::new() }
    }

    fn ordered(items: &[RawItem], classes: Classes, on_bad: OnBadImage, seed: u64) -> Result<Ordered, PackError> {
        order(items.to_vec(), classes, KeyGiver::new(on_bad), Shuffle::new(seed))
    }

    fn keys(ordered: &Ordered) -> Vec<&str> {
        ordered.jobs.iter().map(|job| &*job.key).collect()
    }

    #[test]
    fn the_order_follows_from_keys_and_seed_alone() {
        let items: Vec<RawItem> = (0..200).map(|i| item(&format!("{i}.jpg"), None, Label::None)).collect();
        let reversed: Vec<RawItem> = items.iter().rev().cloned().collect();
        let first = ordered(&items, Classes::Found, OnBadImage::Fail, 5).unwrap();
        let second = ordered(&reversed, Classes::Found, OnBadImage::Fail, 5).unwrap();
        assert_eq!(keys(&first), keys(&second));
        let other = ordered(&items, Classes::Found, OnBadImage::Fail, 6).unwrap();
        assert_ne!(keys(&first), keys(&other));
        // Leaving one out moves no other.
        let fewer = ordered(&items[1..], Classes::Found, OnBadImage::Fail, 5).unwrap();
        assert_eq!(keys(&fewer), keys(&first).into_iter().filter(|key| *key != "0").collect::<Vec<_>>());
    }

    #[test]
    fn places_are_spread_evenly() {
        let shuffle = Shuffle::new(0);
        let mut counts = [0u32; 16];
        (0..16_000).for_each(|i| counts[(shuffle.place(&format!("n0_{i}")) >> 60) as usize] += 1);
        let chi2: f64 = counts.iter().map(|&count| (f64::from(count) - 1000.0).powi(2) / 1000.0).sum();
        // 15 degrees of freedom: above 44.3 once in ten thousand.
        assert!(chi2 < 44.3, "{chi2}");
    }

    #[test]
    fn classes_are_numbered_in_byte_order_or_as_listed() {
        let class = |name: &str| Label::Class(name.into());
        let items =
            [item("x/1.jpg", None, class("b")), item("x/2.jpg", None, class("B")), item("y.jpg", None, class("a"))];
        let labels = |ordered: Ordered| {
            let mut labels: Vec<_> = ordered.jobs.iter().map(|job| (job.key.to_string(), job.label)).collect();
            labels.sort();
            labels.into_iter().map(|(_, label)| label.unwrap()).collect::<Vec<_>>()
        };
        let found = ordered(&items, Classes::Found, OnBadImage::Fail, 0).unwrap();
        assert_eq!(found.classes, ["B", "a", "b"]);
        assert_eq!(labels(found), [2, 0, 1]);
        let fixed = Classes::Fixed(["a", "b", "B", "c"].map(String::from).to_vec());
        assert_eq!(labels(ordered(&items, fixed, OnBadImage::Fail, 0).unwrap()), [1, 2, 0]);
        let fixed = Classes::Fixed(["a", "b"].map(String::from).to_vec());
        let error = ordered(&items, fixed.clone(), OnBadImage::Fail, 0).err().unwrap().to_string();
        assert!(error.contains("x/2.jpg") && error.contains('B'), "{error}");
        let beyond = ordered(&[item("z.jpg", None, Label::Number(2))], fixed, OnBadImage::Fail, 0);
        assert!(beyond.err().unwrap().to_string().contains("z.jpg"));
        let mixed = [item("x.jpg", None, Label::Number(1)), item("y.jpg", None, class("a"))];
        assert!(ordered(&mixed, Classes::Found, OnBadImage::Fail, 0).is_err());
    }

    #[test]
    fn a_key_that_is_there_twice_is_treated_as_told() {
        let items = ["a/1.jpg", "b/1.jpg"].map(|name| item(name, Some("same"), Label::None));
        let error = ordered(&items, Classes::Found, OnBadImage::Fail, 0).err().unwrap().to_string();
        assert!(error.contains("b/1.jpg") && error.contains("same"), "{error}");
        let skipped = ordered(&items, Classes::Found, OnBadImage::Skip, 0).unwrap();
        assert_eq!((keys(&skipped), skipped.bad.len()), (vec!["same"], 1));
        let kept = ordered(&items, Classes::Found, OnBadImage::Keep, 0).unwrap();
        assert_eq!((kept.jobs.len(), &*kept.bad[0].kind), (2, "duplicate_key"));
        assert!(keys(&kept).contains(&"same-2"));
        // Keys that only look the same once they are plain are not the same.
        let alike = [item("a/1.jpg", Some("x/y"), Label::None), item("b/1.jpg", Some("x_y"), Label::None)];
        let given = ordered(&alike, Classes::Found, OnBadImage::Fail, 0).unwrap();
        assert_eq!((given.jobs.len(), given.bad.len()), (2, 0));
    }
}
