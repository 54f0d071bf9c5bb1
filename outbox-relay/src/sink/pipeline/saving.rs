//! When the cursor is written.

use std::time::Duration;

use tokio::time::Instant;

/// After an event was settled, while little happens: a crash repeats what a target takes in this time.
const AFTER_PROGRESS: Duration = Duration::from_millis(250);
/// After many events were settled.
const AFTER_MANY: Duration = Duration::from_millis(50);
/// So many that the cost of a write does not count: sixteen rows of about 200 bytes of WAL.
const MANY: usize = 1_000;
/// When only other transactions moved on: nothing would be repeated, but a base that is too old
/// makes the next start look at many rows.
const WHEN_IDLE: Duration = Duration::from_secs(10);

/// When the cursor is written.
#[derive(Debug)]
pub(super) struct Saving {
    saved_at: Instant,
    progress_since: Option<Instant>,
    settled: usize,
    is_urgent: bool,
}

impl Saving {
    pub(super) fn new() -> Self {
        Self {
            saved_at: Instant::now(),
            progress_since: None,
            settled: 0,
            is_urgent: false,
        }
    }

    /// Notes that events were settled.
    pub(super) fn note_settled(&mut self, events: usize) {
        if events > 0 {
            self.progress_since.get_or_insert_with(Instant::now);
            self.settled += events;
        }
    }

    /// Something waits for the next write.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// When to write; `None` if nothing has changed. `has_moved` is asked only where it matters.
    pub(super) fn due(&self, has_moved: impl FnOnce() -> bool) -> Option<Instant> {
        match self.progress_since {
            _ if self.is_urgent => Some(self.saved_at),
            Some(since) if self.settled >= MANY => Some((since + AFTER_MANY).min(since + AFTER_PROGRESS)),
            Some(since) => Some(since + AFTER_PROGRESS),
            None => has_moved().then_some(self.saved_at + WHEN_IDLE),
        }
    }

    /// Notes that a write begins with all that is known now.
    pub(super) fn begins(&mut self) {
        self.saved_at = Instant::now();
        self.progress_since = None;
        self.settled = 0;
        self.is_urgent = false;
    }
}
