//! The log: an old transaction, and events of one key after it.

use outbox_relay::log::{
    Seq, Xid,
    cursor::{Horizon, Run},
    snapshot::Snapshot,
    store::Place,
};

/// The event of the old transaction. Those of the key are 1 and 2.
pub(super) const OLD: u8 = 0;

/// The transaction that began first, and has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Old {
    Open,
    Committed,
    RolledBack,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Log {
    pub old: Old,
    /// So many events of the key have committed, each in a transaction of its own.
    pub keyed: u8,
}

/// An event's transaction.
pub(super) fn xid(event: u8) -> Xid {
    Xid::from(event) + 1
}

/// An event's position.
pub(super) fn seq(event: u8) -> Seq {
    Seq::from(event) + 1
}

impl Log {
    /// Whether nothing is written any more.
    pub fn is_over(&self, keyed: u8) -> bool {
        self.old != Old::Open && self.keyed == keyed
    }

    /// The events that have committed, as they lie.
    pub fn committed(&self) -> impl Iterator<Item = u8> + use<> {
        let old = (self.old == Old::Committed).then_some(OLD);
        old.into_iter().chain(1..=self.keyed)
    }

    /// The end of the log, as one look shows it.
    pub fn horizon(&self) -> Horizon {
        let is_open = self.old == Old::Open;
        // The last that ended, plus one: not the next to be given out.
        let xmax = match (self.keyed, is_open) {
            (0, true) => xid(OLD),
            (0, false) => xid(OLD) + 1,
            (keyed, _) => xid(keyed) + 1,
        };
        let text = match is_open {
            true if xmax > xid(OLD) => format!("{}:{xmax}:{}", xid(OLD), xid(OLD)),
            _ => format!("{xmax}:{xmax}:"),
        };
        let snapshot: Result<Snapshot, _> = text.parse();
        Horizon {
            snapshot: snapshot.unwrap_or_else(|_| Snapshot::of_nothing()),
            next_xid: xid(self.keyed) + 1,
            seq_before: seq(self.keyed),
            seq_after: seq(self.keyed),
        }
    }

    /// The events of a run above a position, as they lie. `reads_open` is a fault.
    pub fn rows(&self, run: &Run, above: Seq, reads_open: bool) -> Vec<u8> {
        let is_new = |event: &u8| run.covers(xid(*event));
        let dirty = (reads_open && self.old == Old::Open).then_some(OLD);
        let rows = dirty.into_iter().chain(self.committed().filter(is_new));
        rows.filter(|event| seq(*event) > above).collect()
    }
}

/// Whether who goes on from `place` never reads this event, which has committed.
pub(super) fn is_passed(place: &Place, event: u8) -> bool {
    let in_run = |(run, position): (Run, Seq)| run.covers(xid(event)) && seq(event) <= position;
    place.base.snapshot.sees(xid(event)) || place.run().is_some_and(in_run)
}
