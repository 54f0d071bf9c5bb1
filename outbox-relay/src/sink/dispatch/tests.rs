use std::collections::BTreeMap;

use super::*;
use crate::{
    chance::Chance,
    lease::term::{Moment, Terms},
    log::page::{Row, Selection},
    publish::{BatchLimits, Message},
    sink::{
        MAX_HELD_BYTES,
        outgoing::{Draft, Origin},
    },
    telemetry::metrics::Metrics,
};

/// Answers as told, for ever by default.
#[derive(Debug, Clone, Default)]
struct Target {
    fails_with: Option<PublishError>,
}

impl Publisher for Target {
    async fn publish(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let answer = || self.fails_with.clone().map_or(Ok(()), Err);
        batch.iter().map(|_| answer()).collect()
    }
}

fn failing(error: PublishError) -> Target {
    Target {
        fails_with: Some(error),
    }
}

fn dispatch(target: Target, lease: Lease) -> Dispatch<Target> {
    let sink = Sink {
        name: "tap".to_owned(),
        selection: Selection::default(),
        publisher: target,
        keeps_order: false,
        limits: BatchLimits {
            max_entries: 10,
            max_bytes: 1024 * 1024,
        },
        bundle: None,
        guarantee: Guarantee::AtLeastOnce,
        max_in_flight: 256,
        max_window: 1_000,
        max_held_bytes: MAX_HELD_BYTES,
        drain_timeout: Duration::from_secs(5),
        chance: Chance::default(),
        metrics: Metrics::new().sink("tap"),
        traces: None,
    };
    Dispatch::new(Arc::new(sink), lease)
}

fn event(seq: i64, bytes: usize) -> Outgoing {
    let row = Row {
        seq,
        shard: 0,
        id: uuid::Uuid::now_v7(),
        event_type: "thing.happened.v1".to_owned(),
        key: None,
        key_seq: None,
        tenant: "t".to_owned(),
        kind: "event".to_owned(),
        source: "test".to_owned(),
        time_micros: 0,
        headers: "{}".to_owned(),
        data: format!("\"{}\"", "x".repeat(bytes)),
    };
    Draft::of(row, &Target::default()).outgoing(Origin::Replay, false)
}

fn terms() -> Terms {
    Terms::of_lease(Duration::from_secs(10))
}

#[tokio::test]
async fn nothing_is_due_while_the_lease_forbids_to_send_it() {
    let lease = Lease::new(terms());
    lease.extend(Moment::now());
    let mut dispatch = dispatch(failing(PublishError::unanswered()), lease.clone());
    dispatch.push(event(1, 10));
    dispatch.send();
    let answer = dispatch.answer().await.unwrap().unwrap();
    dispatch.settle(answer);
    assert!(dispatch.next_due().is_some(), "its retry");
    lease.end();
    dispatch.send();
    assert_eq!(dispatch.in_flight(), 0);
    assert_eq!(
        dispatch.next_due(),
        None,
        "the loop must not wake for what it may not do"
    );
}

#[tokio::test]
async fn a_request_that_has_not_had_its_turn_is_not_sent_once_the_lease_is_over() {
    let lease = Lease::new(terms());
    lease.extend(Moment::now());
    let mut dispatch = dispatch(Target::default(), lease.clone());
    dispatch.push(event(1, 10));
    dispatch.send();
    assert_eq!(dispatch.in_flight(), 1);
    lease.end();
    let answer = dispatch.answer().await.unwrap().unwrap();
    let settled = dispatch.settle(answer);
    assert_eq!((settled.confirmed.len(), settled.not_accepted), (0, 1));
    assert!(settled.dropped.is_empty(), "nothing has left");
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_by_bytes() {
    const MIB: usize = 1024 * 1024;
    let mut dispatch = dispatch(Target::default(), Lease::endless(terms()));
    let mut bytes = BTreeMap::new();
    for seq in 0..40 {
        let event = event(seq, MIB - 1_000);
        bytes.insert(seq, event.message().unwrap().held_bytes());
        dispatch.push(event);
    }
    let all: usize = bytes.values().sum();
    dispatch.send();
    assert_eq!(dispatch.in_flight(), 9, "of 256 that there may be");
    assert_eq!(dispatch.held_bytes(), all, "what is in flight is still held");
    let mut confirmed = 0;
    while let Some(answer) = dispatch.answer().await {
        confirmed += dispatch.settle(answer.unwrap()).confirmed.len();
        dispatch.send();
    }
    assert_eq!((confirmed, dispatch.held_bytes()), (40, 0));
}

#[tokio::test]
async fn a_target_that_does_not_answer_in_time_gets_fewer_requests_at_once_as_one_that_asks_for_it() {
    let error = |code: &str, class| PublishError {
        class,
        code: code.to_owned(),
        ..PublishError::unanswered()
    };
    for (error, expected) in [
        (error("RequestThrottled", FailureClass::Throttled), 128),
        (error(PublishError::TIMEOUT, FailureClass::Transient), 128),
        (error("InternalError", FailureClass::Transient), 256),
        (error("AccessDenied", FailureClass::Auth), 256),
    ] {
        let mut dispatch = dispatch(failing(error.clone()), Lease::endless(terms()));
        dispatch.push(event(1, 10));
        dispatch.send();
        let answer = dispatch.answer().await.unwrap().unwrap();
        dispatch.settle(answer);
        assert_eq!(dispatch.concurrency.limit(), expected, "{error}");
    }
}
