//! What waits for a person instead of having its effect.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Where an event was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// By the relay; the later events of its key are parked behind it.
    Parked,
    /// By the consumer or its queue; its key goes on.
    DeadLettered,
}

/// What was set aside in a run, for each consumer. One event may be set aside more than once: each further copy
/// of it is.
#[derive(Debug, Clone, Default)]
pub struct SetAside(pub(super) BTreeMap<(String, Uuid), Place>);

impl SetAside {
    /// Writes down that an event was set aside on its way to a consumer.
    pub fn record(&mut self, consumer: impl Into<String>, event: Uuid, place: Place) {
        self.0.insert((consumer.into(), event), place);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them: consumer, event and place.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Uuid, Place)> {
        self.0
            .iter()
            .map(|((consumer, event), place)| (consumer.as_str(), *event, *place))
    }

    pub(super) fn place(&self, consumer: &str, event: Uuid) -> Option<Place> {
        self.0.get(&(consumer.to_owned(), event)).copied()
    }
}
