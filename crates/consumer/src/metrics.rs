//! The names of the metrics: CloudWatch embedded metric format, one JSON line on stdout per invocation
//! and event type. CloudWatch makes metrics of such lines by itself; no call is made and no right needed.
//!
//! Dimensions are the consumer, and the consumer with the event type; never an id. Only types that the
//! consumer handles are named, the rest is [`OTHER_TYPES`], so that no sender can make new metrics, which
//! cost money each.
//!
//! Source of the format: Amazon CloudWatch User Guide, "Specification: Embedded metric format".

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use serde_json::{Map, Value, json};

use crate::{
    outcome::Outcome,
    settlement::{EventReport, Settlement},
};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Oncebox";
/// Dimension: the consumer's name.
pub const CONSUMER: &str = "consumer";
/// Dimension: the event's type as it came.
pub const EVENT_TYPE: &str = "event_type";
/// The value of [`EVENT_TYPE`] for types without a handler and for what is no envelope.
pub const OTHER_TYPES: &str = "other";

/// Count: the effect was committed.
pub const PROCESSED: &str = "Processed";
/// Count: had its effect before.
pub const DUPLICATES: &str = "Duplicates";
/// Count: dropped past its `expirytime`.
pub const EXPIRED: &str = "Expired";
/// Count: dropped because nobody handles its type.
pub const IGNORED: &str = "Ignored";
/// Count: failed in a way that may pass; back to the queue.
pub const RETRYABLE: &str = "Retryable";
/// Count: another delivery of the event is at work; back to the queue.
pub const IN_PROGRESS: &str = "InProgress";
/// Count: the lease was lost while the handler ran; back to the queue.
pub const LEASE_LOST: &str = "LeaseLost";
/// Count: can never succeed; set aside, or left to the queue's redrive policy.
pub const PERMANENT: &str = "Permanent";
/// Count: back to the queue without an attempt.
pub const NOT_STARTED: &str = "NotStarted";
/// Count: back to the queue, since its predecessor within its key has not come.
pub const GAP_HELD: &str = "GapHeld";
/// Milliseconds from the event's time (the start of the producer's transaction) to its effect.
pub const AGE_MS: &str = "AgeMs";
/// Milliseconds of an attempt that had its effect.
pub const ATTEMPT_MS: &str = "AttemptMs";
/// Milliseconds until a duplicate was known as one. Of a message that was delivered before, that is a read; of one that comes for the first
/// time (a copy), the handler and the wait for the commit are in it, which finds the record.
pub const DEDUPE_MS: &str = "DedupeMs";

/// Count: emitted events that have arrived where they go; by consumer only.
pub const EMITTED: &str = "Emitted";
/// Seconds since the oldest event was emitted that a sweep of the outbox has left there, 0 where nothing is left; by
/// consumer only. What it cannot read counts from when it was stored.
pub const OUTBOX_AGE_SECS: &str = "OutboxAgeSecs";

/// Most values of one metric in a line.
const MAX_VALUES: usize = 100;

/// The metric that counts an outcome.
#[must_use]
pub const fn count_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => PROCESSED,
        Outcome::Duplicate => DUPLICATES,
        Outcome::Expired => EXPIRED,
        Outcome::Ignored => IGNORED,
        Outcome::Retryable => RETRYABLE,
        Outcome::InProgress => IN_PROGRESS,
        Outcome::LeaseLost => LEASE_LOST,
        Outcome::Permanent => PERMANENT,
        Outcome::NotStarted => NOT_STARTED,
        Outcome::Held => GAP_HELD,
    }
}

/// Writes a settlement's metrics to stdout.
pub(crate) fn write(consumer: &str, is_handled: impl Fn(&str) -> bool, settlement: &Settlement) {
    let mut text = String::new();
    let lines = lines(consumer, is_handled, settlement).into_iter();
    #[cfg(feature = "dynamodb")]
    let lines = lines.chain(outbox(consumer, settlement, crate::time::wall()));
    for line in lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    // One write, so that no other line gets in between; where stdout is gone there is nobody to tell.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn lines(consumer: &str, is_handled: impl Fn(&str) -> bool, settlement: &Settlement) -> Vec<Value> {
    let mut by_type: BTreeMap<&str, Vec<&EventReport>> = BTreeMap::new();
    for event in &settlement.events {
        let event_type = event.event_type.as_deref().filter(|event_type| is_handled(event_type));
        by_type
            .entry(event_type.unwrap_or(OTHER_TYPES))
            .or_default()
            .push(event);
    }
    let chunks = by_type
        .iter()
        .flat_map(|(event_type, events)| events.chunks(MAX_VALUES).map(move |chunk| (*event_type, chunk)));
    chunks
        .map(|(event_type, events)| line(consumer, event_type, events))
        .collect()
}

