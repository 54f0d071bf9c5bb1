//! Where the built binaries lie.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, ensure};

/// The folder of this build's binaries: that of the running test or demonstration.
pub(crate) fn folder() -> Result<PathBuf> {
    let this = env::current_exe().context("this process's own path")?;
    let folder = this.parent().context("a program lies in a folder")?;
    // Cargo puts test binaries one level deeper than programs.
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    Ok(folder.to_path_buf())
}

/// A program of this workspace, built by the same `cargo build` as what asks for it.
///
/// # Errors
/// It was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace` first",
        path.display()
    );
    Ok(path)
}

/// The repository, for the scripts that are no binaries.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
