//! One instance of a function under trial, and the events that are delivered to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lambda_events::event::sqs::SqsEvent;
use oncebox_envelope::{Envelope, Event, RawEnvelope};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{scenario::Found, waits::Pausing};
use crate::{
    Consumer, ConsumerBuilder, EventReport, Invocation, RetryDelay,
    dead_letter::DeadLetterQueue,
    handler::Route,
    leased::Policy,
    test_kit::{Fault, faults::FaultyStore, gate::Gate},
};

/// Of the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Transactional,
    Postgres,
    Leased(Policy),
}

/// An event of a trial.
pub(super) struct Sent<E> {
    /// As it was asked for by.
    pub(super) number: usize,
    pub(super) id: Uuid,
    pub(super) envelope: Envelope<E>,
    body: String,
}

impl<E: Event> Sent<E> {
    pub(super) fn new(number: usize, data: &E, attributes: &Map<String, Value>) -> Result<Self, Found> {
        let invalid = |why: String| Found::Invalid { number, why };
        let id = Uuid::now_v7();
        let mut envelope = json!({
            "specversion": "1.0", "id": id, "source": "oncebox-test-kit", "type": E::TYPE, "kind": E::KIND.as_str(),
            "time": crate::time::wall().to_string(),
            "data": serde_json::to_value(data).map_err(|error| invalid(error.to_string()))?,
        });
        if let Value::Object(envelope) = &mut envelope {
            envelope.extend(attributes.clone());
        }
        let body = envelope.to_string();
        let raw = RawEnvelope::from_json(body.as_bytes()).map_err(|error| invalid(error.to_string()))?;
        let envelope = raw.typed::<E>().map_err(|error| invalid(error.to_string()))?;
        Ok(Self {
            number,
            id,
            envelope,
            body,
        })
    }

    fn record(&self, receive_count: usize) -> Value {
        json!({
            "messageId": Uuid::new_v4(), "receiptHandle": "receipt", "body": self.body,
            "attributes": { "ApproximateReceiveCount": receive_count.to_string() },
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-west-1",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:oncebox-test-kit",
        })
    }
}

/// A function that has been started; each has its own view of the back end, and faults of its own.
pub(super) struct Function {
    consumer: Consumer,
    faults: Faults,
    gate: Arc<Gate>,
    pub(super) mode: Mode,
}

/// Which writes meet with faults.
struct Faults {
    store: Option<Arc<FaultyStore>>,
    #[cfg(feature = "postgres")]
    inbox: Arc<crate::test_kit::faults::InboxFaults>,
}

impl Function {
    pub(super) fn start<E: Event>(builder: ConsumerBuilder) -> Result<Self, Found> {
        let mut consumer = builder.build()?;
        let event_type = consumer.router.contract.current_type(E::TYPE);
        let route = consumer.router.routes.get(event_type);
        let mode = match route.or(consumer.router.any.as_ref()) {
            Some(Route::Transactional(_)) => Mode::Transactional,
            #[cfg(feature = "postgres")]
            Some(Route::Postgres(_)) => Mode::Postgres,
            Some(Route::Leased(route)) => Mode::Leased(route.policy),
            None => return Err(Found::NoHandler(E::TYPE)),
        };
        // Nothing of a trial goes to a queue.
        consumer.retry_delay = RetryDelay::QueueDefault;
        consumer.max_receive_count = None;
        consumer.queues = DeadLetterQueue::new(consumer.name.clone(), None, Arc::new(crate::sqs::SqsClient::new(None)));
        let gate = Arc::new(Gate::default());
        let store = consumer.dedupe.as_mut().map(|dedupe| {
            let faulty = Arc::new(FaultyStore::new(Arc::clone(&dedupe.store)));
            dedupe.store = Arc::new(Pausing {
                inner: Arc::clone(&faulty) as _,
                gate: Arc::clone(&gate),
            });
            faulty
        });
        let faults = Faults {
            store,
            #[cfg(feature = "postgres")]
            inbox: Arc::new(crate::test_kit::faults::InboxFaults::new(Arc::clone(&gate))),
        };
        #[cfg(feature = "postgres")]
        if let Some(inbox) = &mut consumer.inbox {
            inbox.faults = Some(Arc::clone(&faults.inbox));
        }
        Ok(Self {
            consumer,
            faults,
            gate,
            mode,
        })
    }

    /// From now on the writes with these numbers meet with `fault`; tells how many have.
    pub(super) fn faults(
        &self,
        fault: Fault,
        which: impl Fn(usize) -> bool + Clone + Send + 'static,
    ) -> Arc<AtomicUsize> {
        let met = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&met);
        let plan = move |write| {
            which(write).then(|| {
                counter.fetch_add(1, Ordering::SeqCst);
                fault
            })
        };
        #[cfg(feature = "postgres")]
        if self.mode == Mode::Postgres {
            self.faults.inbox.plan(plan);
            return met;
        }
        if let Some(store) = &self.faults.store {
            store.plan(plan);
        }
        met
    }

    /// Delivers `events` in one batch, in this order.
    pub(super) async fn deliver<E: Event>(
        &self,
        events: &[&Sent<E>],
        receive_count: usize,
        time: Duration,
    ) -> Vec<EventReport> {
        let records: Vec<Value> = events.iter().map(|event| event.record(receive_count)).collect();
        let batch: Result<SqsEvent, _> = serde_json::from_value(json!({ "Records": records }));
        let settled = match batch {
            Ok(batch) => {
                let invocation = Invocation::new("oncebox-test-kit", time);
                self.gate
                    .around(self.consumer.settle_batch(batch, &invocation))
                    .await
                    .ok()
            }
            Err(_) => None,
        };
        // Every record has a message id, so there is a report for each event.
        settled.map(|settlement| settlement.events).unwrap_or_default()
    }
}
