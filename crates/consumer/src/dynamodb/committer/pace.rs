//! When it is time to commit. Pure.

use std::time::Duration;

use crate::{dynamodb::group::MAX_WRITES, time::Instant};

/// An event waits for its neighbours as long as it took itself, within these bounds: it can at most
/// double the time of the quick ones, and a slow one holds nobody up.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// An event that is ready to be committed.
pub(super) struct Ready {
    pub(super) since: Instant,
    pub(super) took: Duration,
    pub(super) not_before: Instant,
    pub(super) writes: usize,
}

/// When to commit what is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    At(Instant),
    /// Not before something changes.
    Never,
}

/// `is_working`: whether something may still come. At `until` it is over.
pub(super) fn due(ready: &[Ready], is_working: bool, now: Instant, until: Instant) -> Due {
    let eligible = || ready.iter().filter(|ready| ready.not_before <= now);
    let is_full = eligible().map(|ready| ready.writes).sum::<usize>() >= MAX_WRITES;
    let at = |ready: &Ready| {
        let wait = ready.took.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        if is_working {
            ready.not_before.max(ready.since + wait)
        } else {
            ready.not_before
        }
    };
    let Some(first) = ready.iter().map(at).min() else {
        return Due::Never;
    };
    let first = first.min(until);
    if is_full || first <= now {
        Due::Now
    } else {
        Due::At(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ready(since: Instant, took: Duration) -> Ready {
        Ready {
            since,
            took,
            not_before: since,
            writes: 2,
        }
    }

    #[test]
    fn a_lone_event_is_committed_at_once_and_neighbours_are_waited_for_within_bounds() {
        let now = crate::time::now();
        let until = now + 5_000 * MS;
        let waits = |took: Duration| due(&[ready(now, took)], true, now, until);
        assert_eq!(due(&[ready(now, MS)], false, now, until), Due::Now);
        assert_eq!(waits(Duration::ZERO), Due::At(now + SHORTEST_WAIT));
        assert_eq!(waits(200 * MS), Due::At(now + 200 * MS));
        assert_eq!(waits(60_000 * MS), Due::At(now + LONGEST_WAIT));
        assert_eq!(due(&[ready(now, MS)], true, now + SHORTEST_WAIT, until), Due::Now);
        assert_eq!(due(&[], false, now, until), Due::Never);
    }

    #[test]
    fn a_full_group_waits_for_nobody() {
        let now = crate::time::now();
        let many = |count: usize| (0..count).map(|_| ready(now, MS)).collect::<Vec<_>>();
        assert_eq!(due(&many(50), true, now, now + 5_000 * MS), Due::Now);
        assert!(matches!(due(&many(49), true, now, now + 5_000 * MS), Due::At(_)));
    }

    #[test]
    fn a_pause_is_kept_and_the_end_is_not_slept_over() {
        let now = crate::time::now();
        let paused = Ready {
            not_before: now + 300 * MS,
            ..ready(now, MS)
        };
        assert_eq!(
            due(std::slice::from_ref(&paused), false, now, now + 5_000 * MS),
            Due::At(now + 300 * MS)
        );
        assert_eq!(
            due(std::slice::from_ref(&paused), false, now, now + 100 * MS),
            Due::At(now + 100 * MS)
        );
        assert_eq!(due(&[paused], false, now + 100 * MS, now + 100 * MS), Due::Now);
    }
}
