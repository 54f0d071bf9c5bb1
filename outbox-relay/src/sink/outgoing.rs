//! An event between the log and the target.

use std::sync::Arc;

use uuid::Uuid;

use super::{entry::Item, reader::Ticket};
use crate::{
    log::{Seq, page::Row, parked::Edition},
    publish::{Message, PublishError, Publisher},
};

/// Where an event on its way has come from, and so what has to be noted when it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Read from the log; holds its place in a window.
    Log(Ticket),
    /// Parked, and sent again by somebody's command.
    Parked(Edition),
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
    /// Its id, which people look for.
    pub id: Uuid,
    /// On a target that keeps order, the name of its message group: the key, or else the tenant.
    lane: Option<String>,
    /// Whether the lane is that of its key.
    is_ordered: bool,
    bytes: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Message(Arc<Message>),
    /// A row that cannot be sent keeps its place, and is parked when its turn comes.
    Fault(PublishError),
    /// Given up for want of room.
    Unloaded {
        held_bytes: usize,
        group: String,
        may_be_bundled: bool,
    },
}

/// An event whose message is made and whose origin is not known yet. Making it is the costly part.
#[derive(Debug)]
pub struct Draft {
    seq: Seq,
    id: Uuid,
    key: Option<String>,
    bytes: usize,
    message: Result<Arc<Message>, PublishError>,
}

impl Draft {
    /// Makes the message of a row as `publisher` takes it.
    #[must_use]
    pub fn of<P: Publisher>(row: Row, publisher: &P) -> Self {
        let (seq, id, key) = (row.seq, row.id, row.key.clone());
        let message = publisher.prepare(row).map(Arc::new);
        Self {
            seq,
            id,
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

    /// The event on its way; `keeps_order` gives it the lane of its message group.
    #[must_use]
    pub fn outgoing(self, origin: Origin, keeps_order: bool) -> Outgoing {
        let is_ordered = keeps_order && self.key.is_some();
        let lane = match (self.key, &self.message) {
            _ if !keeps_order => None,
            (Some(key), _) => Some(key),
            (None, Ok(message)) => Some(message.tenant.clone()),
            (None, Err(_)) => None,
        };
        Outgoing {
            origin,
            seq: self.seq,
            id: self.id,
            lane,
            is_ordered,
            bytes: self.bytes,
            content: Content::of(self.message),
        }
    }
}

impl Content {
    fn of(message: Result<Arc<Message>, PublishError>) -> Self {
        match message {
            Ok(message) => Self::Message(message),
            Err(error) => Self::Fault(error),
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
    pub fn message(&self) -> Result<&Arc<Message>, PublishError> {
        match &self.content {
            Content::Message(message) => Ok(message),
            Content::Fault(error) => Err(error.clone()),
            Content::Unloaded { .. } => Err(PublishError::unloaded()),
        }
    }

    /// The key whose order the event keeps.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.lane.as_deref().filter(|_| self.is_ordered)
    }

    /// Gives the event its content again. A parked one may have been edited meanwhile, and then it is
    /// another edition.
    pub fn load(&mut self, draft: Draft, edition: Option<Edition>) {
        if let (Origin::Parked(_), Some(edition)) = (self.origin, edition) {
            self.origin = Origin::Parked(edition);
        }
        self.bytes = draft.bytes;
        self.content = Content::of(draft.message);
    }

    /// Tells that the event is not to be had any more: it is refused when its turn comes.
    pub fn lose(&mut self) {
        self.content = Content::Fault(PublishError::gone());
    }
}

impl Item for Outgoing {
    fn lane(&self) -> Option<&str> {
        self.lane.as_deref()
    }

    fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn held_bytes(&self) -> usize {
        match &self.content {
            Content::Message(message) => message.held_bytes(),
            Content::Fault(_) | Content::Unloaded { .. } => 0,
        }
    }

    fn group(&self) -> &str {
        match (&self.lane, &self.content) {
            (Some(lane), _) => lane,
            (None, Content::Message(message)) => &message.tenant,
            (None, Content::Unloaded { group, .. }) => group,
            (None, Content::Fault(_)) => "",
        }
    }

    fn may_be_bundled(&self) -> bool {
        match &self.content {
            Content::Message(message) => message.claims.is_empty(),
            Content::Unloaded { may_be_bundled, .. } => *may_be_bundled,
            Content::Fault(_) => false,
        }
    }

    fn loaded_bytes(&self) -> usize {
        match &self.content {
            Content::Unloaded { held_bytes, .. } => *held_bytes,
            Content::Message(_) | Content::Fault(_) => self.held_bytes(),
        }
    }

    fn unload(&mut self) {
        // A replay keeps no place from which it could read an event again.
        if let Content::Message(message) = &self.content
            && self.origin != Origin::Replay
        {
            self.content = Content::Unloaded {
                held_bytes: message.held_bytes(),
                group: message.tenant.clone(),
                may_be_bundled: message.claims.is_empty(),
            };
        }
    }

    fn is_unloaded(&self) -> bool {
        matches!(self.content, Content::Unloaded { .. })
    }
}
