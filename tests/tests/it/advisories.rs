//! `.ci/advisories`: an advisory that applies is found, and what was not checked is not passed off as checked.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

fn check_with(url: &str) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/advisories");
    let output = Command::new(script)
        .env("ADVISORY_DB_URL", url)
        .env("GITHUB_ACTIONS", "true")
        .output();
    let Output { status, stdout, stderr } = output.unwrap();
    let said = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (status.code(), said.join("\n"))
}

/// A database in RustSec's format with one advisory, against all versions of this crate.
fn database(against: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let of_crate = folder.path().join("crates").join(against);
    fs::create_dir_all(&of_crate).unwrap();
    let advisory = format!(
        "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"{against}\"\ndate = \"2026-01-01\"\n\n\
         [versions]\npatched = []\n```\n\n# Planted\n\nBy a test.\n"
    );
    fs::write(of_crate.join("RUSTSEC-2026-9999.md"), advisory).unwrap();
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "."],
        &[
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@localhost",
            "commit",
            "--quiet",
            "-m",
            "One",
        ],
    ] {
        let done = Command::new("git")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    folder
}

#[test]
fn an_advisory_against_a_dependency_is_a_failure_that_names_it() {
    let database = database("tokio");
    let (code, said) = check_with(&format!("file://{}", database.path().display()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("RUSTSEC-2026-9999") && said.contains("tokio"), "{said}");
    assert!(!said.contains("advisories: checked"), "{said}");
}

#[test]
fn a_database_without_an_advisory_against_a_dependency_is_a_pass() {
    let database = database("a-crate-that-nobody-uses");
    let (code, said) = check_with(&format!("file://{}", database.path().display()));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("advisories: checked with file://"), "{said}");
}

#[test]
fn a_database_that_cannot_be_had_is_no_failure_and_no_pass() {
    let (code, said) = check_with("http://127.0.0.1:1/advisory-db.git");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("advisories: NOT CHECKED") && !said.contains("advisories: checked"),
        "{said}"
    );
    assert!(
        said.contains("::warning title=Advisories not checked::"),
        "GitHub shows it: {said}"
    );
}
