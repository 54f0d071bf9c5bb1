//! Every warning and error of the log has its line in docs/OPERATIONS.md.

use std::path::Path;

/// The messages of `tracing::warn!` and `tracing::error!` in a file: the last string of each call.
fn messages(text: &str) -> Vec<String> {
    let calls = ["tracing::warn!(", "tracing::error!("].into_iter();
    let insides = calls.flat_map(|call| text.match_indices(call).map(move |(at, _)| &text[at + call.len()..]));
    insides.filter_map(last_string).collect()
}

/// The last string before the parenthesis that closes what `text` is the inside of.
fn last_string(text: &str) -> Option<String> {
    let (mut depth, mut string, mut last) = (1_usize, None, None);
    let mut before = ' ';
    for c in text.chars() {
        match (&mut string, c) {
            (Some(_), '"') if before != '\\' => last = string.take(),
            (Some(string), c) => String::push(string, c),
            (None, '"') => string = Some(String::new()),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            break;
        }
        before = c;
    }
    last
}

fn files_below(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_warning_and_error_has_its_line_in_the_runbooks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runbooks = std::fs::read_to_string(root.join("../docs/OPERATIONS.md")).unwrap();
    let mut files = Vec::new();
    files_below(&root.join("src"), &mut files);
    let messages: Vec<String> = files.iter().flat_map(|text| messages(text)).collect();
    assert!(messages.len() > 14, "they are found: {messages:#?}");
    let missing: Vec<&String> = messages
        .iter()
        .filter(|message| !runbooks.contains(message.as_str()))
        .collect();
    assert!(missing.is_empty(), "docs/OPERATIONS.md says nothing of {missing:#?}");
}

#[test]
fn the_message_of_a_call_is_its_last_string() {
    let text = "tracing::warn!(sink, \"one: (a)\");\ntracing::error!(\n    reason = \"x\",\n    \"two\"\n);\ntracing::info!(\"three\");";
    assert_eq!(messages(text), ["one: (a)", "two"]);
    assert_eq!(
        messages("Some(x) => tracing::warn!(f(x), \"four\"), None => g(\"five\");"),
        ["four"]
    );
}
