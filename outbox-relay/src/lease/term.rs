//! How long a relay may publish without hearing from the database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::planted::{Bug, is_planted};

/// The times that follow from the configured lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long a beat lets its relay publish, and how long others wait for the next one.
    pub term: Duration,
    /// Time between two beats.
    pub beat: Duration,
    /// Longest that one request to a target may take. None is started that could outlast the term.
    pub request_timeout: Duration,
    /// What they are counted on.
    pub clock: Clock,
}

/// What a term is counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// This machine's clock that also counts while the machine sleeps.
    #[default]
    Machine,
    /// The clock of tokio's runtime, which can be paused and moved on, from this moment on.
    Runtime(Instant),
}

impl Clock {
    /// Now.
    #[must_use]
    pub fn now(self) -> Moment {
        match self {
            Self::Machine => Moment::now(),
            // As if the machine had been up for long: 0 is before every moment.
            Self::Runtime(origin) => Moment(1 + u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)),
        }
    }
}

/// No request takes longer, however long the lease is.
const LONGEST_REQUEST: Duration = Duration::from_secs(10);

impl Terms {
    /// The times for a lease: within it, a killed relay's shards are taken over. That is one term,
    /// and the rest for others to see the last beat and to act.
    #[must_use]
    pub fn of_lease(lease: Duration) -> Self {
        let term = lease.mul_f64(0.8);
        Self {
            term,
            beat: lease / 16,
            request_timeout: (term / 2).min(LONGEST_REQUEST),
            clock: Clock::Machine,
        }
    }
}

/// Whether a relay may publish now, under one membership: from joining the list to leaving it or being
/// declared dead. Whoever joins anew gets another lease, so what was begun under the old one can
/// never be sent under the new one. Cheap to copy; all copies are one.
#[derive(Debug, Clone)]
pub struct Lease {
    terms: Terms,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the term ends, in nanoseconds of a [`Moment`]; 0 before the first beat.
    ends: AtomicU64,
    /// Set once and for good.
    is_over: AtomicBool,
}

/// A moment of this machine's clock that also counts while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        // tokio's and std's clocks stand still while a machine is suspended; others' do not.
        #[cfg(target_os = "linux")]
        const CLOCK: ClockId = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let time = clock_gettime(CLOCK);
        let secs = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Self(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// So many nanoseconds after the clock's beginning.
    #[must_use]
    pub const fn of_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Time since an earlier moment; nothing if it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Lease {
    /// A lease that has not begun.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            state: Arc::default(),
        }
    }

    /// A lease without end, for a publisher that works on no shard (a replay) and for tests.
    #[must_use]
    pub fn endless(terms: Terms) -> Self {
        let lease = Self::new(terms);
        lease.state.ends.store(u64::MAX, Ordering::SeqCst);
        lease
    }

    /// Its times.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// A beat was confirmed whose statement was sent at `sent`.
    pub fn extend(&self, sent: Moment) {
        self.state
            .ends
            .fetch_max(sent.plus(self.terms.term).0, Ordering::SeqCst);
    }

    /// The membership is over: this relay was declared dead, or takes itself off the list. Nothing
    /// that is confirmed later brings the lease back.
    pub fn end(&self) {
        self.state.is_over.store(true, Ordering::SeqCst);
    }

    /// When the term ends, as far as beats were confirmed; `None` before the first one and once the
    /// membership is over.
    #[must_use]
    pub fn lasts_until(&self) -> Option<Moment> {
        let ends = self.state.ends.load(Ordering::SeqCst);
        (ends > 0 && !self.state.is_over.load(Ordering::SeqCst)).then_some(Moment(ends))
    }

    /// Whether a request that is started now ends within the term.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.may_send_at(self.terms.clock.now())
    }

    /// Whether a request that is started at `now` ends within the term.
    #[must_use]
    pub fn may_send_at(&self, now: Moment) -> bool {
        if is_planted(Bug::LeaseWithoutEnd) && self.state.ends.load(Ordering::SeqCst) > 0 {
            return true;
        }
        let ends_by = now.plus(self.terms.request_timeout);
        self.lasts_until().is_some_and(|end| ends_by <= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::watch::CLOCKS_DIFFER;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_takeover_ends_within_the_lease_and_a_request_within_the_term() {
        for secs in [2, 10, 60, 300] {
            let lease = Duration::from_secs(secs);
            let terms = Terms::of_lease(lease);
            // The last beat is seen one beat later at most, and is acted upon one beat later.
            let waited = terms.term + terms.term / CLOCKS_DIFFER;
            assert!(waited + 2 * terms.beat < lease, "{terms:?}");
            assert!(terms.request_timeout + 4 * terms.beat < terms.term, "{terms:?}");
        }
    }

    #[test]
    fn nothing_is_sent_that_could_outlast_the_term() {
        let terms = Terms::of_lease(Duration::from_secs(10));
        let lease = Lease::new(terms);
        assert!(!lease.may_send_at(Moment(0)), "before the first beat");
        lease.extend(Moment(1_000 * MS));
        // Term 8 s, request 4 s.
        assert!(lease.may_send_at(Moment(5_000 * MS)));
        assert!(!lease.may_send_at(Moment(5_001 * MS)));
        lease.extend(Moment(2_000 * MS));
        assert!(lease.may_send_at(Moment(6_000 * MS)));
        lease.extend(Moment(1_500 * MS));
        assert!(
            lease.may_send_at(Moment(6_000 * MS)),
            "an answer that comes late takes nothing away"
        );
        lease.end();
        assert!(!lease.may_send_at(Moment(0)));
        lease.extend(Moment(9_000 * MS));
        assert!(
            !lease.may_send_at(Moment(9_000 * MS)),
            "what is confirmed late does not bring a membership back"
        );
    }
}
