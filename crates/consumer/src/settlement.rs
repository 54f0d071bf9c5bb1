//! What became of a batch, event by event.

use std::{collections::HashSet, time::Duration};

use aws_lambda_events::event::sqs::SqsBatchResponse;
use jiff::Timestamp;
use oncebox_envelope::EventId;

use crate::{
    failure::Reason,
    outcome::{Outcome, Settled},
    planted::{Bug, is_planted},
    record::{Part, Record},
    response::Response,
    retry_delay::Retry,
};

/// What became of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settlement {
    /// How many records the batch had.
    pub records: usize,
    /// One report for each event, in the order of the batch and of its bundles; a body that holds
    /// no event has one too.
    pub events: Vec<EventReport>,
    /// What was sent of what handlers emit; `None` where the consumer has no outbox.
    #[cfg(feature = "dynamodb")]
    pub outbox: Option<crate::outbox::OutboxReport>,
}

/// What became of one event.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EventReport {
    /// The id of the SQS message that it came in.
    pub message_id: String,
    /// The FIFO message group; `None` on standard queues.
    pub group: Option<String>,
    /// How often SQS has delivered the message, this time included.
    pub receive_count: Option<u32>,
    /// Which attempt at the event this was, where one was made and SQS has counted: each delivery counts as
    /// one. `None` for what was only looked at, such as a duplicate, or not begun.
    pub attempt: Option<u32>,
    /// 0-based position in the message's bundle; `None` where the message is no bundle.
    pub bundle_index: Option<usize>,
    /// The event's id, where it is a valid envelope.
    pub event_id: Option<EventId>,
    /// The event's type, where it is a valid envelope.
    pub event_type: Option<String>,
    /// The event's time, where it is a valid envelope.
    pub time: Option<Timestamp>,
    /// The trace that it belongs to, as 32 hex digits, where its producer has one.
    pub trace_id: Option<String>,
    /// Its producer's context.
    #[cfg(feature = "otel")]
    pub(crate) producer: Option<crate::traces::Producer>,
    /// When it was settled, by the function's clock.
    pub settled_at: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it makes its message go back to the queue. A message is acknowledged when this holds
    /// for none of its events.
    pub is_failed: bool,
    /// The class of a permanent failure.
    pub reason: Option<Reason>,
    /// What went wrong.
    pub error: Option<String>,
    /// What the handler answered when the event had its effect: now, or, for a duplicate, then.
    pub response: Option<Response>,
    /// When its message is worth being delivered again, where that is known.
    pub retry_after: Option<Duration>,
    pub(crate) retry: Retry,
    /// How long the attempt took.
    pub duration: Duration,
}

impl Settlement {
    /// How many events came to `outcome`.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.events.iter().filter(|event| event.outcome == outcome).count()
    }

    /// The answer to Lambda: the messages that go back to the queue, each id once.
    ///
    /// An id that is empty or not of the batch would fail the whole batch (AWS Lambda Developer
    /// Guide, "Handling errors for an SQS event source", partial batch responses).
    #[must_use]
    pub fn response(&self) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        let mut seen = HashSet::new();
        let is_acknowledged = |failed: &EventReport| {
            let is_of_it = |event: &&EventReport| event.message_id == failed.message_id;
            is_planted(Bug::NotStartedAcknowledged) && failed.outcome == Outcome::NotStarted
                || is_planted(Bug::BundleByFirst) && self.events.iter().filter(is_of_it).any(|event| !event.is_failed)
        };
        let failed = self.events.iter().filter(|event| event.is_failed);
        for event in failed.filter(|event| !is_acknowledged(event)) {
            if seen.insert(event.message_id.as_str()) {
                response.add_failure(event.message_id.clone());
            }
        }
        response
    }
}

impl EventReport {
    pub(crate) fn new(record: &Record, part: &Part, settled: Settled, duration: Duration) -> Self {
        let envelope = part.content.as_ref().ok().map(|content| &content.envelope);
        Self {
            message_id: record.message_id.clone(),
            group: record.group.clone(),
            receive_count: record.receive_count,
            attempt: record.receive_count.filter(|_| settled.outcome.is_attempt()),
            bundle_index: part.element.as_ref().map(|element| element.index),
            event_id: envelope.map(|envelope| envelope.id),
            event_type: envelope.map(|envelope| envelope.event_type.to_string()),
            time: envelope.map(|envelope| envelope.time),
            trace_id: envelope
                .and_then(|envelope| envelope.trace_parent.as_ref()?.as_str().split('-').nth(1))
                .map(ToOwned::to_owned),
            #[cfg(feature = "otel")]
            producer: envelope.and_then(|envelope| {
                Some(crate::traces::Producer {
                    parent: envelope.trace_parent.as_ref()?.as_str().to_owned(),
                    state: envelope.trace_state.as_ref().map(|state| state.as_str().to_owned()),
                })
            }),
            settled_at: crate::time::wall(),
            outcome: settled.outcome,
            is_failed: settled.is_failed,
            reason: settled.reason,
            error: settled.error,
            response: settled.response,
            retry_after: settled.retry.known(),
            retry: settled.retry,
            duration,
        }
    }
}
