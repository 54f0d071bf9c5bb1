//! Whether the collector is asked, after what became of the last request. Pure.

use std::time::Duration;

use crate::time::Instant;

/// How long a collector that did not take the spans is left alone.
pub(super) const PAUSE: Duration = Duration::from_secs(30);

/// What is known of the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Collector {
    #[default]
    Takes,
    /// The last spans were lost.
    Silent { until: Instant },
}

/// What is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Lost,
    Back,
}

impl Collector {
    /// Whether spans are to be sent to it now.
    pub(super) fn is_asked(self, now: Instant) -> bool {
        match self {
            Self::Takes => true,
            Self::Silent { until } => until <= now,
        }
    }

    /// Goes on after spans were sent to it.
    pub(super) fn answered(&mut self, has_taken: bool, now: Instant) -> Option<Change> {
        let (next, change) = match (*self, has_taken) {
            (Self::Takes, true) => (Self::Takes, None),
            (Self::Silent { .. }, true) => (Self::Takes, Some(Change::Back)),
            (Self::Takes, false) => (Self::silent(now), Some(Change::Lost)),
            (Self::Silent { .. }, false) => (Self::silent(now), None),
        };
        *self = next;
        change
    }

    fn silent(now: Instant) -> Self {
        Self::Silent { until: now + PAUSE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[test]
    fn who_does_not_answer_is_left_alone_for_a_while_and_told_of_once() {
        let start = time::now();
        let mut collector = Collector::default();
        assert!(collector.is_asked(start));
        assert_eq!(collector.answered(true, start), None);
        assert_eq!(collector.answered(false, start), Some(Change::Lost));
        assert!(!collector.is_asked(start));
        assert!(!collector.is_asked(start + PAUSE - Duration::from_millis(1)));

        let later = start + PAUSE;
        assert!(collector.is_asked(later));
        assert_eq!(collector.answered(false, later), None, "it was told of");
        assert!(!collector.is_asked(later));
        assert_eq!(collector.answered(true, later + PAUSE), Some(Change::Back));
        assert!(collector.is_asked(later + PAUSE));
    }
}
