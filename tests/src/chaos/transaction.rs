//! What a writer does in one transaction: drawn, and then done whatever happens.

use std::time::Duration;

use rand::{Rng as _, RngExt as _, rngs::StdRng};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::chaos::stage::REFUSED;

const HOT_KEYS: u32 = 5;
const COLD_KEYS: u32 = 150;
const REFUSED_KEYS: u32 = 3;

/// A transaction to be.
#[derive(Debug)]
pub(super) struct Draft {
    /// Takes its transaction id before it waits for anything.
    pub(super) xid_first: bool,
    pub(super) events: Vec<Event>,
    /// Stays open for so long before it ends.
    pub(super) open_for: Duration,
    pub(super) commits: bool,
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) id: Uuid,
    pub(super) key: Option<String>,
    pub(super) data: Value,
    pub(super) savepoint: Savepoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Savepoint {
    No,
    Released,
    RolledBack,
}

impl Draft {
    pub(super) fn draw(random: &mut StdRng) -> Self {
        let is_long = random.random_bool(0.02);
        let count = match random.random_range(0..20) {
            0 => random.random_range(5..20),
            1..6 => random.random_range(2..5),
            _ => 1,
        };
        let mut keys: Vec<_> = (0..count).map(|_| key(random, is_long)).collect();
        // Always in the same order, or Postgres ends a deadlock with an error.
        keys.sort();
        Self {
            xid_first: random.random_bool(0.3),
            events: keys.into_iter().map(|key| Event::draw(random, key)).collect(),
            open_for: Duration::from_millis(if is_long { random.random_range(1_000..5_000) } else { 0 }),
            commits: random.random_bool(0.85),
        }
    }
}

impl Event {
    fn draw(random: &mut StdRng, key: Option<String>) -> Self {
        let letters = random.random_range(0..300);
        let text: String = (0..letters)
            .map(|_| char::from(random.random_range(b'a'..=b'z')))
            .collect();
        Self {
            id: Uuid::now_v7(),
            key,
            data: json!({ "text": text, "number": random.next_u32(), "poison": random.random_bool(0.01) }),
            savepoint: match random.random_range(0..10) {
                0 => Savepoint::RolledBack,
                1 => Savepoint::Released,
                _ => Savepoint::No,
            },
        }
    }
}

/// A long transaction has cold keys only: others would wait for it.
fn key(random: &mut StdRng, is_long: bool) -> Option<String> {
    match random.random_range(0..100) {
        0..10 => None,
        10..12 => Some(format!("{REFUSED}{}", random.random_range(0..REFUSED_KEYS))),
        12..70 if !is_long => Some(format!("hot-{}", random.random_range(0..HOT_KEYS))),
        _ => Some(format!("cold-{}", random.random_range(0..COLD_KEYS))),
    }
}
