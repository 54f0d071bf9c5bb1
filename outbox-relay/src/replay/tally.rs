//! What became of a replay's events.

use std::collections::{BTreeSet, HashSet};

use crate::{
    log::Seq,
    publish::PublishError,
    sink::{
        dispatch::{Refused, Settled},
        outgoing::Outgoing,
    },
};

/// Refused events that are kept to be told; all are counted.
const TOLD: usize = 100;

/// What became of a replay's events so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// The target has confirmed them.
    pub published: usize,
    /// Events that were not accepted at some attempt; each was sent again, refused or given up.
    pub not_accepted: usize,
    /// The target will not take them as they are.
    pub refused: usize,
    /// Not sent, since an event before them in their key was refused.
    pub held_back: usize,
    /// The answer is missing and the sink sends at most once: they may have arrived.
    pub unknown: usize,
    /// The first hundred of the refused ones.
    pub told: Vec<RefusedEvent>,
    on_way: BTreeSet<Seq>,
    stopped_keys: HashSet<String>,
}

/// An event that the target refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEvent {
    /// Its position in the log.
    pub seq: Seq,
    /// Its id and type; `None` when its row is no valid event.
    pub id_and_type: Option<(String, String)>,
    /// Why.
    pub error: PublishError,
    /// How often it was sent.
    pub attempts: u32,
}

impl Tally {
    /// Whether an event of this key has to be held back; if so, it is counted.
    pub fn holds_back(&mut self, key: Option<&str>) -> bool {
        let holds = key.is_some_and(|key| self.stopped_keys.contains(key));
        self.held_back += usize::from(holds);
        holds
    }

    /// An event is on its way.
    pub fn begin(&mut self, seq: Seq) {
        self.on_way.insert(seq);
    }

    /// Events on their way.
    #[must_use]
    pub fn on_way(&self) -> usize {
        self.on_way.len()
    }

    /// The first position of which not everything is settled, where `next` is the first that is not on
    /// its way yet.
    #[must_use]
    pub fn first_open(&self, next: Seq) -> Seq {
        self.on_way.first().map_or(next, |first| next.min(*first))
    }

    /// Notes what an answer has brought.
    pub fn settle(&mut self, settled: Settled) {
        self.not_accepted += settled.not_accepted;
        self.published += settled.confirmed.len();
        self.unknown += settled.dropped.len();
        for event in settled.confirmed.iter().chain(&settled.dropped) {
            self.on_way.remove(&event.seq);
        }
        for refused in settled.refused {
            self.refuse(refused);
        }
    }

    fn refuse(&mut self, refused: Refused) {
        let Refused {
            event,
            error,
            attempts,
            followers,
        } = refused;
        self.refused += 1;
        self.held_back += followers.len();
        for event in followers.iter().chain([&event]) {
            self.on_way.remove(&event.seq);
        }
        if let Some(key) = event.key() {
            self.stopped_keys.insert(key.to_owned());
        }
        if self.told.len() < TOLD {
            self.told.push(RefusedEvent {
                seq: event.seq,
                id_and_type: id_and_type(&event),
                error,
                attempts,
            });
        }
    }
}

fn id_and_type(event: &Outgoing) -> Option<(String, String)> {
    let message = event.message().ok()?;
    Some((message.id.clone(), message.event_type.clone()))
}
