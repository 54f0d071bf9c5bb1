//! One request: its messages, their answers, and what is told of it.

use std::{sync::Arc, time::Duration};

use crate::{
    publish::{Message, PublishError, Publisher},
    sink::{entry::Entry, outgoing::Outgoing},
    telemetry::traces::SinkTraces,
};

/// Sends what can be sent of a batch, and answers for each of its entries.
pub(super) async fn publish<P: Publisher>(publisher: &P, batch: &[Entry<Outgoing>]) -> Vec<Result<(), PublishError>> {
    let messages: Vec<Result<Arc<Message>, PublishError>> = batch.iter().map(message).collect();
    let valid: Vec<Arc<Message>> = messages
        .iter()
        .filter_map(|message| message.as_ref().ok().cloned())
        .collect();
    let sent = if valid.is_empty() {
        Vec::new()
    } else {
        publisher.publish(&valid).await
    };
    let mut sent = sent.into_iter();
    // An answer that is missing is no confirmation.
    let mut answer = || sent.next().unwrap_or_else(|| Err(PublishError::unanswered()));
    messages
        .into_iter()
        .map(|message| message.and_then(|_| answer()))
        .collect()
}

/// Records each event of a request that was just answered, those of a bundle too.
pub(super) fn trace(
    traces: &SinkTraces,
    batch: &[Entry<Outgoing>],
    results: &[Result<(), PublishError>],
    took: Duration,
) {
    let request = traces.request(took);
    for (entry, result) in batch.iter().zip(results) {
        for message in entry.items().filter_map(|event| event.message().ok()) {
            request.record(message, entry.failures + 1, result);
        }
    }
}

/// The message of an entry: an event's own, or the bundle of several.
fn message(entry: &Entry<Outgoing>) -> Result<Arc<Message>, PublishError> {
    let messages: Result<Vec<&Arc<Message>>, PublishError> = entry.items().map(Outgoing::message).collect();
    match messages?.as_slice() {
        [one] => Ok(Arc::clone(one)),
        several => {
            let several: Vec<Arc<Message>> = several.iter().map(|message| Arc::clone(message)).collect();
            Message::bundle(&several)
                .map(Arc::new)
                .ok_or_else(PublishError::unanswered)
        }
    }
}

/// What failed of one request, for one line in the log.
#[derive(Debug, Default)]
pub(super) struct Failures {
    first: Option<PublishError>,
    events: usize,
    attempt: u32,
    pub(super) is_congestion: bool,
}

impl Failures {
    pub(super) fn note(&mut self, error: &PublishError, entry: &Entry<Outgoing>) {
        self.events += entry.len();
        self.attempt = self.attempt.max(entry.failures + 1);
        self.is_congestion |= error.is_congestion();
        if self.first.is_none() {
            self.first = Some(error.clone());
        }
    }

    pub(super) fn log(&self, sink: &str) {
        let Some(error) = &self.first else { return };
        tracing::warn!(
            sink,
            class = error.class.as_str(),
            code = error.code,
            reason = error.message,
            events = self.events,
            attempt = self.attempt,
            "events were not accepted"
        );
    }
}
