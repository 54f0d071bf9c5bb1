//! The names in the log: JSON lines on stdout, one per event and one per batch.
//!
//! Programs count by these names, so they do not change within a major version. No line holds a
//! payload.

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt as _};

use crate::{
    outcome::Outcome,
    settlement::{EventReport, Settlement},
};

/// `message` of the line about one event. A body that holds no event has a line too.
pub const EVENT_MESSAGE: &str = "event settled";
/// `message` of the line about one batch.
pub const BATCH_MESSAGE: &str = "batch settled";

/// The consumer's name. In both lines.
pub const CONSUMER: &str = "consumer";
/// The Lambda request id. In both lines.
pub const REQUEST_ID: &str = "request_id";
/// The SQS message id, the same for all events of a bundle; a redrive gives a new one.
pub const MESSAGE_ID: &str = "message_id";
/// 0-based position in the bundle. Absent when the message is no bundle.
pub const BUNDLE_INDEX: &str = "bundle_index";
/// The event's id. Absent when it is no envelope.
pub const EVENT_ID: &str = "event_id";
/// The event's type. Absent when it is no envelope.
pub const EVENT_TYPE: &str = "event_type";
/// The FIFO message group. Absent on standard queues.
pub const GROUP: &str = "group";
/// How often SQS has delivered the message, this time included.
pub const RECEIVE_COUNT: &str = "receive_count";
/// Which attempt at the event this was; each delivery counts as one. Absent where none was made.
pub const ATTEMPT: &str = "attempt";
/// What became of the event: [`Outcome::as_str`].
pub const OUTCOME: &str = "outcome";
/// The event makes its message go back to the queue. A boolean.
pub const RETURNED: &str = "returned";
/// Time from the start of the attempt to its end, in milliseconds.
pub const DURATION_MS: &str = "duration_ms";
/// Time since the event's `time`, in milliseconds; may be negative when clocks disagree.
pub const AGE_MS: &str = "age_ms";
/// The trace that the event belongs to, as 32 hex digits. Absent when its producer has none.
pub const TRACE_ID: &str = "trace_id";
/// The class of a permanent failure: [`crate::Reason::as_str`].
pub const REASON: &str = "reason";
/// What went wrong, where something did.
pub const ERROR: &str = "error";
/// In the batch line: the number of records, that is of messages.
pub const RECORDS: &str = "records";
/// In the batch line: the number of events. Beside it stands a count for each outcome, by name.
pub const EVENTS: &str = "events";

pub(crate) fn event(consumer: &str, request_id: &str, report: &EventReport) {
    let event_id = report.event_id.map(|id| id.to_string());
    let age_ms = report
        .time
        .map(|time| report.settled_at.as_millisecond() - time.as_millisecond());
    let duration_ms = u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX);
    // The level of an event is part of its static metadata, hence a macro and not an argument.
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                { CONSUMER } = consumer,
                { REQUEST_ID } = request_id,
                { MESSAGE_ID } = report.message_id.as_str(),
                { BUNDLE_INDEX } = report.bundle_index,
                { EVENT_ID } = event_id.as_deref(),
                { EVENT_TYPE } = report.event_type.as_deref(),
                { GROUP } = report.group.as_deref(),
                { RECEIVE_COUNT } = report.receive_count,
                { ATTEMPT } = report.attempt,
                { OUTCOME } = report.outcome.as_str(),
                { RETURNED } = report.is_failed,
                { DURATION_MS } = duration_ms,
                { AGE_MS } = age_ms,
                { TRACE_ID } = report.trace_id.as_deref(),
                { REASON } = report.reason.map(crate::Reason::as_str),
                { ERROR } = report.error.as_deref(),
                "{}",
                EVENT_MESSAGE
            )
        };
    }
    match report.outcome {
        Outcome::Done | Outcome::Duplicate | Outcome::Expired | Outcome::Ignored => line!(Level::INFO),
        Outcome::InProgress => line!(Level::INFO),
        Outcome::Retryable | Outcome::LeaseLost | Outcome::NotStarted | Outcome::Held => line!(Level::WARN),
        Outcome::Permanent => line!(Level::ERROR),
    }
}

