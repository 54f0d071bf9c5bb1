//! When to try again: exponential, capped, with full jitter.

use std::time::Duration;

use crate::publish::FailureClass;

const TRANSIENT_BASE: Duration = Duration::from_millis(50);
const THROTTLED_BASE: Duration = Duration::from_millis(200);
const STUCK_BASE: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(20);

/// How long to wait after failed attempt number `attempt` (from 1): between nothing and the base
/// doubled by each attempt, at most 20 s.
///
/// `draw` is a random number in `[0, 1)`; full jitter keeps many retries from coming at once
/// ("Exponential Backoff And Jitter", AWS Architecture Blog).
#[must_use]
pub fn delay(class: FailureClass, attempt: u32, draw: f64) -> Duration {
    let base = match class {
        FailureClass::Transient => TRANSIENT_BASE,
        FailureClass::Throttled => THROTTLED_BASE,
        // Somebody has to change something first: a permission, a message, a queue.
        FailureClass::Auth | FailureClass::Permanent => STUCK_BASE,
    };
    let ceiling = base
        .saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1).min(16)))
        .min(CAP);
    ceiling.mul_f64(draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_with_each_attempt_and_stays_at_the_cap() {
        let ceiling = |attempt| delay(FailureClass::Transient, attempt, 1.0);
        assert_eq!(ceiling(1), Duration::from_millis(50));
        assert_eq!(ceiling(2), Duration::from_millis(100));
        assert_eq!(ceiling(5), Duration::from_millis(800));
        assert_eq!(ceiling(60), CAP);
        assert_eq!(ceiling(u32::MAX), CAP);
    }

    #[test]
    fn the_jitter_is_full() {
        assert_eq!(delay(FailureClass::Throttled, 3, 0.0), Duration::ZERO);
        assert_eq!(delay(FailureClass::Throttled, 3, 0.5), Duration::from_millis(400));
    }
}
