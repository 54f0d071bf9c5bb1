use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
};

use fuzzing::{TARGETS, Target};

/// Files of one corpus, and bytes of all: what a reader of the repository can bear.
const MOST_FILES: usize = 200;
const MOST_BYTES: usize = 300_000;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

/// The names and contents of a target's corpus.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder("corpus").join(name)).unwrap();
    let files: Vec<_> = files
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().to_string_lossy().into_owned(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    assert!(!files.is_empty(), "the corpus of {name} is empty");
    files
}

fn assert_holds(name: &str, target: Target) {
    let breaking: Vec<String> = corpus(name)
        .into_iter()
        .filter(|(_, bytes)| panic::catch_unwind(|| target(bytes)).is_err())
        .map(|(file, _)| file)
        .collect();
    assert!(
        breaking.is_empty(),
        "a property of {name} does not hold for {breaking:?}"
    );
}

#[test]
fn an_envelope_holds_over_its_corpus() {
    assert_holds("envelope", fuzzing::envelope);
}

#[test]
fn a_body_holds_over_its_corpus() {
    assert_holds("body", fuzzing::body);
}

#[test]
fn a_bundle_holds_over_its_corpus() {
    assert_holds("bundle", fuzzing::bundle);
}

#[test]
fn relay_toml_holds_over_its_corpus() {
    assert_holds("relay_toml", fuzzing::relay_toml);
}

#[test]
fn the_border_holds_over_its_corpus() {
    assert_holds("border", fuzzing::border);
}

#[test]
fn a_snapshot_holds_over_its_corpus() {
    assert_holds("snapshot", fuzzing::snapshot);
}

/// What one target is fed means something to most others too: a body is a bundle, an envelope a body.
#[test]
fn every_target_holds_over_every_corpus() {
    for (name, target) in TARGETS {
        for (other, _) in TARGETS {
            for (file, bytes) in corpus(other) {
                let held = panic::catch_unwind(|| target(&bytes));
                assert!(
                    held.is_ok(),
                    "a property of {name} does not hold for corpus/{other}/{file}"
                );
            }
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_a_binary_and_the_corpora_stay_small() {
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries
            .map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned())
            .collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(folder("corpus")), targets);
    assert_eq!(names(folder("fuzz_targets")), targets);
    let mut bytes = 0;
    for (name, _) in TARGETS {
        let files = corpus(name);
        assert!(files.len() <= MOST_FILES, "{name} has {} files", files.len());
        bytes += files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    }
    assert!(bytes <= MOST_BYTES, "{bytes} bytes in all corpora");
}
