//! The list of relays.

use std::time::Duration;

use outbox_relay::log::members::RelayRow;

use super::Postgres;

impl Postgres {
    /// Puts a relay on the list.
    pub fn join(&mut self, relay: &str, sinks: &[String], term: Duration) {
        self.relays.entry(relay.to_owned()).or_insert_with(|| RelayRow {
            id: relay.to_owned(),
            sinks: sinks.to_vec(),
            beat: 0,
            term,
        });
        self.write_at_once();
    }

    /// Raises a beat.
    pub fn beat(&mut self, relay: &str) -> bool {
        let row = self.relays.get_mut(relay);
        let is_there = row.is_some();
        if let Some(row) = row {
            row.beat += 1;
        }
        self.write_at_once();
        is_there
    }

    /// Takes a relay off the list if this is its beat.
    pub fn declare_dead(&mut self, relay: &str, beat: i64) -> bool {
        let is_dead = self.relays.get(relay).is_some_and(|row| row.beat == beat);
        if is_dead {
            self.relays.remove(relay);
        }
        self.write_at_once();
        is_dead
    }

    /// Takes a relay off the list.
    pub fn leave(&mut self, relay: &str) {
        self.relays.remove(relay);
        self.write_at_once();
    }
}