/// What was sent of what handlers emit, where there is something to tell.
#[cfg(feature = "dynamodb")]
fn outbox(consumer: &str, settlement: &Settlement, now: jiff::Timestamp) -> Option<Value> {
    let report = settlement.outbox.as_ref()?;
    // Of what was not looked at nothing is known.
    let swept = report.sweep.as_ref();
    let swept = swept.filter(|swept| swept.is_complete || swept.oldest.is_some());
    let age_secs = swept.map(|swept| {
        swept
            .oldest
            .map_or(0, |oldest| (now.as_second() - oldest.as_second()).max(0))
    });
    let sent = (report.sent > 0).then_some(report.sent);
    let mut declared = Vec::new();
    let mut line = Map::new();
    if let Some(sent) = sent {
        declared.push(json!({ "Name": EMITTED, "Unit": "Count" }));
        line.insert(EMITTED.to_owned(), json!(sent));
    }
    if let Some(age_secs) = age_secs {
        declared.push(json!({ "Name": OUTBOX_AGE_SECS, "Unit": "Seconds" }));
        line.insert(OUTBOX_AGE_SECS.to_owned(), json!(age_secs));
    }
    if declared.is_empty() {
        return None;
    }
    let about = json!({
        "Timestamp": now.as_millisecond(),
        "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": [[CONSUMER]], "Metrics": declared }],
    });
    line.insert("_aws".to_owned(), about);
    line.insert(CONSUMER.to_owned(), json!(consumer));
    Some(Value::Object(line))
}

