//! Postgres, as far as the relay and the producers know it: transactions and their visibility, a sequence that
//! forgets, a server that crashes, and the tables of schema `oncebox`.
//!
//! Each method is what one transaction of the real thing does. What is taken from Postgres' documentation and source:
//! a snapshot's `xmax` is the last transaction that ended plus one (`GetSnapshotData`), so a running one above it is not
//! named; a sequence's values are logged 32 ahead and become durable with the next commit (`nextval_internal`,
//! `SEQ_LOG_VALS`), so that a crash skips some or gives some out again; transaction ids that wrote nothing that is
//! durable are given out again.

mod cursors;
mod parked;
mod reading;
mod relays;

use std::collections::{BTreeMap, BTreeSet};

use outbox_relay::log::{Seq, Xid, members::RelayRow, page::Row, snapshot::Snapshot};
use sha2::{Digest as _, Sha256};

pub use cursors::CursorRow;
pub use parked::{ParkedRow, State};
pub use reading::selects as reading_selects;

/// Values of a sequence that are logged ahead.
const LOGGED_AHEAD: Seq = 32;

/// A database server and its only database.
#[derive(Debug)]
pub struct Postgres {
    /// Raised by each start: what began before does not go on.
    pub life: u64,
    /// Whether it answers.
    pub is_up: bool,
    next_xid: Xid,
    last_ended: Xid,
    running: BTreeMap<Xid, Running>,
    /// The highest transaction id that has written anything, and as much of that as a crash keeps.
    written_xid: (Xid, Xid),
    seq: Seq,
    /// Up to where the sequence is logged, and as much of that as a crash keeps.
    logged_seq: (Seq, Seq),
    rows: BTreeMap<Seq, (Xid, Row)>,
    key_sequence: BTreeMap<String, i64>,
    locks: BTreeMap<String, Xid>,
    /// Cursors by sink and shard.
    pub cursors: BTreeMap<(String, i16), CursorRow>,
    /// The list of relays.
    pub relays: BTreeMap<String, RelayRow>,
    /// Parked events by sink and position.
    pub parked: BTreeMap<(String, Seq), ParkedRow>,
}

/// What a running transaction has done.
#[derive(Debug, Default)]
struct Running {
    /// What the keys' counters were before.
    undo: Vec<(String, Option<i64>)>,
    rows: BTreeSet<Seq>,
}

/// An event as its producer hands it to `oncebox.enqueue`.
#[derive(Debug, Clone)]
pub struct Enqueued {
    /// Its id.
    pub id: uuid::Uuid,
    /// Its key.
    pub key: Option<String>,
    /// Its type.
    pub event_type: String,
    /// Its data.
    pub data: String,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            life: 1,
            is_up: true,
            next_xid: 700,
            last_ended: 699,
            running: BTreeMap::new(),
            written_xid: (699, 699),
            seq: 0,
            logged_seq: (0, 0),
            rows: BTreeMap::new(),
            key_sequence: BTreeMap::new(),
            locks: BTreeMap::new(),
            cursors: BTreeMap::new(),
            relays: BTreeMap::new(),
            parked: BTreeMap::new(),
        }
    }
}

/// The shard of an event: 16 of its 256 buckets each, as `oncebox.enqueue` gives them.
#[must_use]
pub fn shard_of(key: Option<&str>, id: uuid::Uuid) -> i16 {
    let bucket = match key {
        Some(key) => Sha256::digest(key.as_bytes()).first().copied(),
        None => id.as_bytes().last().copied(),
    };
    i16::from(bucket.unwrap_or_default() >> 4)
}

impl Postgres {
    /// Begins a transaction that has a transaction id.
    pub fn begin(&mut self) -> Xid {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.running.insert(xid, Running::default());
        xid
    }

    /// Locks a key's counter, raises it and returns the number; `None` while another transaction has it.
    pub fn next_in_key(&mut self, xid: Xid, key: &str) -> Option<i64> {
        let holder = *self.locks.entry(key.to_owned()).or_insert(xid);
        if holder != xid {
            return None;
        }
        let before = self.key_sequence.get(key).copied();
        let next = before.unwrap_or(0) + 1;
        self.key_sequence.insert(key.to_owned(), next);
        self.running.get_mut(&xid)?.undo.push((key.to_owned(), before));
        self.written_xid.0 = self.written_xid.0.max(xid);
        Some(next)
    }

