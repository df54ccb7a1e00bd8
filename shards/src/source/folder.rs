//! A folder of class folders, in the order of the published loader (torchvision's `ImageFolder`), or a flat folder.
//!
//! Classes are the folders of the root, numbered in byte order of their names. Below a class, folders come in byte
//! order of their paths as texts (`a-b` before `a/c`, which comparing by components would turn round), the files of
//! each in byte order of their names. Symbolic links are followed. What a picture is, is told by the end of its name in
//! any case; every other file is counted and reported. A folder with pictures but without class folders is flat: its
//! samples have no labels.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Classes, Ignored, Label, Listing, Part, Place, RawItem};
use crate::index::PICTURE_EXTENSIONS;
use crate::pack::PackError;

/// How a folder's sub-folders are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Class folders if there are any with pictures, else flat.
    Any,
    Classes,
    Flat,
}

/// Lists `root`; no file is opened.
///
/// # Errors
/// A folder cannot be read, a link leads in a circle, a class has no pictures or there is no class.
pub(crate) fn list(root: &Path, layout: Layout, classes: Classes) -> Result<Listing, PackError> {
    let mut lister = Lister { root, items: Vec::new(), ignored: Ignored::default() };
    lister.root(layout)?;
    let Lister { items, ignored, .. } = lister;
    Ok(Listing { root: root.into(), files: Vec::new(), items, classes, ignored, bad: Vec::new(), warnings: Vec::new() })
}

struct Lister<'a> {
    root: &'a Path,
    items: Vec<RawItem>,
    ignored: Ignored,
}

/// The files of one folder, sorted by name.
struct Folder {
    path: PathBuf,
    files: Vec<Entry>,
}

struct Entry {
    path: PathBuf,
    /// Of what a link leads to; none for a link that leads nowhere.
    metadata: Option<Metadata>,
}

/// A folder's identity and path, for finding circles.
type Ancestor = ((u64, u64), PathBuf);

impl Lister<'_> {
    fn root(&mut self, layout: Layout) -> Result<(), PackError> {
        let entries = read_folder(self.root)?;
        let (classes, beside): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(Entry::is_folder);
        let mut empty = Vec::new();
        for class in classes.iter().filter(|_| layout != Layout::Flat) {
            let before = self.items.len();
            self.class(class)?;
            if self.items.len() == before {
                empty.push(class.path.clone());
            }
        }
        let path = self.root.to_path_buf();
        let loose_picture = beside.iter().any(|entry| picture_extension(&entry.path).is_some());
        match (self.items.is_empty(), layout) {
            (false, _) if !empty.is_empty() => Err(PackError::EmptyClasses { paths: empty }),
            (false, _) => {
                beside.iter().for_each(|entry| self.ignore(&entry.path));
                Ok(())
            }
            (true, Layout::Classes) if loose_picture => Err(PackError::NoClassFolders { path }),
            (true, Layout::Any | Layout::Flat) if loose_picture => {
                // Those of any other layout were looked through, and their files counted.
                classes.iter().filter(|_| layout == Layout::Flat).for_each(|entry| self.ignore(&entry.path));
                beside.into_iter().try_for_each(|file| self.file(file, &Label::None))
            }
            (true, _) => Err(PackError::NoPictures { path }),
        }
    }

    fn class(&mut self, class: &Entry) -> Result<(), PackError> {
        let name = class.path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| PackError::ClassName { path: class.path.clone() })?;
        let label = Label::Class(Arc::from(name));
        let root = fs::metadata(self.root).map_err(|source| PackError::Read { path: self.root.into(), source })?;
        let mut ancestors = vec![(identity(&root), self.root.to_path_buf())];
        let mut folders = Vec::new();
        walk(class, &mut ancestors, &mut folders)?;
        folders.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
        folders.into_iter().flat_map(|folder| folder.files).try_for_each(|file| self.file(file, &label))
    }

    fn file(&mut self, file: Entry, label: &Label) -> Result<(), PackError> {
        let Some(extension) = picture_extension(&file.path) else {
            self.ignore(&file.path);
            return Ok(());
        };
        let length = match &file.metadata {
            Some(metadata) if metadata.is_file() => metadata.len(),
            // Opening a pipe or device could wait for ever.
            Some(_) => return Err(PackError::NotAPicture { path: file.path, reason: "it is no regular file".into() }),
            None => {
                let source = fs::metadata(&file.path).err().unwrap_or_else(|| std::io::ErrorKind::NotFound.into());
                return Err(PackError::Read { path: file.path, source });
            }
        };
        let name = self.relative(&file.path).as_os_str().into();
        let picture = Part { extension: extension.into(), place: Place::Own, length, xxh3: None };
        self.items.push(RawItem { name, key: None, label: label.clone(), picture, others: Vec::new() });
        Ok(())
    }

    fn ignore(&mut self, path: &Path) {
        let relative = self.relative(path).as_os_str().to_owned();
        self.ignored.add(&relative);
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.root).unwrap_or(path)
    }
}

impl Entry {
    fn is_folder(&self) -> bool {
        self.metadata.as_ref().is_some_and(Metadata::is_dir)
    }
}