fn line(consumer: &str, event_type: &str, events: &[&EventReport]) -> Value {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut times: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut settled_at_ms = 0;
    for event in events {
        *counts.entry(count_of(event.outcome)).or_default() += 1;
        let duration_ms = i64::try_from(event.duration.as_millis()).unwrap_or(i64::MAX);
        let at_ms = event.settled_at.as_millisecond();
        settled_at_ms = settled_at_ms.max(at_ms);
        match event.outcome {
            Outcome::Done => {
                times.entry(ATTEMPT_MS).or_default().push(duration_ms);
                let age_ms = event.time.map(|time| at_ms - time.as_millisecond());
                times.entry(AGE_MS).or_default().extend(age_ms);
            }
            Outcome::Duplicate => times.entry(DEDUPE_MS).or_default().push(duration_ms),
            _ => {}
        }
    }
    let declared = |name: &&str, unit: &str| json!({ "Name": name, "Unit": unit });
    let metrics = counts.keys().map(|name| declared(name, "Count"));
    let metrics: Vec<Value> = metrics
        .chain(times.keys().map(|name| declared(name, "Milliseconds")))
        .collect();
    let mut line = Map::new();
    let about = json!({
        "Timestamp": settled_at_ms,
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [[CONSUMER], [CONSUMER, EVENT_TYPE]],
            "Metrics": metrics,
        }],
    });
    line.insert("_aws".to_owned(), about);
    line.insert(CONSUMER.to_owned(), json!(consumer));
    line.insert(EVENT_TYPE.to_owned(), json!(event_type));
    line.extend(counts.into_iter().map(|(name, count)| (name.to_owned(), json!(count))));
    line.extend(times.into_iter().map(|(name, values)| (name.to_owned(), json!(values))));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{Timestamp, ToSpan as _};

    use super::*;

    fn report(event_type: &str, outcome: Outcome) -> EventReport {
        let settled_at = Timestamp::from_millisecond(1_767_225_600_000).unwrap();
        EventReport {
            message_id: "message".to_owned(),
            group: Some("group".to_owned()),
            receive_count: Some(1),
            attempt: Some(1),
            bundle_index: None,
            event_id: Some("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().unwrap()),
            event_type: Some(event_type.to_owned()).filter(|event_type| !event_type.is_empty()),
            time: Some(settled_at - 250.milliseconds()),
            trace_id: Some("trace".to_owned()),
            #[cfg(feature = "otel")]
            producer: None,
            settled_at,
            outcome,
            is_failed: false,
            reason: None,
            response: None,
            retry_after: None,
            retry: crate::retry_delay::Retry::default(),
            error: None,
            duration: Duration::from_millis(7),
        }
    }

    fn lines_of(events: Vec<EventReport>) -> Vec<Value> {
        let records = events.len();
        let settlement = Settlement {
            records,
            events,
            #[cfg(feature = "dynamodb")]
            outbox: None,
        };
        lines("c", |event_type| event_type == "a.v1", &settlement)
    }

    #[cfg(feature = "dynamodb")]
    #[test]
    fn an_outbox_tells_what_was_sent_and_how_old_what_is_left_is_as_far_as_it_was_looked_at() {
        use crate::outbox::{OutboxReport, SweepReport};

        let now = Timestamp::from_millisecond(1_767_225_600_000).unwrap();
        let tell = |sent, is_complete, oldest| {
            let sweep = SweepReport {
                is_complete,
                oldest,
                ..SweepReport::default()
            };
            let settlement = Settlement {
                records: 0,
                events: Vec::new(),
                outbox: Some(OutboxReport {
                    sent,
                    sweep: Some(sweep),
                    ..OutboxReport::default()
                }),
            };
            outbox("c", &settlement, now)
        };
        let expected = json!({
            "_aws": {
                "Timestamp": 1_767_225_600_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Oncebox",
                    "Dimensions": [["consumer"]],
                    "Metrics": [{ "Name": "Emitted", "Unit": "Count" }, { "Name": "OutboxAgeSecs", "Unit": "Seconds" }],
                }],
            },
            "consumer": "c", "Emitted": 3, "OutboxAgeSecs": 90,
        });
        assert_eq!(tell(3, false, Some(now - 90.seconds())), Some(expected));
        let age = |is_complete, oldest| tell(1, is_complete, oldest).unwrap().get(OUTBOX_AGE_SECS).cloned();
        assert_eq!(age(true, None), Some(json!(0)));
        // A clock that is ahead.
        assert_eq!(age(true, Some(now + 90.seconds())), Some(json!(0)));
        assert_eq!(age(false, None), None);
        assert_eq!(tell(0, false, None), None);
    }

    #[test]
    fn a_type_has_a_line_with_its_counts_and_times_and_no_id() {
        let events = [Outcome::Done, Outcome::Done, Outcome::Duplicate, Outcome::Retryable];
        let lines = lines_of(events.map(|outcome| report("a.v1", outcome)).to_vec());
        let expected = json!({
            "_aws": {
                "Timestamp": 1_767_225_600_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Oncebox",
                    "Dimensions": [["consumer"], ["consumer", "event_type"]],
                    "Metrics": [
                        { "Name": "Duplicates", "Unit": "Count" }, { "Name": "Processed", "Unit": "Count" },
                        { "Name": "Retryable", "Unit": "Count" }, { "Name": "AgeMs", "Unit": "Milliseconds" },
                        { "Name": "AttemptMs", "Unit": "Milliseconds" }, { "Name": "DedupeMs", "Unit": "Milliseconds" },
                    ],
                }],
            },
            "consumer": "c", "event_type": "a.v1",
            "Processed": 2, "Duplicates": 1, "Retryable": 1,
            "AgeMs": [250, 250], "AttemptMs": [7, 7], "DedupeMs": [7],
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn a_sender_cannot_make_metrics_by_new_types() {
        let events = ["a.v1", "b.v1", "c.v1", ""].map(|event_type| report(event_type, Outcome::Permanent));
        let lines = lines_of(events.to_vec());
        let types: Vec<(&Value, &Value)> = lines
            .iter()
            .map(|line| (&line["event_type"], &line["Permanent"]))
            .collect();
        assert_eq!(types, [(&json!("a.v1"), &json!(1)), (&json!("other"), &json!(3))]);
    }

    #[test]
    fn a_line_holds_no_more_values_than_cloudwatch_takes_and_none_is_lost() {
        let lines = lines_of(vec![report("a.v1", Outcome::Done); 250]);
        let counts: Vec<usize> = lines
            .iter()
            .map(|line| line["AgeMs"].as_array().unwrap().len())
            .collect();
        assert_eq!(counts, [100, 100, 50]);
        let processed: u64 = lines.iter().map(|line| line["Processed"].as_u64().unwrap()).sum();
        assert_eq!(processed, 250);
    }

    #[test]
    fn every_outcome_is_counted_by_the_metric_of_its_name_and_by_no_other() {
        let expected = [
            (Outcome::Done, "Processed"),
            (Outcome::Duplicate, "Duplicates"),
            (Outcome::Expired, "Expired"),
            (Outcome::Ignored, "Ignored"),
            (Outcome::Retryable, "Retryable"),
            (Outcome::InProgress, "InProgress"),
            (Outcome::LeaseLost, "LeaseLost"),
            (Outcome::Permanent, "Permanent"),
            (Outcome::NotStarted, "NotStarted"),
            (Outcome::Held, "GapHeld"),
        ];
        assert_eq!(expected.map(|(outcome, _)| outcome), Outcome::ALL);
        for (outcome, name) in expected {
            let line = &lines_of(vec![report("a.v1", outcome)])[0];
            for (_, other) in expected {
                let count = line.get(other).and_then(Value::as_u64);
                assert_eq!(count, (other == name).then_some(1), "{outcome:?}: {line}");
            }
            let is_timed = |time: &str| line.get(time).is_some();
            let times = [AGE_MS, ATTEMPT_MS, DEDUPE_MS].map(is_timed);
            let (done, duplicate) = (outcome == Outcome::Done, outcome == Outcome::Duplicate);
            assert_eq!(times, [done, done, duplicate], "{outcome:?}");
        }
    }
}
