//! Members become samples, as in webdataset: files that differ in their extensions only, one behind the other.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::shown;
use super::{Dots, MemberKind, TarMember, split_name};

/// The files of a tar that make one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupedSample {
    /// The path that they share, as stored in the tar, up to the dot that begins the extension.
    pub key: Vec<u8>,
    /// At least one, in the order of the tar, no two with the same extension.
    pub members: Vec<GroupedMember>,
}

/// One file of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupedMember {
    /// In lower case, without its dot.
    pub extension: String,
    /// Where the data begin, in bytes from the start of the tar.
    pub offset: u64,
    /// Length of the data in bytes.
    pub length: u64,
}

/// How many members were no part of a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Folders.
    pub folders: u64,
    /// Symbolic and hard links.
    pub links: u64,
    /// Devices, volume labels and the like.
    pub others: u64,
    /// Files whose names have no extension or begin with a dot.
    pub without_extension: u64,
}

impl Passed {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.folders + self.links + self.others + self.without_extension
    }
}

/// A member that fits no sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A sample has two files of one extension.
    #[error("{path}: sample {key} has a second {extension}, at offset {offset}")]
    Duplicate {
        /// The tar.
        path: PathBuf,
        /// The sample.
        key: String,
        /// The extension.
        extension: String,
        /// Where the second one's header begins, in bytes from the start of the tar.
        offset: u64,
    },
    /// The files of a sample are not one behind the other, or two samples have the same key.
    #[error(
        "{path}: {key}.{extension} at offset {offset} is not next to the other files of {key}: sort the names before \
         making the tar (tar --sort=name)"
    )]
    NotAdjacent {
        /// The tar.
        path: PathBuf,
        /// The sample.
        key: String,
        /// The extension.
        extension: String,
        /// Where the file's header begins, in bytes from the start of the tar.
        offset: u64,
    },
    /// A name with characters that would break a list of names.
    #[error("{path}: the name {name:?} at offset {offset} has control characters")]
    ControlCharacter {
        /// The tar.
        path: PathBuf,
        /// The name, with its control characters escaped.
        name: String,
        /// Where the file's header begins, in bytes from the start of the tar.
        offset: u64,
    },
}

/// Groups the members of one tar into samples.
///
/// ```
/// use mugs_shards::tar::{Dots, Grouper, MemberKind, TarMember};
///
/// # fn main() -> Result<(), mugs_shards::tar::GroupError> {
/// let member = |name: &str, header| TarMember {
///     name: name.into(),
///     header,
///     offset: header + 512,
///     length: 1,
///     kind: MemberKind::File,
/// };
/// let mut grouper = Grouper::new("x.tar".as_ref(), Dots::First);
/// assert!(grouper.push(&member("a.jpg", 0))?.is_none());
/// assert!(grouper.push(&member("a.cls", 1024))?.is_none());
/// let sample = grouper.push(&member("b.jpg", 2048))?.expect("the first sample is complete");
/// assert_eq!((&sample.key[..], sample.members.len()), (&b"a"[..], 2));
/// assert_eq!(grouper.finish().expect("the last sample").key, b"b");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Grouper {
    path: PathBuf,
    dots: Dots,
    current: Option<GroupedSample>,
    /// The keys of the samples before the current one.
    seen: HashSet<Vec<u8>>,
    passed: Passed,
}

impl Grouper {
    /// Groups by the rule `dots`; `path` is what errors call the tar.
    pub fn new(path: &Path, dots: Dots) -> Self {
        Self { path: path.into(), dots, current: None, seen: HashSet::new(), passed: Passed::default() }
    }

    /// Takes the next member. Gives the sample before it if it begins another one.
    ///
    /// # Errors
    /// The member fits no sample. It is left out then, and the next one can be pushed as if it had not been there.
    pub fn push(&mut self, member: &TarMember) -> Result<Option<GroupedSample>, GroupError> {
        let passed = match member.kind {
            MemberKind::File => None,
            MemberKind::Folder => Some(&mut self.passed.folders),
            MemberKind::Link => Some(&mut self.passed.links),
            MemberKind::Other(_) => Some(&mut self.passed.others),
        };
        if let Some(passed) = passed {
            *passed += 1;
            return Ok(None);
        }
        if member.name.iter().any(u8::is_ascii_control) {
            let (path, name) = (self.path.clone(), shown(&member.name));
            return Err(GroupError::ControlCharacter { path, name, offset: member.header });
        }
        let Some((key, extension)) = split_name(&member.name, self.dots) else {
            self.passed.without_extension += 1;
            return Ok(None);
        };
        self.add(key, GroupedMember { extension, offset: member.offset, length: member.length }, member.header)
    }

