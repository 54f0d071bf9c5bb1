//! What the commands say of themselves, and that every command that documents and messages tell exists.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::*;

/// All commands that do something, as their words and themselves.
fn leaves(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
    let inner: Vec<&clap::Command> = command.get_subcommands().collect();
    if inner.is_empty() {
        return vec![(path.to_owned(), command.clone())];
    }
    let of = |inner: &&clap::Command| leaves(inner, &format!("{path} {}", inner.get_name()));
    inner.iter().flat_map(of).collect()
}

#[test]
fn each_command_says_what_it_does_what_its_options_mean_and_what_its_exit_codes_are() {
    let leaves = leaves(&tree(), "outbox-relay");
    assert!(leaves.len() > 14, "{}", leaves.len());
    for (name, mut command) in leaves {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Exit codes:"), "{name} tells no exit codes:\n{help}");
        assert!(command.get_about().is_some(), "{name} says not what it does");
        let mut options = command.get_arguments();
        if let Some(option) = options.find(|option| option.get_help().is_none_or(|help| help.to_string().is_empty())) {
            panic!("{name}: --{} has no help", option.get_id());
        }
        let is_for_scripts = command.get_arguments().any(|option| option.get_id() == "json");
        let prints_no_report = ["run", "health", "migrate"].contains(&command.get_name());
        assert!(is_for_scripts != prints_no_report, "{name}: --json");
        let may_change = command.get_arguments().any(|option| option.get_id() == "yes");
        let has_dry_run = command.get_arguments().any(|option| option.get_id() == "dry_run");
        assert_eq!(may_change, has_dry_run, "{name}: --yes and --dry-run");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_text = ["md", "rs", "yaml", "toml", "sql", "py"]
            .iter()
            .any(|ending| name.ends_with(&format!(".{ending}")));
        if path.is_dir() && !["target", "tests", "node_modules"].contains(&name.as_str()) && !name.starts_with('.') {
            files_below(&path, found);
        } else if is_text && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// The text with string literals that are broken over lines put together again, and comments' lines.
fn joined(text: &str, is_rust: bool) -> String {
    let mut joined = String::new();
    for line in text.lines() {
        let line = if is_rust {
            line.trim_start().trim_start_matches("//!").trim_start_matches("///")
        } else {
            line
        };
        match line.strip_suffix('\\') {
            Some(line) => joined.push_str(line),
            None => {
                joined.push_str(line);
                joined.push('\n');
            }
        }
    }
    joined
}

/// What stands between backticks and begins with the program's name, and lines of documents that do.
fn told(text: &str, is_rust: bool) -> Vec<String> {
    let text = joined(text, is_rust);
    let quoted = text.split('`').skip(1).step_by(2);
    let quoted = quoted
        .filter(|said| said.starts_with("outbox-relay "))
        .map(|said| said.replace('\n', " "));
    // Backticks do not pair where a code block stands between.
    let anywhere = text.match_indices("`outbox-relay ").filter_map(|(at, _)| {
        let rest = &text[at + 1..];
        rest.split_once('`').map(|(said, _)| said.replace('\n', " "))
    });
    let lines = text
        .lines()
        .filter(|line| !is_rust && line.starts_with("    outbox-relay "));
    let lines = lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    let mut all: Vec<String> = quoted.chain(anywhere).chain(lines).collect();
    all.sort();
    all.dedup();
    all
}

/// A told command as arguments; what stands for a value is `value`.
fn words(command: &str, value: &str) -> Vec<String> {
    // At the end, "…" is for whatever options there are.
    let command = command.trim_end_matches(['…', ' ']);
    let mut filled = String::new();
    let mut rest = command;
    while let Some((before, after)) = rest.split_once(['{', '<']) {
        filled.push_str(before);
        filled.push_str(value);
        rest = after.split_once(['}', '>']).map_or("", |(_, after)| after);
    }
    filled.push_str(rest);
    let is_placeholder = |word: &str| {
        word.contains('…')
            || (word.len() > 1 || "NM".contains(word)) && word.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    let mut words = Vec::new();
    for (index, part) in filled.split('\'').enumerate() {
        match index % 2 {
            1 => words.push(part.to_owned()),
            _ => words.extend(part.split_whitespace().map(|word| match is_placeholder(word) {
                true => value.to_owned(),
                false => word.to_owned(),
            })),
        }
    }
    words
}

/// Why no such command can be given; `None` when it can, if perhaps with more options than are told.
fn problem(command: &str) -> Option<String> {
    let mut first = None;
    for value in [
        "x",
        "1",
        "postgres://h/d",
        "2026-01-31T08:00:00Z",
        "0190d3c4-0000-7000-8000-000000000000",
        "permanent",
    ] {
        let Err(error) = tree().try_get_matches_from(words(command, value)) else {
            return None;
        };
        match error.kind() {
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return None,
            _ => first = first.or(Some(error.to_string())),
        }
    }
    first
}

#[test]
fn every_command_that_a_document_or_a_message_tells_can_be_given() {
    let mut files = vec![
        root().join("README.md"),
        root().join("ARCHITECTURE.md"),
        root().join("CHANGELOG.md"),
    ];
    for folder in ["outbox-relay/src", "docs", "infra", "crates/outbox"] {
        files_below(&root().join(folder), &mut files);
    }
    let (mut seen, mut faults) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let is_rust = file.extension().is_some_and(|ending| ending == "rs");
        for command in told(&text, is_rust) {
            seen += 1;
            if let Some(problem) = problem(&command) {
                faults.push(format!("{}: `{command}`: {problem}", file.display()));
            }
        }
    }
    assert!(seen > 60, "the commands are found: {seen}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_command_that_does_not_exist_would_be_found() {
    let text = "Run `outbox-relay cursor rename --sink {old} \\\n     --to NEW` or\n`outbox-relay migrat`; `outbox-relay parked`\n";
    let commands = told(text, true);
    assert_eq!(
        commands,
        [
            "outbox-relay cursor rename --sink {old} --to NEW",
            "outbox-relay migrat",
            "outbox-relay parked"
        ]
    );
    assert!(problem("outbox-relay migrat").is_some());
    assert!(problem("outbox-relay cursor reset --from 1").is_some());
    assert_eq!(problem("outbox-relay parked retry --sink … --reason Oversize"), None);
    assert_eq!(problem("outbox-relay parked edit …"), None);
    assert!(problem("outbox-relay status --shards").is_some());
    assert_eq!(problem("outbox-relay parked"), None, "short for its commands");
}
