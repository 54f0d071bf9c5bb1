//! Finding out whether a holder is alive, on one's own clock.

use std::time::Duration;

use crate::time::{self, Instant, sleep_until};

use super::{hold::BEATS_PER_LEASE, record::Record, table::Table};

/// What watching has shown.
#[derive(Debug)]
pub(super) enum Watched {
    /// Somebody has written; this is there now.
    Moved(Option<Record>),
    /// It has stood still for so long that its holder works no more. Only who finds it
    /// so still (`Expected::AsRead`) may take over.
    Dead,
    /// It stood still for as long as there was time, and must for so much longer.
    OutOfTime(Duration),
}

/// Watches `found`, which was read just now, until it moves, is dead or time is up.
///
/// A watcher without the time to see it through notes how long it has watched. The next one goes on from there.
/// Such times add up: each is counted from a read to a write that finds what was read, so they never overlap.
pub(super) async fn watch(table: Table<'_>, found: &Record, until: Instant, note_until: Instant) -> Watched {
    let since = time::now();
    let dead = since + found.must_stand_still();
    loop {
        let now = time::now();
        if now >= dead {
            return Watched::Dead;
        }
        if now >= until {
            let seen = time::now() - since;
            let noted = Record {
                waited: found.waited + seen,
                ..found.clone()
            };
            // Best effort: what is not noted is watched again.
            table.note(&noted, found, note_until).await;
            return Watched::OutOfTime(dead.saturating_duration_since(now));
        }
        sleep_until(dead.min(until).min(now + found.lease / BEATS_PER_LEASE)).await;
        match table.read(&found.pk, note_until).await {
            Ok(Some(now)) if now.is_as_still_as(found) => {}
            Ok(moved) => return Watched::Moved(moved),
            Err(_) => {}
        }
    }
}
