//! How many requests may be in flight: additive increase, multiplicative decrease.

use std::time::Duration;

use tokio::time::Instant;

/// After a cut, answers that were under way already say nothing new for this long.
const AFTER_CUT: Duration = Duration::from_millis(250);

/// A target's limit of requests in flight. Halved when the target asks to slow down or does not answer in time, raised by
/// one for each full round of answers without that (Chiu and Jain 1989; what TCP does).
#[derive(Debug, Clone)]
pub struct Concurrency {
    limit: f64,
    max: f64,
    cut_at: Option<Instant>,
}

impl Concurrency {
    /// Begins at the most that is configured.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = f64::from(u32::try_from(max.max(1)).unwrap_or(u32::MAX));
        Self {
            limit: max,
            max,
            cut_at: None,
        }
    }

    /// A request was answered without a word about slowing down.
    pub fn accepted(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.max);
    }

    /// The target asked to slow down, or did not answer in time.
    pub fn congested(&mut self, now: Instant) {
        if self.cut_at.is_none_or(|cut_at| now.duration_since(cut_at) >= AFTER_CUT) {
            self.limit = (self.limit / 2.0).max(1.0);
            self.cut_at = Some(now);
        }
    }

    /// The limit now, at least one.
    #[must_use]
    pub fn limit(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and max"
        )]
        let limit = self.limit as usize;
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_halves_once_per_round_and_grows_by_one_per_round() {
        let now = Instant::now();
        let mut concurrency = Concurrency::new(16);
        assert_eq!(concurrency.limit(), 16);
        concurrency.congested(now);
        concurrency.congested(now + Duration::from_millis(100));
        assert_eq!(concurrency.limit(), 8);
        concurrency.congested(now + Duration::from_millis(300));
        assert_eq!(concurrency.limit(), 4);
        for _ in 0..5 {
            concurrency.accepted();
        }
        assert_eq!(concurrency.limit(), 5);
        for round in 1..20 {
            concurrency.congested(now + Duration::from_secs(round));
        }
        assert_eq!(concurrency.limit(), 1, "never nothing");
        for _ in 0..1_000 {
            concurrency.accepted();
        }
        assert_eq!(concurrency.limit(), 16, "never more than configured");
    }
}
