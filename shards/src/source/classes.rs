//! The file of `--classes`: names of classes in the order of their numbers.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::pack::PackError;

/// Reads one name per line, or a JSON list of texts.
///
/// # Errors
/// The file cannot be read, is empty, or has a name that is empty or there twice; the line is named.
pub(crate) fn read(path: &Path) -> Result<Vec<String>, PackError> {
    let text = fs::read_to_string(path).map_err(|source| PackError::Read { path: path.into(), source })?;
    let fault = |line, reason: String| PackError::Source { path: path.into(), line, reason };
    let names: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(|error| fault(None, format!("it is no JSON list of names ({error})")))?
    } else {
        text.lines().map(|line| line.trim().to_owned()).collect()
    };
    if names.is_empty() {
        return Err(fault(None, "it has no names".into()));
    }
    let mut seen = HashMap::new();
    for (number, name) in names.iter().enumerate() {
        let line = number as u64 + 1;
        if name.is_empty() {
            return Err(fault(Some(line), "there is no name".into()));
        }
        if let Some(first) = seen.insert(name.as_str(), line) {
            return Err(fault(Some(line), format!("class {name} is already number {first}")));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
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
            ("a\nb\na", "line 3: class a is already number 1"),
            ("[1]", "no JSON list"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
