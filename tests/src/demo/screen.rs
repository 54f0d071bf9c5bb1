//! What a person sees while it runs. On stderr: stdout is for the result.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

const WITHOUT_TERMINAL_EVERY: Duration = Duration::from_secs(2);

/// Lines that stay, and on a terminal one at the end that changes.
pub(super) struct Screen {
    is_terminal: bool,
    last_status: Option<Instant>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: stderr().is_terminal(),
            last_status: None,
        }
    }

    /// A line that stays.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(stderr(), "{text}");
    }

    /// A step that was done, with the time it took.
    pub(super) fn done(&mut self, what: &str, started: Instant) {
        self.say(&format!("  ✓ {what:<58} {:>5.1} s", started.elapsed().as_secs_f32()));
    }

    /// How far it is. Without a terminal a line now and then.
    pub(super) fn status(&mut self, text: &str) {
        if self.is_terminal {
            let _ = write!(stderr(), "\r\x1b[2K  {text}");
            let _ = stderr().flush();
            self.last_status = Some(Instant::now());
        } else if self
            .last_status
            .is_none_or(|last| last.elapsed() >= WITHOUT_TERMINAL_EVERY)
        {
            let _ = writeln!(stderr(), "  {text}");
            self.last_status = Some(Instant::now());
        }
    }

    /// Leaves the terminal clean.
    pub(super) fn end(&mut self) {
        self.clear();
    }

    fn clear(&mut self) {
        if self.is_terminal && self.last_status.take().is_some() {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
    }
}
