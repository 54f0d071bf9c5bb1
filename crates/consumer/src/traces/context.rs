//! Which span an event has, known before it is made: what the event's handler emits continues it.

use std::cell::Cell;

use oncebox_envelope::EventId;
use opentelemetry::trace::{SpanContext, SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sha2::{Digest as _, Sha256};

/// The trace of an invocation that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvocationTrace {
    trace: TraceId,
    span: SpanId,
}

impl InvocationTrace {
    /// `None` where the invocation's span is not recorded: nobody could find what continues it.
    pub(super) fn of(span: &SpanContext) -> Option<Self> {
        span.is_sampled().then(|| Self {
            trace: span.trace_id(),
            span: span.span_id(),
        })
    }

    /// The span of the event that has its effect in this invocation; it can have one only once.
    pub(super) fn span_of(self, event: EventId) -> SpanId {
        let hash = Sha256::new()
            .chain_update(self.span.to_bytes())
            .chain_update(event.as_uuid().as_bytes())
            .finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        // All zeros is no span (W3C Trace Context, "parent-id").
        bytes[7] |= u8::from(bytes == [0; 8]);
        SpanId::from_bytes(bytes)
    }

    /// The `traceparent` of what the handler of this event emits.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn parent_for(self, event: EventId) -> Option<oncebox_envelope::TraceParent> {
        format!("00-{}-{}-01", self.trace, self.span_of(event)).parse().ok()
    }
}

thread_local! {
    static NEXT: Cell<Option<SpanId>> = const { Cell::new(None) };
}

/// Random ids, except for a span whose id was given out before it was made.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl Ids {
    /// Gives the span that `start` starts this id, if there is one.
    pub(super) fn given<T>(id: Option<SpanId>, start: impl FnOnce() -> T) -> T {
        NEXT.set(id);
        let started = start();
        NEXT.set(None);
        started
    }
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        self.0.new_trace_id()
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.take().unwrap_or_else(|| self.0.new_span_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "dynamodb")]
    #[test]
    fn an_events_span_is_known_before_it_is_made_and_differs_from_others() {
        let event: EventId = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().unwrap();
        let other: EventId = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c".parse().unwrap();
        let trace = InvocationTrace {
            trace: TraceId::from_bytes([1; 16]),
            span: SpanId::from_bytes([2; 8]),
        };
        let span = trace.span_of(event);
        assert_eq!(
            trace.parent_for(event).unwrap().as_str(),
            format!("00-{}-{span}-01", "01".repeat(16))
        );
        assert_ne!(trace.span_of(other), span);
        let next = InvocationTrace {
            span: SpanId::from_bytes([3; 8]),
            ..trace
        };
        assert_ne!(next.span_of(event), span);
        let ids = Ids::default();
        assert_eq!(Ids::given(Some(span), || ids.new_span_id()), span);
        // Once.
        assert_ne!(
            Ids::given(Some(span), || [ids.new_span_id(), ids.new_span_id()])[1],
            span
        );
        assert_ne!(ids.new_span_id(), span);
    }
}
