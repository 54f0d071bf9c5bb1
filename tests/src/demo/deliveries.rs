//! What the functions say in their logs.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use anyhow::Result;

use crate::function::outcomes_in;

/// A function's log, read on from where it was read last.
pub(super) struct Deliveries {
    path: PathBuf,
    position: u64,
    /// Records that were handed to the function.
    pub(super) all: usize,
    /// Records that had their effect now.
    pub(super) done: usize,
    /// Records that were recognised as copies.
    pub(super) duplicates: usize,
}

impl Deliveries {
    pub(super) fn in_log(path: PathBuf) -> Self {
        Self {
            path,
            position: 0,
            all: 0,
            done: 0,
            duplicates: 0,
        }
    }

    /// Reads on. A log that is not there yet has nothing in it.
    pub(super) fn look(&mut self) -> Result<()> {
        let Ok(mut file) = File::open(&self.path) else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The last line may not be whole yet.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.position += end as u64;
        let lines: Vec<String> = String::from_utf8_lossy(&bytes[..end])
            .lines()
            .map(ToOwned::to_owned)
            .collect();
        for outcome in outcomes_in(&lines) {
            self.all += 1;
            match outcome.as_str() {
                "done" => self.done += 1,
                "duplicate" => self.duplicates += 1,
                _ => {}
            }
        }
        Ok(())
    }
}
