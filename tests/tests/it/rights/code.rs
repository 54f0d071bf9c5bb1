//! The calls that are driven are all calls in the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::operations::{
    CHECK, CONSUMER_COMMANDS, FUNCTION, FUNCTION_THAT_EMITS, FUNCTION_WITH_TABLES, OTHER_FEATURES, RELAY, SWEEPS,
};

/// An operation of an SDK that is a method of other things, too: a file that is meant.
const NAMESAKES: &[(&str, &str)] = &[("subscribe", "crates/consumer/src/shutdown.rs")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The methods of the SDKs' clients that make a call: method → how IAM calls service and operation.
fn methods() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let asked = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let metadata: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let Some(service) = package["name"].as_str().unwrap().strip_prefix("aws-sdk-") else {
            continue;
        };
        let service = if service == "eventbridge" { "events" } else { service };
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        for operation in fs::read_dir(manifest.with_file_name("src/operation")).unwrap() {
            let path = operation.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let words = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
            let operation = format!("{service}:{}", words.collect::<String>());
            methods.entry(name).or_default().insert(operation);
        }
    }
    methods
}

/// The Rust files of what is shipped.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tests", "test_kit", "target"].contains(&name) {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

#[test]
fn every_call_in_the_code_is_one_that_the_tests_of_the_roles_make() {
    let root = root().canonicalize().unwrap();
    let methods = methods();
    assert!(methods.len() > 300, "the SDKs are found: {}", methods.len());
    let mut files = Vec::new();
    for folder in ["outbox-relay", "crates", "functions"] {
        sources(&root.join(folder), &mut files);
    }
    let lists = [
        RELAY,
        CHECK,
        FUNCTION,
        FUNCTION_WITH_TABLES,
        FUNCTION_THAT_EMITS,
        OTHER_FEATURES,
        CONSUMER_COMMANDS,
        SWEEPS,
    ];
    let driven: BTreeSet<String> = lists.concat().into_iter().map(ToOwned::to_owned).collect();
    let mut called = BTreeSet::new();
    let mut unknown = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let place = file.strip_prefix(&root).unwrap().to_str().unwrap();
        for (at, _) in text.match_indices("()") {
            let method = text[..at]
                .rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
                .next()
                .unwrap();
            let is_method = text[..at - method.len()].ends_with('.');
            let Some(operations) = methods.get(method).filter(|_| is_method) else {
                continue;
            };
            if NAMESAKES.contains(&(method, place)) {
                continue;
            }
            let known = operations.intersection(&driven).cloned().collect::<Vec<_>>();
            if known.is_empty() {
                unknown.push(format!("{place}: .{method}()"));
            }
            called.extend(known);
        }
    }
    assert!(unknown.is_empty(), "no test of a role makes these calls: {unknown:#?}");
    assert_eq!(called, driven, "and the lists name no call that the code has not");
}
