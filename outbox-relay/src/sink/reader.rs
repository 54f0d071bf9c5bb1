//! Where a relay stands with each of its shards, and what to read next.
//!
//! Shards that stand at the same place are one part: one window, one row of bookkeeping. Parts that
//! stand at the same point of the same run are read together, so that the log is read once however
//! many parts there are. A part that lags behind is read on its own, in turn with the others, until
//! it has caught up with them.

use crate::{
    log::{
        Seq,
        cursor::{Horizon, Run},
        store::{Claim, Place},
    },
    sink::window::{self, Window},
};

/// Names an event by its part and its position in the part's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    part: usize,
    ticket: window::Ticket,
}

/// The next page to read: one point of one run, for some parts.
#[derive(Debug, Clone)]
pub struct PageWanted {
    /// The run.
    pub run: Run,
    /// Read after this position.
    pub position: Seq,
    /// The shards to read for.
    pub shards: Vec<i16>,
    parts: Vec<usize>,
}

/// An event of a page, as far as the windows need it.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Its position in the log.
    pub seq: Seq,
    /// Its shard.
    pub shard: i16,
    /// Its time, microseconds since the Unix epoch.
    pub time_micros: i64,
}

/// All parts of a sink that a relay works on.
#[derive(Debug)]
pub struct Reader {
    parts: Vec<Part>,
    /// The part that was read last: the others come first.
    last_read: usize,
}

#[derive(Debug)]
struct Part {
    shards: Vec<(i16, i64)>,
    window: Window,
    saved: Place,
}

impl Part {
    fn holds(&self, shard: i16) -> bool {
        self.shards.iter().any(|(held, _)| *held == shard)
    }
}

impl Reader {
    /// Begins where the claims stand.
    #[must_use]
    pub fn new(claims: Vec<Claim>) -> Self {
        let part = |claim: Claim| Part {
            shards: claim.shards,
            window: Window::at(claim.place.clone()),
            saved: claim.place,
        };
        Self {
            parts: claims.into_iter().map(part).collect(),
            last_read: 0,
        }
    }

    /// The shards that are worked on.
    #[must_use]
    pub fn shards(&self) -> Vec<i16> {
        let mut shards: Vec<i16> = self
            .parts
            .iter()
            .flat_map(|part| &part.shards)
            .map(|(shard, _)| *shard)
            .collect();
        shards.sort_unstable();
        shards
    }

    /// Whether some part has read its run to the end, so that a look at the log's end is of use.
    #[must_use]
    pub fn wants_look(&self) -> bool {
        self.parts.iter().any(|part| part.window.unread().is_none())
    }

    /// Opens the run up to `horizon` in each part that has read all it knew of.
    pub fn extend(&mut self, horizon: &Horizon) {
        for part in &mut self.parts {
            if part.window.unread().is_none() && part.window.end().snapshot != horizon.snapshot {
                part.window.extend(horizon.clone());
            }
        }
    }

    /// What to read next; `None` when everything known has been read.
    #[must_use]
    pub fn next_page(&self) -> Option<PageWanted> {
        let count = self.parts.len();
        let in_turn = (1..=count).map(|step| (self.last_read + step) % count);
        let unread = |index: &usize| self.parts.get(*index)?.window.unread().map(|at| (*index, at));
        let (_, (run, position)) = in_turn.into_iter().find_map(|index| unread(&index))?;
        let mut parts = Vec::new();
        let mut shards = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            if part.window.unread() == Some((run, position)) {
                parts.push(index);
                shards.extend(part.shards.iter().map(|(shard, _)| *shard));
            }
        }
        Some(PageWanted {
            run: run.clone(),
            position,
            shards,
            parts,
        })
    }

    /// Notes what a page held, in the order of `seq`, and how far the log has been read with it.
    /// Returns the tickets in the same order.
    pub fn read(&mut self, wanted: &PageWanted, found: &[Found], read_to: Seq) -> Vec<Ticket> {
        self.last_read = wanted.parts.last().copied().unwrap_or(0);
        let mut tickets: Vec<Option<Ticket>> = vec![None; found.len()];
        for index in &wanted.parts {
            let Some(part) = self.parts.get_mut(*index) else {
                continue;
            };
            let is_only = wanted.parts.len() == 1;
            let mine: Vec<usize> = (0..found.len())
                .filter(|at| is_only || found.get(*at).is_some_and(|found| part.holds(found.shard)))
                .collect();
            let events = mine
                .iter()
                .filter_map(|at| found.get(*at))
                .map(|found| (found.seq, found.time_micros));
            let read = part.window.read(events, read_to);
            for (at, ticket) in mine.into_iter().zip(read) {
                if let Some(slot) = tickets.get_mut(at) {
                    *slot = Some(Ticket { part: *index, ticket });
                }
            }
        }
        debug_assert!(tickets.iter().all(Option::is_some), "a page holds only what was wanted");
        tickets.into_iter().flatten().collect()
    }

    /// Marks an event as settled: it never has to be sent again.
    pub fn settle(&mut self, ticket: Ticket) {
        if let Some(part) = self.parts.get_mut(ticket.part) {
            part.window.settle(ticket.ticket);
        }
    }

    /// Whether a part's place differs from what is saved.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.parts.iter().any(|part| part.window.place() != part.saved)
    }

    /// The places to save: those that have moved, or `all`.
    #[must_use]
    pub fn places(&self, sink: &str, all: bool) -> Vec<Claim> {
        let claims = self.parts.iter().map(|part| (part, part.window.place()));
        let moved = claims.filter(|(part, place)| all || *place != part.saved);
        let claim = |(part, place): (&Part, Place)| Claim {
            sink: sink.to_owned(),
            shards: part.shards.clone(),
            place,
        };
        moved.map(claim).collect()
    }

    /// Notes that these places are saved.
    pub fn saved(&mut self, claims: Vec<Claim>) {
        for claim in claims {
            if let Some(part) = self.parts.iter_mut().find(|part| part.shards == claim.shards) {
                part.saved = claim.place;
            }
        }
    }

    /// Events between the oldest that is not settled and the youngest that was read, over all parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.window.len()).sum()
    }

    /// Whether no event is between.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time of the oldest event that was read and is not settled, microseconds since the Unix epoch.
    #[must_use]
    pub fn oldest_micros(&self) -> Option<i64> {
        self.parts.iter().filter_map(|part| part.window.oldest_micros()).min()
    }

    /// The position up to which the part that is furthest behind is published, at most `high`.
    #[must_use]
    pub fn published_to(&self, high: Seq) -> Seq {
        let places = self.parts.iter().map(|part| part.window.place().under_way);
        places
            .map(|under_way| under_way.map_or(high, |(_, position)| position))
            .min()
            .unwrap_or(high)
    }
}

#[cfg(test)]
mod tests;
