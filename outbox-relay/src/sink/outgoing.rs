//! An event between the log and the target.

use std::sync::Arc;

use super::{entry::Item, reader::Ticket};
use crate::{
    log::{Seq, page::Row},
    publish::{Message, PublishError, Publisher},
};

/// Where an event on its way has come from, and so what has to be noted when it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Read from the log; holds its place in a window.
    Log(Ticket),
    /// Parked, and sent again by somebody's command.
    Parked,
    /// Settled already: sent at most once.
    Settled,
    /// Read from the log for a replay, which keeps no place.
    Replay,
}

/// An event on its way.
#[derive(Debug)]
pub struct Outgoing {
    /// Where it has come from.
    pub origin: Origin,
    /// Its position in the log.
    pub seq: Seq,
    lane: Option<String>,
    bytes: usize,
    /// A row that cannot be sent keeps its place, and is parked when its turn comes.
    message: Result<Arc<Message>, PublishError>,
}

/// An event whose message is made and whose origin is not known yet. Making it is the costly part.
#[derive(Debug)]
pub struct Draft {
    seq: Seq,
    key: Option<String>,
    bytes: usize,
    message: Result<Arc<Message>, PublishError>,
}

impl Draft {
    /// Makes the message of a row as `publisher` takes it.
    #[must_use]
    pub fn of<P: Publisher>(row: Row, publisher: &P) -> Self {
        let (seq, key) = (row.seq, row.key.clone());
        let message = publisher.prepare(row).map(Arc::new);
        Self {
            seq,
            key,
            bytes: message.as_ref().map_or(0, |message| publisher.bytes_of(message)),
            message,
        }
    }

    /// The event's position in the log.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The ordering key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The event on its way; `keeps_order` gives it the lane of its key.
    #[must_use]
    pub fn outgoing(self, origin: Origin, keeps_order: bool) -> Outgoing {
        let lane = self.key.filter(|_| keeps_order);
        Outgoing {
            origin,
            seq: self.seq,
            lane,
            bytes: self.bytes,
            message: self.message,
        }
    }
}

impl Outgoing {
    /// The same event, with nothing to note when it is settled.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.origin = Origin::Settled;
        self
    }

    /// The message, or why there is none.
    ///
    /// # Errors
    /// Why the row cannot be sent.
    pub fn message(&self) -> Result<&Arc<Message>, &PublishError> {
        self.message.as_ref()
    }
}

impl Item for Outgoing {
    fn lane(&self) -> Option<&str> {
        self.lane.as_deref()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn held_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.held_bytes())
    }

    fn group(&self) -> &str {
        match (&self.lane, &self.message) {
            (Some(lane), _) => lane,
            (None, Ok(message)) => &message.tenant,
            (None, Err(_)) => "",
        }
    }

    fn may_be_bundled(&self) -> bool {
        self.message.as_ref().is_ok_and(|message| message.claims.is_empty())
    }
}
