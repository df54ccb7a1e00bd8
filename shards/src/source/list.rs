//! A list file: the path of each picture, its label and perhaps its key, as TSV or JSON lines.
//!
//! TSV: `path`, `label`, `key`, the last two of them optional; blank lines and lines that begin with `#` are left out.
//! JSON lines: `{"path": …, "label": …, "key": …}`, the label a text or a number. Paths are relative to the list's
//! folder. An empty label or key is none. In TSV, labels are numbers if all of them are digits, else names of classes.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::folder::picture_extension;
use super::{Classes, Ignored, Label, Listing, Part, Place, RawItem};
use crate::pack::PackError;

/// One line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    #[serde(default)]
    label: Option<EntryLabel>,
    #[serde(default)]
    key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "the label must be a text or a whole number from 0 to 4294967295")]
enum EntryLabel {
    Number(u32),
    Name(String),
}

/// Reads a list.
///
/// # Errors
/// The list or a picture of it cannot be read, or a line is malformed; file and line are named.
pub(crate) fn list(path: &Path, classes: Classes) -> Result<Listing, PackError> {
    let text = super::read_text(path)?;
    let name = path.to_string_lossy().to_ascii_lowercase();
    let json = name.ends_with(".jsonl") || name.ends_with(".ndjson");
    let root = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut items = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || (!json && line.starts_with('#')) {
            continue;
        }
        let fault = |reason: String| PackError::Source { path: path.into(), line: Some(number as u64 + 1), reason };
        let entry = if json { json_line(line) } else { tsv_line(line) }.map_err(fault)?;
        items.push(item(&root, entry).map_err(fault)?);
    }
    if !json {
        numbers(&mut items);
    }
    Ok(Listing {
        root,
        files: Vec::new(),
        items,
        classes,
        ignored: Ignored::default(),
        bad: Vec::new(),
        warnings: Vec::new(),
    })
}

fn json_line(line: &str) -> Result<Entry, String> {
    serde_json::from_str(line).map_err(|error| format!("it is not {{\"path\", \"label\", \"key\"}} ({error})"))
}

fn tsv_line(line: &str) -> Result<Entry, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let (path, label, key) = match fields[..] {
        [path] => (path, "", ""),
        [path, label] => (path, label, ""),
        [path, label, key] => (path, label, key),
        _ => return Err(format!("it has {} fields: path, label and key are separated by tabs", fields.len())),
    };
    let label = Some(EntryLabel::Name(label.into()));
    Ok(Entry { path: path.into(), label, key: Some(key.trim().into()) })
}

fn item(root: &Path, entry: Entry) -> Result<RawItem, String> {
    let Entry { path, label, key } = entry;
    if path.is_empty() {
        return Err("there is no path".into());
    }
    let full = root.join(&path);
    let Some(extension) = picture_extension(&full) else {
        return Err(format!("{path} is not named like a picture"));
    };
    let length = match fs::metadata(&full) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(format!("{} is no regular file", full.display())),
        Err(error) => return Err(format!("cannot read {}: {error}", full.display())),
    };
    let label = match label {
        Some(EntryLabel::Number(number)) => Label::Number(number),
        Some(EntryLabel::Name(name)) if !name.trim().is_empty() => Label::Class(name.trim().into()),
        None | Some(EntryLabel::Name(_)) => Label::None,
    };
    let key = key.filter(|key| !key.trim().is_empty());
    let picture = Part { extension: extension.into(), place: Place::Own, length, xxh3: None };
    let (name, key) = (std::ffi::OsString::from(path).into(), key.map(Into::into));
    Ok(RawItem { name, key, label, picture, others: Vec::new() })
}

/// Makes numbers of labels that are all digits.
fn numbers(items: &mut [RawItem]) {
    let number = |label: &Label| match label {
        Label::Class(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => name.parse().ok().map(Label::Number),
        Label::None => Some(Label::None),
        _ => None,
    };
    let Some(labels) = items.iter().map(|item| number(&item.label)).collect::<Option<Vec<Label>>>() else { return };
    items.iter_mut().zip(labels).for_each(|(item, label)| item.label = label);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Result<Vec<RawItem>, String> {
        let folder = tempfile::tempdir().unwrap();
        for picture in ["a.jpg", "b.PNG"] {
            fs::write(folder.path().join(picture), b"xyz").unwrap();
        }
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        list(&path, Classes::Found).map(|listing| listing.items).map_err(|error| error.to_string())
    }

    #[test]
    fn tsv_gives_paths_labels_and_keys() {
        let items = of("l.tsv", "# pictures\na.jpg\tcat\tone\n\nb.PNG\t7\n").unwrap();
        assert_eq!((items[0].name.to_str(), items[0].key.as_deref()), (Some("a.jpg"), Some("one")));
        assert_eq!((&items[0].label, &items[1].label), (&Label::Class("cat".into()), &Label::Class("7".into())));
        assert_eq!((&*items[1].picture.extension, items[1].picture.length), ("png", 3));
        let numbers = of("l.tsv", "a.jpg\t3\nb.PNG\t12\n").unwrap();
        assert_eq!((&numbers[0].label, &numbers[1].label), (&Label::Number(3), &Label::Number(12)));
        assert_eq!(of("l.txt", "a.jpg\nb.PNG").unwrap()[1].label, Label::None);
    }

    #[test]
    fn json_lines_give_the_same() {
        let items =
            of("l.jsonl", "{\"path\":\"a.jpg\",\"label\":\"cat\",\"key\":\"k\"}\n{\"path\":\"b.PNG\",\"label\":4}\n");
        let items = items.unwrap();
        assert_eq!((items[0].key.as_deref(), &items[0].label), (Some("k"), &Label::Class("cat".into())));
        assert_eq!((items[1].key.as_deref(), &items[1].label), (None, &Label::Number(4)));
    }

    #[test]
    fn what_is_empty_is_none() {
        let tsv = of("l.tsv", "a.jpg\t\t\nb.PNG\t \t ").unwrap();
        let json =
            of("l.jsonl", "{\"path\":\"a.jpg\",\"label\":\"\",\"key\":\"\"}\n{\"path\":\"b.PNG\",\"label\":null}")
                .unwrap();
        assert_eq!(tsv, json);
        assert!(tsv.iter().all(|item| item.label == Label::None && item.key.is_none()));
        // Those without a label do not make names of the others' numbers.
        let some = of("l.tsv", "a.jpg\t5\nb.PNG").unwrap();
        assert_eq!((&some[0].label, &some[1].label), (&Label::Number(5), &Label::None));
    }

    #[test]
    fn faults_name_file_and_line() {
        for (name, text, said) in [
            ("l.tsv", "a.jpg\tx\ty\tz", "l.tsv, line 1: it has 4 fields"),
            ("l.tsv", "a.jpg\n\tcat", "l.tsv, line 2: there is no path"),
            ("l.tsv", "a.jpg\n#\nc.jpg", "line 3: cannot read"),
            ("l.tsv", "l.tsv", "line 1: l.tsv is not named like a picture"),
            ("l.jsonl", "{\"file\":\"a.jpg\"}", "line 1: it is not {"),
            ("l.jsonl", "{\"path\":\"a.jpg\"}\n{", "line 2: it is not {"),
            (
                "l.jsonl",
                "{\"path\":\"a.jpg\",\"label\":-1}",
                "line 1: it is not {\"path\", \"label\", \"key\"} (the label must",
            ),
        ] {
            let error = of(name, text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