    /// Gives the last sample.
    pub fn finish(&mut self) -> Option<GroupedSample> {
        let last = self.current.take()?;
        self.seen.insert(last.key.clone());
        Some(last)
    }

    /// How many of the members so far were no part of a sample.
    pub fn passed(&self) -> Passed {
        self.passed
    }

    fn add(&mut self, key: &[u8], member: GroupedMember, offset: u64) -> Result<Option<GroupedSample>, GroupError> {
        if let Some(current) = self.current.as_mut().filter(|current| current.key == key) {
            if current.members.iter().any(|other| other.extension == member.extension) {
                let (path, key, extension) = (self.path.clone(), shown(key), member.extension);
                return Err(GroupError::Duplicate { path, key, extension, offset });
            }
            current.members.push(member);
            return Ok(None);
        }
        if self.seen.contains(key) {
            let (path, key, extension) = (self.path.clone(), shown(key), member.extension);
            return Err(GroupError::NotAdjacent { path, key, extension, offset });
        }
        let complete = self.finish();
        self.current = Some(GroupedSample { key: key.to_vec(), members: vec![member] });
        Ok(complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes members of these names, one per 1024 bytes; names ending in a slash are folders.
    fn group(names: &[&str], dots: Dots) -> (Vec<(String, String)>, Vec<GroupError>, Passed) {
        let mut grouper = Grouper::new(Path::new("x.tar"), dots);
        let (mut samples, mut errors) = (Vec::new(), Vec::new());
        for (number, name) in names.iter().enumerate() {
            let header = 1024 * number as u64;
            let kind = if name.ends_with('/') { MemberKind::Folder } else { MemberKind::File };
            match grouper.push(&TarMember {
                name: name.as_bytes().into(),
                header,
                offset: header + 512,
                length: 1,
                kind,
            }) {
                Ok(sample) => samples.extend(sample),
                Err(error) => errors.push(error),
            }
        }
        samples.extend(grouper.finish());
        let text = |sample: GroupedSample| {
            let extensions: Vec<String> = sample.members.into_iter().map(|member| member.extension).collect();
            (String::from_utf8(sample.key).unwrap(), extensions.join(" "))
        };
        (samples.into_iter().map(text).collect(), errors, grouper.passed())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, extensions)| (key.to_string(), extensions.to_string())).collect()
    }

    #[test]
    fn neighbours_make_samples() {
        let names = ["x/", "x/a.JPG", "x/a.cls", "README", "y/a.jpg", "y/.b.jpg", "y/a.cls"];
        let (samples, errors, passed) = group(&names, Dots::First);
        assert_eq!(samples, pairs(&[("x/a", "jpg cls"), ("y/a", "jpg cls")]));
        assert_eq!(errors, []);
        assert_eq!(passed, Passed { folders: 1, links: 0, others: 0, without_extension: 2 });
        assert_eq!(passed.total(), 3);
    }

    #[test]
    fn a_second_file_of_an_extension_is_an_error() {
        let (samples, errors, _) = group(&["a.jpg", "a.JPG", "a.cls"], Dots::First);
        assert_eq!(samples, pairs(&[("a", "jpg cls")]));
        assert_eq!(errors[0].to_string(), "x.tar: sample a has a second jpg, at offset 1024");
    }

    #[test]
    fn torn_samples_are_errors() {
        let (samples, errors, _) = group(&["a.jpg", "b.jpg", "a.cls", "b.cls"], Dots::First);
        assert_eq!(samples, pairs(&[("a", "jpg"), ("b", "jpg cls")]));
        assert!(matches!(&errors[..], [GroupError::NotAdjacent { key, offset: 2048, .. }] if key == "a"), "{errors:?}");
    }

    #[test]
    fn the_rule_for_dots_decides_what_belongs_together() {
        let names = ["x/Track 2.0.jpg", "x/Track 2.1.jpg"];
        assert_eq!(group(&names, Dots::First).0, pairs(&[("x/Track 2", "0.jpg 1.jpg")]));
        assert_eq!(group(&names, Dots::Last).0, pairs(&[("x/Track 2.0", "jpg"), ("x/Track 2.1", "jpg")]));
    }

    #[test]
    fn control_characters_are_errors() {
        for name in ["a\tb.jpg", "a\n.jpg", "a.j\u{7f}g"] {
            let (samples, errors, _) = group(&[name, "b.jpg"], Dots::First);
            assert_eq!(samples, pairs(&[("b", "jpg")]));
            assert!(matches!(errors[..], [GroupError::ControlCharacter { offset: 0, .. }]), "{errors:?}");
        }
    }
}
