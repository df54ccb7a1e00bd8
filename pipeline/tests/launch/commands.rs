//! Command lines in documents: found, cut into words, and given to the real parser.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser as _;
use mugs_pipeline::cli::{Cli, Command};
use mugs_pipeline::config::{self, RunConfig};
use mugs_test_support::checkout;

/// A file of the checkout.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The configuration that a command line gives. Panics if it is none, with the parser's sentence.
pub fn configuration(words: &[String]) -> Option<RunConfig> {
    let line = words.join(" ");
    let words = words.iter().map(OsString::from);
    let cli = Cli::try_parse_from(config::normalise_flags(words)).unwrap_or_else(|error| panic!("{line}\n{error}"));
    let sources = match cli.command {
        Command::Train(train) => train.sources,
        Command::Bench(bench) => bench.sources,
        Command::Crops(crops) => crops.sources,
        _ => return None,
    };
    // A file that is only in the reader's mind cannot be read.
    if sources.config.is_some() {
        return None;
    }
    Some(sources.resolve().unwrap_or_else(|error| panic!("{line}\n{error:#}")).config)
}

/// The calls of `mugs-pipeline` in a shell text, each as words from the program's name on; variables are a word.
pub fn calls(shell: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for line in shell.replace("\\\n", " ").lines() {
        let words = words(line);
        // `cargo build -p mugs-pipeline` names the package.
        let is_call = |at: &usize| words[*at] == "mugs-pipeline" && (*at == 0 || words[at - 1] != "-p");
        let Some(start) = (0..words.len()).find(is_call) else { continue };
        let end = words[start..].iter().position(|word| ["&", "|", ">", ";", "&&"].contains(&&**word));
        calls.push(words[start..end.map_or(words.len(), |end| start + end)].to_vec());
    }
    calls
}

/// Cuts a line as a shell does, as far as these texts go: quotes, comments, variables left as they are.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// The shell texts of a document: what stands between ```sh and ```.
pub fn shell_blocks(markdown: &str) -> Vec<&str> {
    markdown.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn words_are_cut_as_a_shell_does() {
    let line = r#"  a "b c" d'e f'g "$X" "" # comment"#;
    assert_eq!(words(line), ["a", "b c", "de fg", "$X", ""]);
    let calls = calls("x; srun a mugs-pipeline train \\\n  --lr 1 &\nmugs-pipeline recipes | head\necho");
    assert_eq!(calls, [vec!["mugs-pipeline", "train", "--lr", "1"], vec!["mugs-pipeline", "recipes"]]);
}

#[test]
fn a_flag_that_does_not_exist_is_noticed() {
    let wrong = calls("mugs-pipeline train --no_such_flag 1").remove(0);
    assert!(std::panic::catch_unwind(|| configuration(&wrong)).is_err());
    let wrong = calls("mugs-pipeline train --dist_url nowhere").remove(0);
    assert!(std::panic::catch_unwind(|| configuration(&wrong)).is_err());
}

/// Every command line of the documents, with the flags that it gives.
#[test]
fn documents_give_flags_that_exist() {
    for (path, least) in [("docs/cluster.md", 14), ("README.md", 4)] {
        let text = read(path);
        let mut count = 0;
        for block in shell_blocks(&text) {
            bash_reads(block, path);
            for call in calls(block) {
                // `...` and `…` stand for more that the reader knows.
                if !call.iter().any(|word| word == "..." || word == "…") {
                    configuration(&call);
                    count += 1;
                }
            }
        }
        assert!(count >= least, "{path}: {count} command lines");
    }
}

#[test]
fn the_page_for_clusters_names_files_that_exist() {
    let text = read("docs/cluster.md");
    let mut count = 0;
    for word in text.split(|character: char| character.is_whitespace() || "()[]`,;".contains(character)) {
        if word.starts_with("examples/") || word.starts_with("scripts/") {
            assert!(checkout().join(word).exists(), "docs/cluster.md names {word}");
            count += 1;
        }
    }
    assert!(count > 5);
}

/// Whether bash finds a script well-formed.
pub fn bash_reads(script: &str, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    std::fs::write(&path, script).unwrap();
    bash_reads_file(&path, what);
}

pub fn bash_reads_file(path: &Path, what: &str) {
    let output = std::process::Command::new("bash").arg("-n").arg(path).output().unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}
