//! When a request has to have ended, pauses of the process and of the machine included.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{PublishError, classify};
use crate::lease::term::{Clock, Moment};

/// When a request, with all that it consists of, has to have ended.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    clock: Clock,
    begin: Moment,
    timeout: Duration,
}

impl Deadline {
    /// So long after now, on this clock.
    #[must_use]
    pub fn after(timeout: Duration, clock: Clock) -> Self {
        Self {
            at: Instant::now() + timeout,
            clock,
            begin: clock.now(),
            timeout,
        }
    }

    /// Waits for a part of the request. One that would begin too late does not begin at all.
    ///
    /// # Errors
    /// It did not begin, or did not end in time.
    ///
    /// # Cancel safety
    /// That of `part`.
    pub async fn bound<F: Future>(self, part: F) -> Result<F::Output, PublishError> {
        // A timeout polls what it bounds before it looks at the clock. After a pause even that is too late.
        if self.clock.now().since(self.begin) >= self.timeout {
            return Err(PublishError::not_sent());
        }
        timeout_at(self.at, part).await.map_err(|_| classify::timeout())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_would_begin_too_late_does_not_begin() {
        let began = AtomicBool::new(false);
        let part = async { began.store(true, Ordering::Relaxed) };
        let error = Deadline::after(Duration::ZERO, Clock::Machine)
            .bound(part)
            .await
            .unwrap_err();
        assert_eq!((error.code.as_str(), error.may_have_arrived), ("NotSent", false));
        assert!(!began.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn what_does_not_end_in_time_may_have_arrived() {
        const HOUR: Duration = Duration::from_secs(3600);
        assert_eq!(Deadline::after(HOUR, Clock::Machine).bound(async { 7 }).await, Ok(7));
        let ends_at_once = Deadline {
            at: Instant::now(),
            ..Deadline::after(HOUR, Clock::Machine)
        };
        let error = ends_at_once.bound(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.may_have_arrived), ("Timeout", true));
    }
}
