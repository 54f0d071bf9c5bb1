//! The guides are followed to the letter: what a reader would write is written, what he would type is run.

mod page;
mod script;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use page::Page;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap()
}

#[test]
fn the_guide_is_followed_literally_and_its_function_has_one_effect() {
    let guide = fs::read_to_string(root().join("docs/guide-first-function.md")).unwrap();
    let page = Page::read(&guide).unwrap();
    let printed = page.printed();
    assert_eq!(
        printed
            .iter()
            .filter(|text| **text == "c-1 orders: 1 cents: 1250\n")
            .count(),
        2
    );
    assert!(printed.iter().any(|text| text.contains("duplicate")), "{printed:#?}");

    let folder = script::Folder::new(&root());
    let log = folder.follow(&page);
    assert!(log.is_ok(), "{}", log.unwrap_err());

    let venv = Command::new("python3")
        .arg(root().join("localstack/stack.py"))
        .arg("setup")
        .output()
        .unwrap();
    let lint = Path::new(String::from_utf8(venv.stdout).unwrap().trim()).join("bin/cfn-lint");
    let linted = Command::new(lint)
        .args(["--non-zero-exit-code", "informational", "--"])
        .arg(folder.crate_dir().join("template.yaml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(linted.status.success(), "{}", String::from_utf8_lossy(&linted.stdout));
}

/// They are compiled with the crate's documentation: `effect_modes` in `crates/consumer/src/lib.rs`.
#[test]
fn each_block_of_the_effect_modes_is_code_that_is_compiled() {
    let modes = fs::read_to_string(root().join("docs/effect-modes.md")).unwrap();
    let blocks = page::blocks(&modes).unwrap();
    let infos: Vec<&str> = blocks.iter().map(|block| block.info).collect();
    assert!(infos.len() >= 3, "one for each mode: {infos:?}");
    assert!(infos.iter().all(|info| *info == "rust"), "{infos:?}");
    let crate_docs = fs::read_to_string(root().join("crates/consumer/src/lib.rs")).unwrap();
    assert!(crate_docs.contains("include_str!(\"../../../docs/effect-modes.md\")"));
}
