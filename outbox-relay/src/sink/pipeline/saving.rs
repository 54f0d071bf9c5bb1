//! When the cursor is written.

use std::time::Duration;

use tokio::time::Instant;

/// After many events were settled, and not sooner: a crash repeats what a target takes in this time.
const AFTER_MANY: Duration = Duration::from_millis(50);
/// So many that a write costs little of each: its sixteen rows are about 5,000 bytes of WAL, 3 to 4 per event.
const MANY: usize = 1_500;
/// After fewer were settled. A crash repeats less than `MANY`.
const AFTER_FEW: Duration = Duration::from_secs(1);
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
        self.note_settled_at(events, Instant::now());
    }

    fn note_settled_at(&mut self, events: usize, now: Instant) {
        if events > 0 {
            self.progress_since.get_or_insert(now);
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
            Some(since) if self.settled >= MANY => Some(since + AFTER_MANY),
            Some(since) => Some(since + AFTER_FEW),
            None => has_moved().then_some(self.saved_at + WHEN_IDLE),
        }
    }

    /// Notes that a write begins with all that is known now.
    pub(super) fn begins(&mut self) {
        self.begins_at(Instant::now());
    }

    fn begins_at(&mut self, now: Instant) {
        self.saved_at = now;
        self.progress_since = None;
        self.settled = 0;
        self.is_urgent = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `rate` events a second be settled, ten by ten, and returns how many each write was for, and
    /// after how long it came.
    fn writes(rate: u32) -> Vec<(usize, Duration)> {
        let (mut saving, mut writes) = (Saving::new(), Vec::new());
        let (mut since, mut now) = (saving.saved_at, saving.saved_at);
        while writes.len() < 5 {
            now += Duration::from_secs(10) / rate;
            saving.note_settled_at(10, now);
            if saving.due(|| true).is_some_and(|due| due <= now) {
                writes.push((saving.settled, now - since));
                saving.begins_at(now);
                since = now;
            }
        }
        writes
    }

    #[test]
    fn a_write_is_for_many_events_or_comes_once_a_second() {
        for rate in [20, 1_000, 1_500, 4_000, 20_000, 100_000, 1_000_000] {
            for (events, after) in writes(rate) {
                assert!(events >= MANY || after >= AFTER_FEW, "{events} at {rate} per second");
            }
        }
    }

    #[test]
    fn a_crash_repeats_fewer_than_many_or_what_fifty_milliseconds_take() {
        for rate in [20, 1_000, 1_500, 4_000, 20_000, 100_000, 1_000_000] {
            let in_that_time = rate as usize / 20;
            for (events, _) in writes(rate) {
                assert!(events <= MANY.max(in_that_time) + 20, "{events} at {rate} per second");
            }
        }
    }

    #[test]
    fn what_is_urgent_is_written_at_once_and_what_is_unchanged_never() {
        let mut saving = Saving::new();
        assert_eq!(saving.due(|| false), None);
        assert_eq!(saving.due(|| true), Some(saving.saved_at + WHEN_IDLE));
        saving.note_settled(0);
        assert_eq!(saving.due(|| false), None);
        saving.hurry();
        assert_eq!(saving.due(|| false), Some(saving.saved_at));
        saving.begins();
        assert_eq!(saving.due(|| false), None);
    }
}
