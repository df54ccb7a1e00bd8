//! The file of `--classes`: names of classes in the order of their numbers.

use std::collections::HashMap;
use std::path::Path;

use crate::pack::PackError;

/// Reads one name per line, or a JSON list of texts.
///
/// # Errors
/// The file cannot be read, is empty, or has a name that is empty or there twice; the line, or the place in the JSON
/// list, is named.
pub(crate) fn read(path: &Path) -> Result<Vec<String>, PackError> {
    let text = super::read_text(path)?;
    let fault = |line, reason: String| PackError::Source { path: path.into(), line, reason };
    let json = text.trim_start().starts_with('[');
    let names: Vec<String> = if json {
        serde_json::from_str(&text).map_err(|error| fault(None, format!("it is no JSON list of names ({error})")))?
    } else {
        text.lines().map(|line| line.trim().to_owned()).collect()
    };
    if names.is_empty() {
        return Err(fault(None, "it has no names".into()));
    }
    let mut seen = HashMap::new();
    for (name, number) in names.iter().zip(1u64..) {
        // The lines of a JSON list may be any.
        let fault = |reason: String| match json {
            true => fault(None, format!("name {number}: {reason}")),
            false => fault(Some(number), reason),
        };
        if name.trim().is_empty() {
            return Err(fault("there is no name".into()));
        }
        if let Some(first) = seen.insert(name.as_str(), number) {
            let place = if json { "name" } else { "in line" };
            return Err(fault(format!("class {name} is already {place} {first}")));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(text: &str) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_and_json_are_read_in_their_order() {
        assert_eq!(of("bee\nant \r\n").unwrap(), ["bee", "ant"]);
        assert_eq!(of(r#"["bee", "ant"]"#).unwrap(), ["bee", "ant"]);
    }

    #[test]
    fn faults_name_the_line() {
        for (text, said) in [
            ("", "no names"),
            ("a\n\nb", "line 2: there is no name"),
            ("a\nb\na", "line 3: class a is already in line 1"),
            ("[\"a\",\n\n\" \"]", ": name 2: there is no name"),
            ("[\"a\", \"b\",\n\"a\"]", ": name 3: class a is already name 1"),
            ("[1]", "no JSON list"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
