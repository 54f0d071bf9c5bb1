//! An event between the log and the target.

use std::sync::Arc;

use crate::{
    log::page::Row,
    publish::{Message, PublishError, Publisher},
    sink::{
        lanes::{Attempt, Item},
        window::Ticket,
    },
};

/// An event on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) ticket: Ticket,
    lane: Option<String>,
    bytes: usize,
    /// A row that is no valid event keeps its place and holds up its key, and is never sent.
    message: Result<Arc<Message>, PublishError>,
}

impl Outgoing {
    /// Makes the message of a row; `keeps_order` gives it the lane of its key.
    pub(super) fn new<P: Publisher>(ticket: Ticket, row: Row, publisher: &P, keeps_order: bool) -> Self {
        let lane = row.key.clone().filter(|_| keeps_order);
        let message = publisher.prepare(row).map(Arc::new);
        Self {
            ticket,
            lane,
            bytes: message.as_ref().map_or(0, |message| publisher.bytes_of(message)),
            message,
        }
    }
}

impl Item for Outgoing {
    fn lane(&self) -> Option<&str> {
        self.lane.as_deref()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Sends what can be sent of a batch, and answers for each of its events.
pub(super) async fn publish<P: Publisher>(publisher: &P, batch: &[Attempt<Outgoing>]) -> Vec<Result<(), PublishError>> {
    let valid = batch.iter().filter_map(|attempt| attempt.item.message.as_ref().ok());
    let messages: Vec<Arc<Message>> = valid.cloned().collect();
    let sent = if messages.is_empty() {
        Vec::new()
    } else {
        publisher.publish(&messages).await
    };
    let mut sent = sent.into_iter();
    let answer = |attempt: &Attempt<Outgoing>| match &attempt.item.message {
        // An answer that is missing is no confirmation.
        Ok(_) => sent.next().unwrap_or_else(|| Err(PublishError::unanswered())),
        Err(invalid) => Err(invalid.clone()),
    };
    batch.iter().map(answer).collect()
}
