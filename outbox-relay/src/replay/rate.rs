//! How fast: so many events a second, in small bursts.

use std::time::Duration;

use tokio::time::Instant;

/// A bound on events per second: each event takes its interval of a time that does not run ahead of
/// the clock by more than a burst (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Clone)]
pub struct Rate {
    /// Time that one event takes; `None` for no bound.
    interval: Option<Duration>,
    tolerance: Duration,
    /// When everything that was taken has had its time.
    busy_until: Instant,
}

impl Rate {
    /// So many events a second, from `now` on; 0 for no bound. A burst is a tenth of a second's worth,
    /// at least one event.
    #[must_use]
    pub fn new(per_sec: u32, now: Instant) -> Self {
        let interval = (per_sec > 0).then(|| Duration::from_secs(1) / per_sec);
        Self {
            tolerance: interval.map_or(Duration::ZERO, |interval| {
                interval * (per_sec / 10).max(1).saturating_sub(1)
            }),
            interval,
            busy_until: now,
        }
    }

    /// Takes one event's turn if it has come.
    pub fn take(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return true };
        if self.next().is_some_and(|next| next > now) {
            return false;
        }
        self.busy_until = self.busy_until.max(now) + interval;
        true
    }

    /// When the next turn comes; `None` when that is always now.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.interval?;
        Some(self.busy_until.checked_sub(self.tolerance).unwrap_or(self.busy_until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events that pass in each of the first seconds, asked for whenever a turn has come.
    fn per_second(per_sec: u32, seconds: usize) -> Vec<u32> {
        let begin = Instant::now();
        let (mut rate, mut now) = (Rate::new(per_sec, begin), begin);
        let mut passed = vec![0; seconds];
        loop {
            let second = usize::try_from((now - begin).as_secs()).unwrap();
            if second >= seconds {
                return passed;
            }
            if rate.take(now) {
                passed[second] += 1;
            } else {
                now = rate.next().unwrap();
            }
        }
    }

    #[test]
    fn so_many_events_pass_a_second_and_a_burst_more_at_the_beginning() {
        assert_eq!(per_second(100, 3), [109, 100, 100]);
        assert_eq!(per_second(1, 3), [1, 1, 1]);
        assert_eq!(per_second(7, 2)[1], 7);
        let fast = per_second(50_000, 2);
        assert_eq!(fast, [54_999, 50_000]);
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_burst() {
        let begin = Instant::now();
        let mut rate = Rate::new(100, begin);
        let later = begin + Duration::from_secs(60);
        let passed = (0..1_000).filter(|_| rate.take(later)).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn nothing_bounds_a_rate_of_zero() {
        let now = Instant::now();
        let mut rate = Rate::new(0, now);
        assert!((0..1_000_000).all(|_| rate.take(now)));
        assert_eq!(rate.next(), None);
    }
}
