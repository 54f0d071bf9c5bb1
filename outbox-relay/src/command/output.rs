//! What a command prints: a table or lines for people, one JSON document for scripts.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Failure, FailureKind, table::Table};

/// Longest cell on a terminal, in characters; elsewhere nothing is cut.
const MAX_CELL: usize = 48;

/// For whom a command prints.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// Print one JSON document, with the field names that docs/OPERATIONS.md lists.
    #[arg(long)]
    json: bool,
}

impl Output {
    /// Prints `value` as JSON, or what `text` makes of it.
    pub(super) fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let printed = if self.json {
            let failed = |error: serde_json::Error| Failure::new(FailureKind::Runtime, error);
            serde_json::to_string_pretty(value).map_err(failed)? + "\n"
        } else {
            text(value)
        };
        write(&printed)
    }
}

/// A table as it is printed here: with long cells cut on a terminal.
pub(super) fn lines(table: &Table) -> String {
    table.render(std::io::stdout().is_terminal().then_some(MAX_CELL))
}

/// Says something to the person at the terminal, beside the output.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A number of seconds as people say it: `12s`, `5m`, `3h`, `4d`.
pub(super) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// A time from the database, in microseconds since the Unix epoch, as RFC 3339.
pub(super) fn time(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| "out of range".to_owned(), |time| time.to_string())
}

/// Bytes as people say them, in binary units.
pub(super) fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes.max(0);
    if scaled < 1_024 {
        return format!("{scaled} B");
    }
    let mut tenths = 0;
    let mut unit = "B";
    for next in UNITS {
        if scaled < 1_024 {
            break;
        }
        tenths = scaled % 1_024 * 10 / 1_024;
        scaled /= 1_024;
        unit = next;
    }
    format!("{scaled}.{tenths} {unit}")
}

fn write(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has read enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|error| Failure::new(FailureKind::Runtime, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_short() {
        let ages: Vec<String> = [-3, 0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(age).into();
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
        let sizes: Vec<String> = [0, 1_023, 1_024, 1_536, 10 * 1_024 * 1_024, i64::MAX].map(size).into();
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "8388607.9 TiB"]
        );
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
    }
}