/// Appends `folder` and all folders below it.
fn walk(folder: &Entry, ancestors: &mut Vec<Ancestor>, folders: &mut Vec<Folder>) -> Result<(), PackError> {
    let Some(own) = folder.metadata.as_ref().map(identity) else { return Ok(()) };
    if let Some((_, target)) = ancestors.iter().find(|(other, _)| *other == own) {
        return Err(PackError::Loop { link: folder.path.clone(), target: target.clone() });
    }
    let (below, files): (Vec<Entry>, Vec<Entry>) = read_folder(&folder.path)?.into_iter().partition(Entry::is_folder);
    folders.push(Folder { path: folder.path.clone(), files });
    ancestors.push((own, folder.path.clone()));
    below.iter().try_for_each(|entry| walk(entry, ancestors, folders))?;
    ancestors.pop();
    Ok(())
}

/// What is in a folder, sorted by name, links followed.
fn read_folder(path: &Path) -> Result<Vec<Entry>, PackError> {
    let fault = |path: &Path, source| PackError::Read { path: path.into(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(|source| fault(path, source))? {
        let path = entry.map_err(|source| fault(path, source))?.path();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if dangling(&path, &error) => None,
            Err(source) => return Err(fault(&path, source)),
        };
        entries.push(Entry { path, metadata });
    }
    entries.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
    Ok(entries)
}

/// Whether a link leads nowhere (or only to itself), which matters only if it is named like a picture.
fn dangling(path: &Path, error: &std::io::Error) -> bool {
    let link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    link && (error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The extension if the file's name ends, in any case, like a picture's.
pub(crate) fn picture_extension(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.as_bytes();
    PICTURE_EXTENSIONS.into_iter().find(|extension| {
        let dot = name.len().checked_sub(extension.len() + 1);
        dot.is_some_and(|dot| name[dot] == b'.' && name[dot + 1..].eq_ignore_ascii_case(extension.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        root
    }

    fn any(root: &Path) -> Result<Listing, PackError> {
        list(root, Layout::Any, Classes::Found)
    }

    fn names(listing: &Listing) -> Vec<(Option<&str>, &str)> {
        fn class(label: &Label) -> Option<&str> {
            if let Label::Class(class) = label { Some(class) } else { None }
        }
        listing.items.iter().map(|item| (class(&item.label), item.name.to_str().unwrap())).collect()
    }

    #[test]
    fn order_and_extensions_are_those_of_the_published_loader() {
        let root = tree(&[
            "b/z.JPEG",
            "b/a/1.png",
            "b/a/c/3.bmp",
            "b/a-b/2.webp",
            "b/A.tif",
            "B/x.jpg",
            "a/.jpg",
            "a/n.txt",
            "a/xjpg",
            "l.png",
        ]);
        let listing = any(root.path()).unwrap();
        let expected = [
            ("B", "B/x.jpg"),
            ("a", "a/.jpg"),
            ("b", "b/A.tif"),
            ("b", "b/z.JPEG"),
            ("b", "b/a/1.png"),
            ("b", "b/a-b/2.webp"),
            ("b", "b/a/c/3.bmp"),
        ];
        assert_eq!(names(&listing), expected.map(|(class, name)| (Some(class), name)));
        assert_eq!((&*listing.items[3].picture.extension, listing.items[3].picture.length), ("jpeg", 1));
        assert_eq!(listing.ignored.count, 3);
        assert_eq!(listing.ignored.first, ["a/n.txt", "a/xjpg", "l.png"]);
    }

    #[test]
    fn links_are_followed_and_circles_are_named() {
        let root = tree(&["a/1.jpg"]);
        let other = tree(&["2.jpg"]);
        symlink(other.path(), root.path().join("b")).unwrap();
        symlink(root.path().join("a/1.jpg"), root.path().join("a/3.jpg")).unwrap();
        symlink("nowhere", root.path().join("a/.lock")).unwrap();
        assert_eq!(any(root.path()).unwrap().items.len(), 3);
        symlink("..", root.path().join("a/up")).unwrap();
        let error = any(root.path()).unwrap_err().to_string();
        assert!(error.contains("a/up") && error.contains("symbolic link"), "{error}");
    }

    #[test]
    fn a_folder_of_pictures_alone_is_flat() {
        let root = tree(&["y.jpg", "x.png", "notes.txt", "empty/n.txt"]);
        let listing = any(root.path()).unwrap();
        assert_eq!(names(&listing), [(None, "x.png"), (None, "y.jpg")]);
        assert_eq!((listing.ignored.count, &*listing.ignored.first.join(" ")), (2, "empty/n.txt notes.txt"));
        let both = tree(&["y.jpg", "a/x.jpg"]);
        assert_eq!(names(&any(both.path()).unwrap()), [(Some("a"), "a/x.jpg")]);
        let flat = list(both.path(), Layout::Flat, Classes::Found).unwrap();
        assert_eq!((names(&flat), flat.ignored.count), (vec![(None, "y.jpg")], 1));
    }

    #[test]
    fn sources_without_pictures_are_told_apart() {
        let text = |files: &[&str]| list(tree(files).path(), Layout::Classes, Classes::Found).unwrap_err().to_string();
        assert!(text(&[]).contains("no pictures"));
        assert!(text(&["a/x.txt"]).contains("no pictures"));
        assert!(text(&["x.jpg", "y.jpg"]).contains("no class folders"));
        let empty = text(&["a/x.jpg", "b/x.gif", "c/d/e.txt"]);
        assert!(empty.contains("/b, ") && empty.contains("/c;"), "{empty}");
        let missing = any(Path::new("/no/such/folder")).unwrap_err();
        assert!(missing.to_string().contains("/no/such/folder"));
    }
}
