//! What a command prints: lines for people, one JSON document for scripts.

use std::io::{ErrorKind, Write as _};

use clap::Args;
use serde::Serialize;

use crate::failure::{Failure, FailureKind};

/// For whom a command prints.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Print one JSON document, with the field names that docs/OPERATIONS.md lists.
    #[arg(long)]
    json: bool,
}

impl Output {
    /// Prints `value` as JSON, or what `text` makes of it.
    pub(crate) fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let failed = |error| Failure::new(FailureKind::Runtime, error);
        let printed = match self.json {
            true => serde_json::to_string_pretty(value).map_err(|error| Failure::new(FailureKind::Runtime, error))?,
            false => text(value),
        };
        match writeln!(std::io::stdout(), "{}", printed.trim_end()) {
            // Whoever reads has read enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.map_err(failed),
        }
    }
}

/// One line without control characters, which could move a terminal's cursor.
pub(crate) fn clean(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    plain.collect()
}
