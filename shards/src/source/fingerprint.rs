//! Telling whether a source is what it was, without reading its pictures.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Label, Listing, Opened, Place, RawItem, SourceOptions, open};
use crate::checksum::{Checksum, Hasher};
use crate::pack::PackError;

/// What a source holds, as far as its folders tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of all samples' names, labels, lengths and the times at which their files were last written to, in the source's
    /// order. A picture that changes and keeps its length and its time changes nothing here.
    pub checksum: Checksum,
    /// How many samples there are.
    pub samples: u64,
    /// Bytes of their pictures.
    pub bytes: u64,
}

/// Lists a source whose samples can be read in any order (a folder, a list, plain shards); no picture is read.
///
/// # Errors
/// The source cannot be listed or packed, or it can only be read once.
pub fn fingerprint(source: &Path, options: &SourceOptions) -> Result<Fingerprint, PackError> {
    let Opened::Listed(listing) = open(source, options)? else {
        let reason = "it can only be read from beginning to end, so nothing tells whether it has changed".into();
        return Err(PackError::Source { path: source.into(), line: None, reason });
    };
    let mut hasher = Hasher::default();
    listing.files.iter().try_for_each(|file| add_time(&mut hasher, file))?;
    for item in &listing.items {
        add_text(&mut hasher, item.name.as_bytes());
        add_text(&mut hasher, label(&item.label).as_bytes());
        add_parts(&mut hasher, &listing, item)?;
    }
    Ok(Fingerprint {
        checksum: hasher.finish(),
        samples: listing.items.len() as u64,
        bytes: listing.items.iter().map(|item| item.picture.length).sum(),
    })
}

fn add_parts(hasher: &mut Hasher, listing: &Listing, item: &RawItem) -> Result<(), PackError> {
    for part in std::iter::once(&item.picture).chain(&item.others) {
        add_text(hasher, part.extension.as_bytes());
        hasher.update(&part.length.to_le_bytes());
        match part.place {
            Place::Own => add_time(hasher, &listing.root.join(&*item.name))?,
            Place::Range { file, offset } => {
                hasher.update(&file.to_le_bytes());
                hasher.update(&offset.to_le_bytes());
            }
        }
    }
    Ok(())
}

fn add_time(hasher: &mut Hasher, path: &Path) -> Result<(), PackError> {
    let metadata = fs::metadata(path).map_err(|source| PackError::Read { path: path.into(), source })?;
    hasher.update(&metadata.mtime().to_le_bytes());
    hasher.update(&metadata.mtime_nsec().to_le_bytes());
    Ok(())
}

/// With its length before it, so that two texts are not two others.
fn add_text(hasher: &mut Hasher, text: &[u8]) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text);
}

fn label(label: &Label) -> String {
    match label {
        Label::None => String::new(),
        Label::Class(name) => format!("class {name}"),
        Label::Number(number) => format!("number {number}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use tempfile::TempDir;

    use super::*;

    fn tree() -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("pictures");
        for (name, length) in [("a/1.jpg", 10), ("a/2.png", 20), ("b/3.jpg", 30), ("b/notes.txt", 40)] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![7; length]).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        (folder, root)
    }

    fn of(root: &Path) -> Fingerprint {
        fingerprint(root, &SourceOptions::default()).unwrap()
    }

    #[test]
    fn equal_folders_are_equal_wherever_they_are() {
        let ((_one, one), (_two, two)) = (tree(), tree());
        assert_eq!(of(&one), of(&two));
        assert_eq!((of(&one).samples, of(&one).bytes), (3, 60));
    }

    #[test]
    fn whatever_changes_a_set_changes_it() {
        let changes: [fn(&Path); 5] = [
            |root| fs::write(root.join("a/1.jpg"), vec![7; 11]).unwrap(),
            |root| {
                File::options().write(true).open(root.join("a/2.png")).unwrap().set_modified(SystemTime::now()).unwrap()
            },
            |root| fs::rename(root.join("a/1.jpg"), root.join("a/0.jpg")).unwrap(),
            |root| fs::rename(root.join("a/1.jpg"), root.join("b/1.jpg")).unwrap(),
            |root| fs::remove_file(root.join("a/2.png")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (_folder, root) = tree();
            let before = of(&root);
            change(&root);
            assert_ne!(of(&root).checksum, before.checksum, "change {number}");
        }
        let (_folder, root) = tree();
        let before = of(&root);
        fs::write(root.join("b/notes.txt"), "no picture").unwrap();
        assert_eq!(of(&root), before);
    }
}
