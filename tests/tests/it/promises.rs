//! Every promise in `docs/SEMANTICS.md` and `docs/SECURITY.md` names tests, and they exist.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all test functions in the workspace's Rust files.
fn tests_below(folder: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            tests_below(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut after_attribute = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    after_attribute = true;
                } else if let Some(rest) = line.strip_prefix("async fn ").or(line.strip_prefix("fn ")) {
                    if after_attribute {
                        found.insert(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
                    }
                    after_attribute = false;
                }
            }
        }
    }
}

/// What is wrong with the numbered promises of a document in `docs/`, and how many there are.
fn faults_of(document: &str) -> (Vec<String>, usize) {
    let mut tests = HashSet::new();
    tests_below(&root(), &mut tests);
    assert!(tests.len() > 100, "the tests are found");
    let text = fs::read_to_string(root().join("docs").join(document)).unwrap();
    let (mut promise, mut named, mut faults) = (String::new(), 0, Vec::new());
    let mut numbers = HashSet::new();
    for line in text.lines().chain(["**END. "]) {
        if let Some(number) = line
            .strip_prefix("**")
            .and_then(|rest| rest.split_once(". "))
            .map(|(number, _)| number)
        {
            if !promise.is_empty() && named == 0 {
                faults.push(format!("{promise} names no test"));
            }
            if !numbers.insert(number.to_owned()) {
                faults.push(format!("{number} stands twice"));
            }
            number.clone_into(&mut promise);
            named = 0;
        } else if let Some(path) = line.strip_prefix("- `").and_then(|rest| rest.strip_suffix('`')) {
            let name = path.rsplit("::").next().unwrap_or_default();
            if !tests.contains(name) {
                faults.push(format!("{promise}: there is no test `{path}`"));
            }
            named += 1;
        }
    }
    // The end is none.
    (faults, numbers.len() - 1)
}

#[test]
fn every_promise_names_tests_that_exist() {
    for (document, least) in [("SEMANTICS.md", 15), ("SECURITY.md", 10)] {
        let (faults, promises) = faults_of(document);
        assert!(
            promises >= least,
            "the promises of docs/{document} are found: {promises}"
        );
        assert!(faults.is_empty(), "docs/{document}:\n{}", faults.join("\n"));
    }
}
