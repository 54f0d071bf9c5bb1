//! How long a batch may take.

use std::time::Duration;

use crate::time::{self, Instant};

/// One invocation of the function: its id and the time that it has been given.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub(crate) request_id: String,
    pub(crate) budget: Budget,
    /// Where it is traced and recorded.
    #[cfg(all(feature = "otel", feature = "dynamodb"))]
    pub(crate) trace: Option<crate::traces::InvocationTrace>,
}

impl Invocation {
    /// The `traceparent` of what the handler of `event` emits in this invocation, where it is traced.
    #[cfg(feature = "dynamodb")]
    #[cfg_attr(
        not(feature = "otel"),
        expect(clippy::unused_self, reason = "the shape that it has with the feature")
    )]
    pub(crate) fn trace_parent_for(&self, event: oncebox_envelope::EventId) -> Option<oncebox_envelope::TraceParent> {
        #[cfg(feature = "otel")]
        return self.trace?.parent_for(event);
        #[cfg(not(feature = "otel"))]
        {
            let _ = event;
            None
        }
    }

    /// An invocation that will be stopped when `time_left` from now has passed.
    ///
    /// Of it a safety margin is kept, `max(500 ms, 10 %)` but at most half: within the margin no
    /// record is started, in its second half running handlers are given up, and in its last
    /// quarter only the answer is written (with feature `otel`, traces are sent in its first half).
    pub fn new(request_id: impl Into<String>, time_left: Duration) -> Self {
        Self {
            request_id: request_id.into(),
            budget: Budget::new(time::now(), time_left),
            #[cfg(all(feature = "otel", feature = "dynamodb"))]
            trace: None,
        }
    }
}

/// The points in time at which less and less is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// From here on no record is started.
    pub(crate) start_until: Instant,
    /// From here on no handler runs and no commit is begun.
    pub(crate) work_until: Instant,
    /// From here on nothing is awaited any more: rollbacks, dead letters, retry delays.
    pub(crate) settle_until: Instant,
    /// From here on nobody is told of it any more but Lambda.
    #[cfg(feature = "otel")]
    pub(crate) tell_until: Instant,
}

impl Budget {
    const LEAST_MARGIN: Duration = Duration::from_millis(500);

    fn new(now: Instant, time_left: Duration) -> Self {
        let margin = Self::LEAST_MARGIN.max(time_left / 10).min(time_left / 2);
        let end = now + time_left;
        Self {
            start_until: end - margin,
            work_until: end - margin / 2,
            settle_until: end - margin / 4,
            #[cfg(feature = "otel")]
            tell_until: end - margin / 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_half_a_second_a_tenth_or_half_of_what_is_left() {
        let now = time::now();
        let starts = |millis| Budget::new(now, Duration::from_millis(millis)).start_until - now;
        assert_eq!(starts(3_000), Duration::from_millis(2_500));
        assert_eq!(starts(60_000), Duration::from_millis(54_000));
        assert_eq!(starts(400), Duration::from_millis(200));
        assert_eq!(starts(0), Duration::ZERO);
    }

    #[test]
    fn what_is_begun_late_still_has_time_to_end() {
        let budget = Budget::new(time::now(), Duration::from_secs(1));
        assert!(budget.start_until < budget.work_until && budget.work_until < budget.settle_until);
        #[cfg(feature = "otel")]
        assert!(budget.settle_until < budget.tell_until && budget.tell_until < time::now() + Duration::from_secs(1));
    }
}
