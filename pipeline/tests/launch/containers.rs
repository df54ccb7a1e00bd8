//! The container files, as far as they can be looked over without an engine.

use mugs_test_support::checkout;

use crate::commands::{bash_reads, calls, configuration, read};

/// The instructions of a Dockerfile with their arguments, continued lines joined.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> =
        dockerfile.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect();
    let joined = lines.join("\n").replace("\\\n", "");
    let instruction = |line: &str| {
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        (name.to_owned(), arguments.trim().to_owned())
    };
    joined.lines().map(instruction).collect()
}

#[test]
fn the_dockerfile_copies_what_exists_and_runs_what_bash_reads() {
    let text = read("examples/Dockerfile");
    let instructions = instructions(&text);
    let stages: Vec<&str> = instructions.iter().filter(|(name, _)| name == "FROM").map(|(_, from)| &**from).collect();
    assert_eq!(stages, ["debian:12 AS build", "debian:12-slim"]);
    let known = ["ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "CMD"];
    let (mut copied, mut ran) = (0, 0);
    for (name, arguments) in &instructions {
        assert!(known.contains(&&**name), "{name} {arguments}");
        match &**name {
            "RUN" => {
                bash_reads(arguments, arguments);
                ran += 1;
            }
            "COPY" if arguments.starts_with("--from=build ") => {
                let made = ["/opt/mugs/.libtorch/venv/lib", "/opt/mugs/target/release/mugs-pipeline"];
                assert!(made.iter().any(|path| arguments.contains(path)), "{arguments}");
                copied += 1;
            }
            "COPY" => {
                let sources: Vec<&str> = arguments.split(' ').collect();
                for source in &sources[..sources.len() - 1] {
                    assert!(checkout().join(source).exists(), "COPY {source}");
                }
                copied += 1;
            }
            _ => (),
        }
    }
    assert_eq!((copied, ran), (4, 4));
    // The argument must be taken into the stage that uses it, or it is empty there.
    let used = text.find("CUDA=\"$CUDA\" scripts/setup.sh").unwrap();
    assert!(text[..used].rfind("\nARG CUDA\n") > text[..used].rfind("FROM "), "ARG CUDA is missing in its stage");
}

#[test]
fn what_the_image_is_built_from_is_not_ignored() {
    let ignored = read("examples/Dockerfile.dockerignore");
    let ignored: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    let manifest = read("Cargo.toml");
    let members: Vec<&str> =
        manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap().split('"').collect();
    for member in members.into_iter().skip(1).step_by(2).chain(["scripts", "Cargo.toml", "Cargo.lock", ".cargo"]) {
        assert!(checkout().join(member).exists(), "{member}");
        assert!(!ignored.iter().any(|path| member.starts_with(path)), "{member} is ignored");
    }
}

/// The sections of a definition file: name, text.
fn sections(definition: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = vec![("header".into(), String::new())];
    for line in definition.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('%') {
            sections.push((name.trim().into(), String::new()));
        } else if line.starts_with("Bootstrap:") && sections.len() > 1 {
            sections.push(("header".into(), format!("{line}\n")));
        } else {
            let text = &mut sections.last_mut().unwrap().1;
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

#[test]
fn the_apptainer_definition_copies_what_a_build_needs_and_runs_what_bash_reads() {
    let sections = sections(&read("examples/apptainer.def"));
    let names: Vec<&str> = sections.iter().map(|(name, _)| &**name).collect();
    let expected = ["header", "arguments", "files", "post", "header", "files from build", "post", "test", "runscript"];
    assert_eq!(names, expected);
    let (first, second) = (&sections[0].1, &sections[4].1);
    assert!(first.contains("From: debian:12\nStage: build\n"), "{first}");
    assert!(second.contains("From: debian:12-slim\nStage: run\n"), "{second}");
    let mut copied = Vec::new();
    for line in sections[2].1.lines().filter(|line| !line.trim().is_empty()) {
        let source = line.split_whitespace().next().unwrap();
        assert!(checkout().join(source).exists(), "%files {source}");
        copied.push(source);
    }
    // The build needs every member of the workspace, and what cargo and the set-up read beside them.
    let manifest = read("Cargo.toml");
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    for member in members.split('"').skip(1).step_by(2).chain(["scripts", "Cargo.toml", "Cargo.lock", ".cargo"]) {
        assert!(copied.iter().any(|source| member.split('/').next() == Some(source)), "%files lacks {member}");
    }
    for (name, text) in &sections {
        if ["post", "test", "runscript"].contains(&&**name) {
            bash_reads(&text.replace("{{ CUDA }}", "1"), name);
        }
    }
    assert!(sections[3].1.contains(r#"CUDA="{{ CUDA }}" scripts/setup.sh"#) && sections[1].1.trim() == "CUDA=0");
}

#[test]
fn the_commands_in_their_heads_give_flags_that_exist() {
    for path in ["examples/Dockerfile", "examples/apptainer.def"] {
        let text = read(path);
        let head: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
        let calls = calls(&head.join("\n"));
        assert!(!calls.is_empty(), "{path}");
        calls.iter().for_each(|call| drop(configuration(call)));
    }
}
