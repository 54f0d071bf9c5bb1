//! Parked events.

use std::collections::BTreeSet;

use outbox_relay::log::{
    Seq,
    page::Row,
    parked::{Changes, Count, Edition, Refusal},
};

use super::Postgres;

/// A parked event.
#[derive(Debug, Clone)]
pub struct ParkedRow {
    /// The event.
    pub row: Row,
    /// What is to become of it.
    pub state: State,
    /// How often it was edited.
    pub edits: Edition,
    /// Whether it may have arrived: who lets it go again asks for a copy.
    pub is_unconfirmed: bool,
}

/// What is to become of a parked event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A person decides.
    Parked,
    /// It is to be sent again.
    Retry,
    /// It is being sent again by a sink that sends at most once.
    Sending,
}

impl Postgres {
    /// What a save does to parked events; returns those of `taken` that may be sent.
    pub(super) fn change_parked(&mut self, sink: &str, changes: &Changes) -> Vec<Seq> {
        let id = |seq: Seq| (sink.to_owned(), seq);
        for ((of, _), row) in &mut self.parked {
            if of == sink && row.state == State::Sending && changes.unattended.contains(&row.row.shard) {
                (row.state, row.is_unconfirmed) = (State::Parked, true);
            }
        }
        for (seq, edition) in &changes.settled {
            if self.parked.get(&id(*seq)).is_some_and(|row| row.edits == *edition) {
                self.parked.remove(&id(*seq));
            }
        }
        for (Refusal { seq, .. }, edition) in &changes.refused_again {
            if let Some(row) = self.parked.get_mut(&id(*seq)).filter(|row| row.edits == *edition) {
                row.state = State::Parked;
            }
        }
        for refusal in &changes.refused {
            let Some(row) = self.row(refusal.seq).cloned() else {
                continue;
            };
            let new = ParkedRow {
                row,
                state: State::Parked,
                edits: 0,
                is_unconfirmed: false,
            };
            self.parked.entry(id(refusal.seq)).or_insert(new).state = State::Parked;
        }
        for seq in &changes.returned {
            let Some(row) = self.parked.get(&id(*seq)) else {
                continue;
            };
            let waits = row.state == State::Parked || self.is_behind_parked(sink, row.row.key.as_deref(), *seq);
            let state = if waits { State::Parked } else { State::Retry };
            if let Some(row) = self.parked.get_mut(&id(*seq)) {
                row.state = state;
            }
        }
        let mut taken = Vec::new();
        for (seq, edition) in &changes.taken {
            let is_it = |row: &&mut ParkedRow| row.edits == *edition && row.state == State::Retry;
            if let Some(row) = self.parked.get_mut(&id(*seq)).filter(is_it) {
                row.state = State::Sending;
                taken.push(*seq);
            }
        }
        // As of the statement's beginning: its own rows do not count.
        let followers: Vec<(Row, State)> = changes
            .followers
            .iter()
            .filter_map(|seq| self.row(*seq).cloned())
            .map(|row| {
                let waits = self.is_behind_parked(sink, row.key.as_deref(), Seq::MAX);
                (row, if waits { State::Parked } else { State::Retry })
            })
            .collect();
        for (row, state) in followers {
            let new = ParkedRow {
                row,
                state,
                edits: 0,
                is_unconfirmed: false,
            };
            self.parked.entry(id(new.row.seq)).or_insert(new);
        }
        taken
    }

    /// Which of these keys have a parked event.
    #[must_use]
    pub fn parked_keys(&self, sink: &str, keys: &BTreeSet<String>) -> Vec<String> {
        let parked = self.of(sink).filter_map(|(_, row)| row.row.key.clone());
        let found: BTreeSet<String> = parked.filter(|key| keys.contains(key)).collect();
        found.into_iter().collect()
    }

    /// The next parked events that are to be sent again.
    #[must_use]
    pub fn retries(
        &self,
        sink: &str,
        shards: &[i16],
        loaded: &[Seq],
        keeps_order: bool,
        limit: usize,
    ) -> Vec<(Row, Edition)> {
        let waits = |seq: Seq, row: &ParkedRow| {
            keeps_order
                && row.row.key.is_some()
                && self.of(sink).any(|(other, before)| {
                    let is_unattended = before.state == State::Sending && !loaded.contains(&other);
                    before.row.key == row.row.key && other < seq && (before.state == State::Parked || is_unattended)
                })
        };
        self.of(sink)
            .filter(|(seq, row)| {
                row.state == State::Retry
                    && shards.contains(&row.row.shard)
                    && !loaded.contains(seq)
                    && !waits(*seq, row)
            })
            .take(limit)
            .map(|(_, row)| (row.row.clone(), row.edits))
            .collect()
    }

    /// These parked events.
    #[must_use]
    pub fn parked_rows(&self, sink: &str, seqs: &[Seq]) -> Vec<(Row, Edition)> {
        let wanted = self.of(sink).filter(|(seq, _)| seqs.contains(seq));
        wanted.map(|(_, row)| (row.row.clone(), row.edits)).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count_parked(&self, sink: &str, shards: &[i16]) -> Count {
        let mine: Vec<&ParkedRow> = self
            .of(sink)
            .map(|(_, row)| row)
            .filter(|row| shards.contains(&row.row.shard))
            .collect();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Count {
            parked: count(mine.len()),
            sending: count(mine.iter().filter(|row| row.state == State::Sending).count()),
        }
    }

    /// A person lets all parked events of a key go again (of all keys without one); `parked retry`.
    pub fn retry_parked(&mut self, key: Option<&str>) -> usize {
        let mut count = 0;
        for row in self.parked.values_mut() {
            if row.state == State::Parked
                && !row.is_unconfirmed
                && key.is_none_or(|key| row.row.key.as_deref() == Some(key))
            {
                row.state = State::Retry;
                count += 1;
            }
        }
        self.write_at_once();
        count
    }

    /// A person gives up a parked event; `parked skip`. `false` if it is not there any more, or being sent.
    pub fn skip_parked(&mut self, sink: &str, seq: Seq) -> bool {
        let is_parked = self
            .parked
            .get(&(sink.to_owned(), seq))
            .is_some_and(|row| row.state == State::Parked);
        if is_parked {
            self.parked.remove(&(sink.to_owned(), seq));
            self.write_at_once();
        }
        is_parked
    }

    /// A person gives up what may have arrived; returns sinks and ids.
    pub fn skip_unconfirmed(&mut self) -> Vec<(String, String)> {
        let is_it = |row: &ParkedRow| row.state == State::Parked && row.is_unconfirmed;
        let skipped = self.parked.iter().filter(|(_, row)| is_it(row));
        let skipped = skipped
            .map(|((sink, _), row)| (sink.clone(), row.row.id.to_string()))
            .collect();
        self.parked.retain(|_, row| !is_it(row));
        self.write_at_once();
        skipped
    }

    fn of<'a>(&'a self, sink: &'a str) -> impl Iterator<Item = (Seq, &'a ParkedRow)> {
        let mine = self.parked.iter().filter(move |((of, _), _)| of == sink);
        mine.map(|((_, seq), row)| (*seq, row))
    }

    fn is_behind_parked(&self, sink: &str, key: Option<&str>, seq: Seq) -> bool {
        let is_before = |(other, row): (Seq, &ParkedRow)| {
            other < seq && row.state == State::Parked && key.is_some() && row.row.key.as_deref() == key
        };
        self.of(sink).any(is_before)
    }
}