    /// The next position in the log, which a transaction takes before it writes there.
    pub fn next_seq(&mut self) -> Seq {
        self.seq += 1;
        if self.seq > self.logged_seq.0 {
            self.logged_seq.0 = self.seq + LOGGED_AHEAD;
        }
        self.seq
    }

    /// Writes a row of the log.
    pub fn write(&mut self, xid: Xid, seq: Seq, event: &Enqueued, key_seq: Option<i64>, time_micros: i64) {
        let row = Row {
            seq,
            shard: shard_of(event.key.as_deref(), event.id),
            id: event.id,
            event_type: event.event_type.clone(),
            key: event.key.clone(),
            key_seq,
            tenant: "default".to_owned(),
            kind: "event".to_owned(),
            source: "/simulation".to_owned(),
            time_micros,
            headers: "{}".to_owned(),
            data: event.data.clone(),
        };
        self.rows.insert(seq, (xid, row));
        self.written_xid.0 = self.written_xid.0.max(xid);
        if let Some(running) = self.running.get_mut(&xid) {
            running.rows.insert(seq);
        }
    }

    /// Rolls back to a savepoint before this row was written; locks stay.
    pub fn roll_back_row(&mut self, xid: Xid, seq: Seq, key: Option<&str>) {
        self.rows.remove(&seq);
        let Some(running) = self.running.get_mut(&xid) else {
            return;
        };
        running.rows.remove(&seq);
        if let Some(at) = running
            .undo
            .iter()
            .rposition(|(undone, _)| Some(undone.as_str()) == key)
        {
            let (key, before) = running.undo.remove(at);
            undo(&mut self.key_sequence, key, before);
        }
    }

    /// Whether a transaction still runs.
    #[must_use]
    pub fn runs(&self, xid: Xid) -> bool {
        self.running.contains_key(&xid)
    }

    /// Ends a transaction.
    pub fn end(&mut self, xid: Xid, commits: bool) {
        let Some(running) = self.running.remove(&xid) else {
            return;
        };
        if !commits {
            for seq in &running.rows {
                self.rows.remove(seq);
            }
            for (key, before) in running.undo.into_iter().rev() {
                undo(&mut self.key_sequence, key, before);
            }
        }
        self.locks.retain(|_, holder| *holder != xid);
        self.last_ended = self.last_ended.max(xid);
        if commits {
            self.written_xid.0 = self.written_xid.0.max(xid);
            self.flush();
        }
    }

    /// The server crashes: what runs is undone, what is not durable was never there.
    pub fn crash(&mut self) {
        let running: Vec<Xid> = self.running.keys().copied().collect();
        for xid in running {
            self.end(xid, false);
        }
        self.next_xid = self.written_xid.1 + 1;
        self.written_xid.0 = self.written_xid.1;
        self.last_ended = self.next_xid - 1;
        self.seq = self.logged_seq.1;
        self.logged_seq.0 = self.seq;
        self.is_up = false;
        self.life += 1;
    }

    /// Whether the row at this position is committed.
    fn is_visible(&self, xid: Xid) -> bool {
        !self.running.contains_key(&xid)
    }

    /// A transaction of a statement that writes; durable when it returns.
    fn write_at_once(&mut self) {
        let xid = self.begin();
        self.end(xid, true);
    }

    fn flush(&mut self) {
        self.written_xid.1 = self.written_xid.0;
        self.logged_seq.1 = self.logged_seq.0;
    }

    fn snapshot(&self) -> Snapshot {
        let xmax = self.last_ended + 1;
        let named: Vec<String> = self.running.range(..xmax).map(|(xid, _)| xid.to_string()).collect();
        let xmin = self.running.range(..xmax).next().map_or(xmax, |(xid, _)| *xid);
        let text = format!("{xmin}:{xmax}:{}", named.join(","));
        #[expect(clippy::expect_used, reason = "it is made of rising numbers")]
        text.parse().expect("a snapshot")
    }
}

fn undo(counters: &mut BTreeMap<String, i64>, key: String, before: Option<i64>) {
    match before {
        Some(before) => counters.insert(key, before),
        None => counters.remove(&key),
    };
}