pub(crate) fn batch(consumer: &str, request_id: &str, settlement: &Settlement) {
    tracing::info!(
        { CONSUMER } = consumer,
        { REQUEST_ID } = request_id,
        { RECORDS } = settlement.records,
        { EVENTS } = settlement.events.len(),
        { Outcome::Done.as_str() } = settlement.count(Outcome::Done),
        { Outcome::Duplicate.as_str() } = settlement.count(Outcome::Duplicate),
        { Outcome::Expired.as_str() } = settlement.count(Outcome::Expired),
        { Outcome::Ignored.as_str() } = settlement.count(Outcome::Ignored),
        { Outcome::Retryable.as_str() } = settlement.count(Outcome::Retryable),
        { Outcome::InProgress.as_str() } = settlement.count(Outcome::InProgress),
        { Outcome::LeaseLost.as_str() } = settlement.count(Outcome::LeaseLost),
        { Outcome::Permanent.as_str() } = settlement.count(Outcome::Permanent),
        { Outcome::NotStarted.as_str() } = settlement.count(Outcome::NotStarted),
        { Outcome::Held.as_str() } = settlement.count(Outcome::Held),
        "{}",
        BATCH_MESSAGE
    );
}

/// JSON lines on stdout, filtered by `RUST_LOG` (default `info`).
pub(crate) fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A function that has set up a subscriber of its own keeps it.
    let _ = tracing::subscriber::set_global_default(subscriber(filter, std::io::stdout));
}

fn subscriber<W>(filter: EnvFilter, writer: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        // The runtime's span says again what stands in each line.
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer);
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .with(filter_fn(|metadata| !shows_payloads(metadata)))
}

/// At `trace` the Lambda runtime logs the batch as it came, and the SDK its requests and replies, whatever
/// `RUST_LOG` was meant to show.
fn shows_payloads(metadata: &Metadata<'_>) -> bool {
    const OTHERS: [&str; 6] = ["lambda_", "aws_", "hyper", "h2", "rustls", "sqlx"];
    *metadata.level() == Level::TRACE && OTHERS.iter().any(|other| metadata.target().starts_with(other))
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;
    use crate::Reason;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> Value {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(EnvFilter::new("info"), move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        let mut line: Value = serde_json::from_slice(&lines.0.lock().unwrap()).unwrap();
        for set_by_tracing in ["timestamp", "target"] {
            assert!(line.as_object_mut().unwrap().remove(set_by_tracing).is_some());
        }
        line
    }

    fn report() -> EventReport {
        EventReport {
            message_id: "m".to_owned(),
            group: Some("g".to_owned()),
            receive_count: Some(2),
            attempt: Some(2),
            bundle_index: Some(3),
            event_id: Some("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().unwrap()),
            event_type: Some("a.b.v1".to_owned()),
            time: None,
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            #[cfg(feature = "otel")]
            producer: None,
            settled_at: Timestamp::now(),
            outcome: Outcome::Permanent,
            is_failed: true,
            reason: Some(Reason::Rejected),
            error: Some("no".to_owned()),
            response: None,
            retry_after: None,
            retry: crate::retry_delay::Retry::default(),
            duration: Duration::from_millis(7),
        }
    }

    #[test]
    fn the_line_of_an_event_has_these_names() {
        let expected = serde_json::json!({
            "level": "ERROR", "message": "event settled", "consumer": "c", "request_id": "r", "message_id": "m",
            "bundle_index": 3, "event_id": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "event_type": "a.b.v1", "group": "g",
            "receive_count": 2, "attempt": 2, "outcome": "permanent", "returned": true, "duration_ms": 7,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "reason": "rejected",
            "error": "no",
        });
        assert_eq!(logged(|| event("c", "r", &report())), expected);
        let timed = EventReport {
            time: Some(Timestamp::now()),
            ..report()
        };
        assert!(logged(|| event("c", "r", &timed))["age_ms"].is_i64());
    }

    #[test]
    fn at_trace_only_what_is_not_the_runtimes_or_the_sdks_is_logged() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(EnvFilter::new("trace,lambda_runtime=trace"), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "lambda_runtime::layers::api_response", "secret");
            tracing::trace!(target: "aws_smithy_runtime::client::orchestrator", "secret");
            tracing::debug!(target: "lambda_runtime::runtime", "kept");
            tracing::trace!(target: "my_function", "kept");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            (text.matches("kept").count(), text.contains("secret")),
            (2, false),
            "{text}"
        );
    }

    #[test]
    fn the_line_of_a_batch_counts_every_outcome_by_name() {
        let settlement = Settlement {
            records: 1,
            events: vec![report(), report()],
            #[cfg(feature = "dynamodb")]
            outbox: None,
        };
        let expected = serde_json::json!({
            "level": "INFO", "message": "batch settled", "consumer": "c", "request_id": "r", "records": 1, "events": 2,
            "done": 0, "duplicate": 0, "expired": 0, "ignored": 0, "retryable": 0, "in_progress": 0,
            "lease_lost": 0, "permanent": 2, "not_started": 0, "held": 0,
        });
        assert_eq!(logged(|| batch("c", "r", &settlement)), expected);
    }
}
