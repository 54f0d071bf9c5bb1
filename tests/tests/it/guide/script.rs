//! Follows a page in an empty folder, as one session of a shell.
//!
//! What a reader downloads is here already: `oncebox` beside the new crate is this repository, by links, as a workspace
//! that the new crate is a member of. So it is built with the same lock file, features and target folder, and nothing is
//! compiled twice. [`JOIN`] and the `cargo` of `prelude.sh` are all that differs from what a reader does.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::page::{Page, Step};
use system_tests::binary;

const PRELUDE: &str = include_str!("prelude.sh");
/// The crate that the page makes, and the line that its manifest gets.
const CRATE: &str = "count-orders";
const JOIN: (&str, &str) = ("[package]\n", "[package]\nworkspace = \"../oncebox\"\n");

/// An empty folder with a copy of the repository. Always the same, so that what is built in it replaces what was.
pub(super) struct Folder {
    path: PathBuf,
    target: PathBuf,
    /// Nobody else works in it meanwhile.
    _lock: File,
}

impl Folder {
    pub(super) fn new(repository: &Path) -> Self {
        let binaries = binary("outbox-relay").unwrap();
        let target = binaries.ancestors().nth(2).unwrap().canonicalize().unwrap();
        let path = target.join("tmp/guide");
        fs::create_dir_all(&path).unwrap();
        let lock = File::create(target.join("tmp/guide.lock")).unwrap();
        lock.lock().unwrap();
        fs::remove_dir_all(&path).unwrap();
        let copy = path.join("oncebox");
        fs::create_dir_all(&copy).unwrap();
        for entry in fs::read_dir(repository).unwrap() {
            let (name, from) = entry.map(|entry| (entry.file_name(), entry.path())).unwrap();
            match name.to_str().unwrap() {
                "target" | ".git" => {}
                "Cargo.toml" => {
                    let manifest = fs::read_to_string(from).unwrap();
                    let joined = manifest.replacen("members = [\n", &format!("members = [\n    \"../{CRATE}\",\n"), 1);
                    assert_ne!(joined, manifest, "the list of members is found");
                    fs::write(copy.join(name), joined).unwrap();
                }
                "Cargo.lock" => drop(fs::copy(from, copy.join(name)).unwrap()),
                _ => symlink(from, copy.join(name)).unwrap(),
            }
        }
        symlink(&target, copy.join("target")).unwrap();
        Self {
            path,
            target,
            _lock: lock,
        }
    }

    /// Where the page's files are.
    pub(super) fn crate_dir(&self) -> PathBuf {
        self.path.join(CRATE)
    }

    /// Follows the page.
    ///
    /// # Errors
    /// A command failed, or did not print what the page shows; all that was printed.
    pub(super) fn follow(&self, page: &Page<'_>) -> Result<(), String> {
        let blocks = self.path.join(".blocks");
        fs::create_dir_all(&blocks).unwrap();
        let script = blocks.join("script.sh");
        fs::write(&script, script_of(page, &blocks)).unwrap();
        // A stack of its own, in a folder whose name is short enough for whatever makes sockets in it.
        let temporary = tempfile::tempdir().unwrap();
        let mut shell = Command::new("bash");
        for (name, _) in env::vars_os() {
            let is_ours = [
                "NEXTEST",
                "CARGO_PKG",
                "CARGO_MANIFEST",
                "CARGO_BIN",
                "AWS_",
                "DATABASE_URL",
                "ONCEBOX_",
            ];
            let name = name.to_string_lossy().into_owned();
            if is_ours.iter().any(|prefix| name.starts_with(prefix))
                && name != "ONCEBOX_CACHE"
                && name != "ONCEBOX_STACK"
            {
                shell.env_remove(name);
            }
        }
        let log = File::create(blocks.join("log")).unwrap();
        let ended = shell
            .arg(&script)
            .current_dir(&self.path)
            .env_remove("CARGO")
            .env("CARGO_TARGET_DIR", &self.target)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        if ended.success() {
            return Ok(());
        }
        let said = fs::read(blocks.join("log")).unwrap();
        Err(format!(
            "the guide cannot be followed ({ended}):\n{}",
            String::from_utf8_lossy(&said)
        ))
    }
}

/// Whatever the page writes and types, in its order; what is typed stands in the script as it stands in the page.
fn script_of(page: &Page<'_>, blocks: &Path) -> String {
    let blocks_dir = blocks.display();
    let mut script = format!("blocks='{blocks_dir}'\n{PRELUDE}");
    for (line, step) in &page.steps {
        let kept = blocks.join(line.to_string());
        let line = format!("{line}");
        let _ = writeln!(script, "at {line}");
        let _ = match step {
            Step::Write { path, text } => {
                let text = if *path == "Cargo.toml" {
                    text.replacen(JOIN.0, JOIN.1, 1)
                } else {
                    text.clone()
                };
                fs::write(&kept, text).unwrap();
                writeln!(script, "cp \"$blocks/{line}\" '{path}'")
            }
            Step::Append { path, text } => {
                fs::write(&kept, format!("\n{text}")).unwrap();
                writeln!(script, "cat \"$blocks/{line}\" >> '{path}'")
            }
            Step::Type {
                command,
                printed,
                again,
            } => {
                if let Some(printed) = printed {
                    fs::write(kept.with_extension("expected"), printed).unwrap();
                }
                match (printed, again) {
                    (_, true) => writeln!(script, "block() {{\n{command}}}\nuntil_it_prints {line}"),
                    (Some(_), false) => {
                        writeln!(
                            script,
                            "{{\n{command}}} > \"$blocks/{line}.printed\"\nmust_have_printed {line}"
                        )
                    }
                    (None, false) => writeln!(script, "{command}"),
                }
            }
        };
    }
    script
}
